//! The line editor's helper: when a question is complete, and what Tab adds.

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::command;

const QUOTE: &str = "\"\"\"";

/// Completes commands, and goes on to the next line after a backslash and
/// inside `"""`.
pub struct Line {
    files: FilenameCompleter,
}

impl Line {
    pub fn new() -> Self {
        Self { files: FilenameCompleter::new() }
    }
}

/// More lines belong to the question that `text` begins.
pub fn goes_on(text: &str) -> bool {
    is_open(text) || text.ends_with('\\') && !text.ends_with("\\\\")
}

/// A `"""` has not been closed yet.
pub fn is_open(text: &str) -> bool {
    text.matches(QUOTE).count() % 2 == 1
}

/// The question without the marks that made it several lines long.
pub fn unquote(text: &str) -> String {
    text.replace("\\\n", "\n").replace(QUOTE, "")
}

impl Validator for Line {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match goes_on(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Completer for Line {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        if line.starts_with("/save ") {
            return self.files.complete_path(line, position);
        }
        let typed = line.get(..position).unwrap_or(line);
        let pairs = command::names()
            .filter(|name| typed.starts_with('/') && name.starts_with(typed))
            .map(|name| Pair { display: name.into(), replacement: name.into() })
            .collect();
        Ok((0, pairs))
    }
}

impl Hinter for Line {
    type Hint = String;
}
impl Highlighter for Line {}
impl Helper for Line {}

#[cfg(test)]
mod tests {
    use rustyline::history::MemHistory;

    use super::*;

    #[test]
    fn a_backslash_and_open_quotes_go_on() {
        for (text, more) in [
            ("one line", false),
            ("a backslash \\", true),
            ("an escaped one \\\\", false),
            ("\"\"\"open", true),
            ("\"\"\"open\nand closed\"\"\"", false),
            ("\"\"\"", true),
        ] {
            assert_eq!(goes_on(text), more, "{text}");
        }
        assert_eq!(unquote("a \\\nb"), "a \nb");
        assert_eq!(unquote("\"\"\"a\nb\"\"\""), "a\nb");
    }

    #[test]
    fn tab_completes_commands() {
        let history = MemHistory::new();
        let context = Context::new(&history);
        let complete = |line: &str| -> Vec<String> {
            let (_, pairs) = Line::new().complete(line, line.len(), &context).expect("candidates");
            pairs.into_iter().map(|pair| pair.replacement).collect()
        };
        assert_eq!(complete("/me"), ["/memory"]);
        assert_eq!(complete("/").len(), command::COMMANDS.len());
        assert!(complete("me").is_empty());
    }
}
