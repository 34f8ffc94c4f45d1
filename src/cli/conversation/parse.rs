//! Reading a conversation file.

use super::expect::{self, Expectation, Expected};
use super::{Conversation, Turn, settings};

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    pub what: String,
}

/// The kinds of lines that form blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Question,
    Reply,
    Other,
}

/// Reads a conversation.
///
/// # Errors
/// The first line that cannot be read, or that there is no question at all.
pub fn parse(text: &str) -> Result<Conversation, ParseError> {
    let mut conversation = Conversation::default();
    let mut before = Block::Other;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let fail = |what: String| ParseError { line: number, what };
        before = if let Some(question) = marked(line, '>') {
            match conversation.turns.last_mut() {
                Some(turn) if before == Block::Question => {
                    turn.question.push('\n');
                    turn.question.push_str(question);
                }
                _ => {
                    let question = question.to_string();
                    conversation.turns.push(Turn { line: number, question, ..Turn::default() });
                }
            }
            Block::Question
        } else if let Some(reply) = marked(line, '<') {
            let turn = conversation
                .turns
                .last_mut()
                .ok_or_else(|| fail("a reply stands before the first question".into()))?;
            match turn.replies.last_mut() {
                Some(last) if before == Block::Reply => {
                    last.push('\n');
                    last.push_str(reply);
                }
                _ => turn.replies.push(reply.into()),
            }
            Block::Reply
        } else {
            other(line.trim(), number, &mut conversation).map_err(fail)?;
            Block::Other
        };
    }
    if let Some(turn) = conversation.turns.iter().find(|turn| turn.question.trim().is_empty()) {
        return Err(ParseError { line: turn.line, what: "the question is empty".into() });
    }
    if conversation.turns.is_empty() {
        let what = "there is no question: a line that starts with `>`".into();
        return Err(ParseError { line: text.lines().count().max(1), what });
    }
    Ok(conversation)
}

/// The rest of a line that starts with a mark, without the space after it.
fn marked(line: &str, mark: char) -> Option<&str> {
    let rest = line.strip_prefix(mark)?;
    Some(rest.strip_prefix(' ').unwrap_or(rest))
}

/// A blank line, a comment, an option or an expectation.
fn other(line: &str, number: usize, conversation: &mut Conversation) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    if let Some(comment) = line.strip_prefix('#') {
        if conversation.title.is_empty() && conversation.turns.is_empty() {
            conversation.title = comment.trim().into();
        }
        return Ok(());
    }
    let Some((name, value)) = line.split_once(':') else {
        return Err(format!(
            "`{line}` is neither a question (>), a reply (<), a comment (#) nor `name: value`"
        ));
    };
    let (name, value) = (name.trim(), value.trim());
    match conversation.turns.last_mut() {
        None if settings::NAMES.contains(&name) => {
            conversation.settings.set(name, value).map_err(|why| format!("{name}: {why}"))
        }
        None if expect::NAMES.contains(&name) => {
            Err(format!("`{name}` is about a turn: it belongs below a question"))
        }
        None => Err(unknown("option", name, &settings::NAMES)),
        Some(turn) if expect::NAMES.contains(&name) => {
            let what = Expectation::parse(name, value).map_err(|why| format!("{name}: {why}"))?;
            turn.expected.push(Expected { line: number, what });
            Ok(())
        }
        Some(_) if settings::NAMES.contains(&name) => {
            Err(format!("`{name}` is an option: it belongs above the first question"))
        }
        Some(_) => Err(unknown("expectation", name, &expect::NAMES)),
    }
}

fn unknown(kind: &str, name: &str, names: &[&str]) -> String {
    match crate::cli::closest(name, names.iter().copied()) {
        Some(meant) => format!("there is no {kind} `{name}`; did you mean `{meant}`?"),
        None => format!("there is no {kind} `{name}`; there are: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_replies_and_expectations_are_told_apart() {
        let text = "\u{feff}# A title\n# more\nmemory: 2\n\n> one\n> two lines\n< a\n<  b\n<\n\n< c\n\
                    call: Calculator 1+1\n# note\nnumber: 2 ± 0.5\n\n> next\r\nsteps: 1-3\r\n";
        let conversation = parse(text).expect("a conversation");
        assert_eq!(conversation.title, "A title");
        assert_eq!(conversation.settings.memory, Some(2));
        let [first, second] = &conversation.turns[..] else { panic!("two turns") };
        assert_eq!(first.question, "one\ntwo lines");
        assert_eq!(first.replies, ["a\n b\n", "c"]);
        let lines: Vec<_> = first.expected.iter().map(|expected| expected.line).collect();
        assert_eq!((first.line, lines), (5, vec![12, 14]));
        assert_eq!((second.question.as_str(), second.expected.len()), ("next", 1));
        assert!(conversation.is_scripted());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, what) in [
            ("", 1, "there is no question"),
            ("# only a title\nmemory: 1\n", 2, "there is no question"),
            ("memory: x\n> a", 1, "memory: it must be a whole number"),
            ("memroy: 1\n> a", 1, "did you mean `memory`?"),
            ("number: 1\n> a", 1, "belongs below a question"),
            ("> a\nmemory: 1", 2, "belongs above the first question"),
            ("> a\nnumbr: 1", 2, "did you mean `number`?"),
            ("> a\nnumber: x", 2, "number: "),
            ("> a\nnumber: 1 ± -1", 2, "number: "),
            ("> a\nanswer: /(/", 2, "answer: "),
            ("> a\nsteps: 3-1", 2, "steps: "),
            ("> a\noutcome: fine", 2, "outcome: "),
            ("> a\nhello", 2, "neither a question"),
            ("< {}\n> a", 1, "before the first question"),
            ("# t\n\n>\n", 3, "the question is empty"),
            ("strict: maybe\n> a", 1, "yes or no"),
            ("context: +0\n> a", 1, "at least 1"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.what.contains(what), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([>< #a:/~±-]|\n|steps: |call: |.){0,60}") {
            if let Err(error) = parse(&text) {
                assert!(error.line >= 1 && error.line <= text.lines().count().max(1));
            }
        }
    }
}
