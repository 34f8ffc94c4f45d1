//! `agent bench`: how fast a model is on this machine, with its own weights or
//! random ones of a known shape; alone, or in a conversation that was recorded.

mod lent;
mod meter;
mod record;
mod replay;
mod report;
mod speed;
mod subject;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueHint};

use self::meter::Meter;
use self::subject::Subject;
use super::Failure;
use super::args::Shared;
use super::exit::Exit;
use super::face::sink::Sink;
use super::face::words;
use super::interrupt::Interrupt;
use crate::llama::convert::ConvertError;
use crate::llama::synthetic::Shape;

/// What `agent bench` is told.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Random weights of Llama-2's 70B, 13B or 7B (or a tiny model for trying
    /// things out), made in memory in the format that --quant names (Q4_0,
    /// Q4_K, Q5_K, Q6_K or Q8_0), instead of a model.
    #[arg(long, value_name = "70b|13b|7b|tiny", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(Shape::ALL.map(|shape| shape.name)))]
    shape: Option<String>,
    /// Write the random weights to a GGUF file, which must not be there yet,
    /// and measure nothing.
    #[arg(long, value_name = "FILE.gguf", requires = "shape", value_hint = ValueHint::FilePath)]
    write: Option<PathBuf>,
    /// Time a recorded conversation: the replies in this conversation file are
    /// followed, whatever the model would have chosen, and a guess counts as
    /// right where it is the same as the recording.
    #[arg(long, value_name = "FILE", conflicts_with = "write", value_hint = ValueHint::FilePath)]
    replay: Option<PathBuf>,
    /// Ask the model the questions of a conversation and write the replies to
    /// FILE, which must not be there yet, for --replay.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["write", "replay", "shape"],
          value_hint = ValueHint::FilePath)]
    record: Option<PathBuf>,
    /// The conversation file with the questions for --record [default: small
    /// talk, a power, a follow-up].
    #[arg(long, value_name = "FILE", requires = "record", value_hint = ValueHint::FilePath)]
    questions: Option<PathBuf>,
}

/// Measures and prints.
///
/// # Errors
/// `NoModel` if there is none; a recording that cannot be replayed; an engine
/// that fails.
pub fn run(shared: &Shared, args: &BenchArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::install()?;
    let subject = Subject::open(shared, args.shape.as_deref())?;
    match args {
        BenchArgs { write: Some(path), .. } => write(shared, &subject, path, &interrupt),
        BenchArgs { replay: Some(path), .. } => replay::run(shared, &subject, path, &interrupt),
        BenchArgs { record: Some(path), questions, .. } => {
            record::run(shared, &subject, path, questions.as_deref(), &interrupt)
        }
        _ => speed::run(shared, &subject, &interrupt),
    }
}

/// Writes random weights to a file.
fn write(
    shared: &Shared,
    subject: &Subject,
    path: &std::path::Path,
    interrupt: &Interrupt,
) -> Result<Exit, Failure> {
    let Subject::Synthetic { model, .. } = subject else {
        return Err(Failure::usage("--write needs --shape"));
    };
    let mut meter = Meter::stderr();
    let (written, _) = interrupt.during(|cancel| {
        model.write(path, cancel, &mut |done, total| {
            meter.show(&format!("{} of {}", words::bytes(done), words::bytes(total)));
        })
    });
    meter.clear();
    match written {
        Err(error @ ConvertError::Cancelled) => {
            Err(Failure { exit: Exit::Interrupted, error: error.into() })
        }
        written => {
            written?;
            let what = format!("{} is in {}\n", subject.name(), path.display());
            Sink::stdout(shared.face.color).text(&what)?;
            Ok(Exit::Answered)
        }
    }
}
