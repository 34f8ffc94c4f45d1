//! `agent ask`: one question.

use std::io::{self, Read};

use anyhow::Context;

use super::Failure;
use super::args::Shared;
use super::exit::Exit;
use super::session::{self, Session};

/// Asks the question that the words make, or the one on standard input.
pub fn run(shared: &Shared, words: &[String]) -> Result<Exit, Failure> {
    let question = match words {
        [dash] if dash == "-" => read()?,
        words => words.iter().map(|word| word.trim()).collect::<Vec<_>>().join(" "),
    };
    if question.trim().is_empty() {
        return Err(Failure::usage("the question is empty"));
    }
    let mut session = Session::open(shared, session::face(&shared.face, false))?;
    let (exit, _) = session.turn(question.trim())?;
    Ok(exit)
}

fn read() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage("the question on standard input is not UTF-8 text"))?;
    Ok(text.trim_start_matches('\u{feff}').into())
}
