//! Writing a conversation down as a file that `agent test` runs.

use super::{Record, Settings};
use crate::agent::event::{Forgot, NoAnswer, Outcome, Stop};
use crate::cli::face::words;

/// The file of a conversation: its settings, then every turn with the model's
/// replies as a script and with what happened as what is expected.
///
/// A turn that a script cannot replay (it was interrupted, the engine failed,
/// the clock or the context ended it) is left out and named in a comment.
pub fn write(title: &str, settings: &Settings, turns: &[Record]) -> String {
    let mut lines = vec![format!("# {}", title.replace('\n', " "))];
    lines.extend(settings.lines());
    for turn in turns {
        lines.push(String::new());
        match unplayable(turn) {
            Some(why) => {
                let question = turn.question.replace(['\n', '\r'], " ");
                lines.push(format!("# left out, {why}: {question}"));
            }
            None => write_turn(turn, &mut lines),
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn write_turn(turn: &Record, lines: &mut Vec<String>) {
    lines.extend(turn.question.split('\n').map(|line| format!("> {line}")));
    for (index, reply) in turn.replies.iter().enumerate() {
        if index > 0 {
            lines.push(String::new());
        }
        lines.extend(reply.split('\n').map(|line| format!("< {line}")));
    }
    // A name with spaces in it could not be told from the input after it.
    let named = turn.calls.iter().all(|(tool, _)| one_line(tool) && !tool.contains(' '));
    for (tool, input) in turn.calls.iter().filter(|_| named) {
        let text = if one_line(input) { format!(" {input}") } else { String::new() };
        lines.push(format!("call: {tool}{text}"));
    }
    for (text, error) in &turn.observations {
        let kind = if *error { "error" } else { "observation" };
        lines.push(match one_line(text) {
            true => format!("{kind}: {text}"),
            false => format!("{kind}: /(?s).*/"),
        });
    }
    if let Some(stop) = turn.stopping
        && stop != Stop::Time
    {
        lines.push(format!("stopping: {}", words::stop(stop)));
    }
    for (kind, names) in [("repairs", &turn.repairs), ("unreadable", &turn.unreadable)] {
        if !names.is_empty() {
            lines.push(format!("{kind}: {}", names.join(", ")));
        }
    }
    lines.push(format!("steps: {}", turn.steps));
    match &turn.outcome {
        Some(Outcome::Answered(answer)) if one_line(answer) => {
            lines.push(format!("answer: {answer}"));
        }
        Some(Outcome::NoAnswer(why)) => {
            lines.push(format!("outcome: no answer {}", words::no_answer(*why)));
        }
        _ => {}
    }
    let window = turn.forgot.iter().filter(|(_, reason)| *reason == Forgot::Window);
    for (question, _) in window {
        if one_line(question) && turn.forgot.iter().all(|(_, r)| *r == Forgot::Window) {
            lines.push(format!("forgot: {question}"));
        }
    }
}

/// Why a script cannot show this turn again.
fn unplayable(turn: &Record) -> Option<&'static str> {
    match &turn.outcome {
        None => Some("the engine failed"),
        Some(Outcome::Interrupted) => Some("interrupted"),
        Some(Outcome::DoesNotFit { .. }) => Some("it did not fit"),
        Some(Outcome::NoAnswer(NoAnswer::Stopped(Stop::Time))) => Some("the time ran out"),
        _ if turn.stopping == Some(Stop::Time) => Some("the time ran out"),
        _ => None,
    }
}

/// The text reads back from one line as it is.
fn one_line(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(['\n', '\r'])
        && text.trim() == text
        && !text.starts_with(['/', '~'])
        && text != "none"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::conversation::parse;

    #[test]
    fn what_is_written_can_be_read() {
        let answered = Record {
            question: "two\nlines".into(),
            replies: vec!["a\n\n b".into(), "c\n".into()],
            calls: vec![("Calculator".into(), "1+1".into()), ("Odd".into(), "a\nb".into())],
            observations: vec![("2".into(), false), ("/x".into(), true)],
            forgot: vec![("old".into(), Forgot::Window)],
            steps: 2,
            outcome: Some(Outcome::Answered("It is 2.".into())),
            ..Record::default()
        };
        let interrupted = Record {
            question: "slow".into(),
            outcome: Some(Outcome::Interrupted),
            ..Record::default()
        };
        let settings = Settings { memory: Some(1), ..Settings::default() };
        let text = write("saved", &settings, &[answered.clone(), interrupted]);
        let read = parse(&text).expect("a conversation");
        assert_eq!((read.title.as_str(), &read.settings), ("saved", &settings));
        assert_eq!(read.turns.len(), 1, "{text}");
        assert_eq!(read.turns[0].question, answered.question);
        assert_eq!(read.turns[0].replies, answered.replies);
        assert_eq!(read.turns[0].expected.len(), 7, "{text}");
        assert!(text.contains("# left out, interrupted: slow"));
    }
}
