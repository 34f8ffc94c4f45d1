//! What was probably meant by a command line that clap would misread.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::closest;

/// An argument that starts like a negative expression, `-5+3`, is no flag: a
/// space before it tells clap so. A negative number may be a flag's value and
/// stays as it is.
pub fn expression(arg: OsString) -> OsString {
    let starts = |c: char| c.is_ascii_digit() || c == '.' || c == '(';
    match arg.to_str() {
        Some(text)
            if text.strip_prefix('-').is_some_and(|rest| rest.starts_with(starts))
                && text.parse::<f64>().is_err() =>
        {
            format!(" {text}").into()
        }
        _ => arg,
    }
}

/// Adds to the error for a word that is no command which one was meant, and how
/// to ask a question unless the word stands alone and is like a command.
pub fn hint(mut error: clap::Error, command: &Command, args: &[OsString]) -> clap::Error {
    let named = error.get(ContextKind::InvalidSubcommand);
    let (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) = (error.kind(), named)
    else {
        return error;
    };
    let meant = closest(word, command.get_subcommands().map(Command::get_name));
    let words = args.iter().skip_while(|arg| *arg != word.as_str());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let question = words.join(" ");
    // In a shell's double quotes these have a meaning of their own.
    let quote = if question.contains(['"', '$', '`', '\\', '!']) { '\'' } else { '"' };
    let tip = format!("to ask a question: agent ask {quote}{}{quote}", question.trim());
    if meant.is_none() || words.len() > 1 {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    // clap's own idea of what is alike is wider than ours.
    error.remove(ContextKind::SuggestedSubcommand);
    if let Some(meant) = meant {
        let meant = ContextValue::Strings(vec![meant.into()]);
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_told_from_flags_and_numbers() {
        for (arg, said) in [
            ("-5+3", " -5+3"),
            ("-(2+3)", " -(2+3)"),
            ("-.5 plus 3", " -.5 plus 3"),
            ("-5", "-5"),
            ("-0.1", "-0.1"),
            ("-v", "-v"),
            ("--strict", "--strict"),
            ("-", "-"),
            ("5-3", "5-3"),
        ] {
            assert_eq!(expression(arg.into()), said, "{arg}");
        }
    }
}
