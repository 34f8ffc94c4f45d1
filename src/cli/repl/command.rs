//! What can be typed besides questions.

/// A command: a slash and a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Tools,
    Memory,
    Clear,
    Why,
    Stats,
    Save(String),
    Exit,
    /// None of these.
    Unknown(String),
}

/// Every command with what it does.
pub const COMMANDS: [(&str, &str); 8] = [
    ("/help", "show these commands"),
    ("/tools", "show the tools the model can call"),
    ("/memory", "show the exchanges that are remembered"),
    ("/clear", "forget them"),
    ("/why", "show the exact prompt, with the tokens of each part"),
    ("/stats", "show what the replies so far have cost"),
    ("/save FILE", "write the conversation as a file that `agent test` runs"),
    ("/exit", "leave (also /quit and Ctrl-D)"),
];

/// The commands without what follows them.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().filter_map(|(form, _)| form.split(' ').next())
}

/// Reads a command; nothing if the line is a question. `/2 + 3` is one: a
/// command is a slash and a letter.
pub fn parse(line: &str) -> Option<Command> {
    if !line.strip_prefix('/')?.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    Some(match name.to_ascii_lowercase().as_str() {
        "/help" => Command::Help,
        "/tools" => Command::Tools,
        "/memory" => Command::Memory,
        "/clear" => Command::Clear,
        "/why" => Command::Why,
        "/stats" => Command::Stats,
        "/save" => Command::Save(rest.trim().into()),
        "/exit" | "/quit" => Command::Exit,
        _ => Command::Unknown(name.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_questions() {
        for (line, command) in [
            ("what is 1/2?", None),
            ("/2 + 3", None),
            ("/", None),
            ("/HELP", Some(Command::Help)),
            ("/save  a b.txt ", Some(Command::Save("a b.txt".into()))),
            ("/save", Some(Command::Save(String::new()))),
            ("/quit", Some(Command::Exit)),
            ("/hlep me", Some(Command::Unknown("/hlep".into()))),
        ] {
            assert_eq!(parse(line), command, "{line}");
        }
    }

    #[test]
    fn every_command_that_is_shown_is_known() {
        for name in names() {
            assert!(!matches!(parse(name), None | Some(Command::Unknown(_))), "{name}");
        }
    }
}
