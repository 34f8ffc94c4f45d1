//! Making a recording: a conversation with the model, kept as a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use super::replay::{Stage, read_file};
use super::subject::Subject;
use crate::cli::Failure;
use crate::cli::args::Shared;
use crate::cli::conversation::{self, Record, run, save};
use crate::cli::exit::Exit;
use crate::cli::face::sink::{DIM, Sink};
use crate::cli::face::words;
use crate::cli::interrupt::Interrupt;

/// The conversation this program began with.
const QUESTIONS: &str = include_str!("../../../examples/conversation.txt");

/// Asks the questions and writes the file.
///
/// # Errors
/// The questions cannot be read, the model cannot be run, or the file cannot
/// be written.
pub fn run(
    shared: &Shared,
    subject: &Subject,
    path: &Path,
    questions: Option<&Path>,
    interrupt: &Interrupt,
) -> Result<Exit, Failure> {
    let mut conversation = match questions {
        Some(path) => read_file(path)?,
        None => conversation::parse(QUESTIONS)?,
    };
    // Whatever the model says is recorded, not judged.
    for turn in &mut conversation.turns {
        turn.replies.clear();
        turn.expected.clear();
    }
    let stage = Stage::load(shared, subject).map_err(Failure::no_model)?;
    let mut agent = stage.agent(&conversation, None, None)?;
    // Before anything is spent on the conversation. Never overwrites.
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    let mut notes = Sink::stderr(shared.face.color);
    let (turns, interrupted) = interrupt.during(|cancel| {
        run::run(&conversation, &mut agent, cancel, &mut |_| {}, &mut |turn| {
            // What is recorded is in the file; this only says how far it is.
            let _ = notes.line(DIM, &format!("{} {}", words::seconds(turn.time), turn.question));
        })
    });
    let records: Vec<Record> = turns.into_iter().map(|turn| turn.record).collect();
    let title = format!("Recorded with {}", subject.name());
    let text = save::write(&title, &conversation.settings, &records);
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(if interrupted { Exit::Interrupted } else { Exit::Answered })
}
