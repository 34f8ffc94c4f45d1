//! `agent chat`: questions one after the other, typed at a prompt or piped in.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::Context;

use super::Failure;
use super::args::Shared;
use super::exit::Exit;
use super::face::sink::Sink;
use super::repl::command::{self, Command};
use super::repl::{Repl, line, room};
use super::session::{self, Session};

/// A prompt where a person types and watches, a list of questions elsewhere.
pub fn run(shared: &Shared) -> Result<Exit, Failure> {
    let typed = io::stdin().is_terminal() && io::stdout().is_terminal() && !shared.face.json;
    let session = Session::open(shared, session::face(&shared.face, typed))?;
    // With JSON lines on standard output, what commands say goes elsewhere.
    let out = match shared.face.json {
        true => Sink::stderr(shared.face.color),
        false => Sink::stdout(shared.face.color),
    };
    let room = room::Room::new(session, out, shared);
    if typed { Repl::new(room)?.run() } else { list(room) }
}

/// Answers a list of questions, one a line unless a mark makes it go on;
/// commands work here too. Exits with the code of the worst turn.
fn list(mut room: room::Room) -> Result<Exit, Failure> {
    let mut worst = Exit::Answered;
    let (mut input, mut number) = (io::stdin().lock(), 0);
    while let Some(read) = next(&mut input, &mut number).context("cannot read standard input")? {
        let question = match read {
            Ok(question) => question,
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error}");
                worst = worst.max(Exit::Failed);
                continue;
            }
        };
        let question = question.trim();
        let exit = match command::parse(question) {
            _ if question.is_empty() => continue,
            Some(Command::Exit) => break,
            Some(command) => match room.command(&command)? {
                true => Exit::Answered,
                false => Exit::Failed,
            },
            None => room.ask(question)?,
        };
        worst = worst.max(exit);
        if exit == Exit::Interrupted {
            break;
        }
    }
    Ok(worst)
}

/// The next question, without the marks that made it several lines long, or
/// what is wrong with it; none at the end. `number` counts lines.
fn next(
    input: &mut impl BufRead,
    number: &mut usize,
) -> io::Result<Option<Result<String, String>>> {
    let (mut text, first) = (String::new(), *number + 1);
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(match text {
                text if text.is_empty() => None,
                text if line::is_open(&text) => {
                    Some(Err(format!("the \"\"\" of line {first} is never closed")))
                }
                text => Some(Ok(line::unquote(&text))),
            });
        }
        *number += 1;
        let Ok(line) = String::from_utf8(line) else {
            return Ok(Some(Err(format!("line {number} is not UTF-8 text"))));
        };
        text += line.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
        if !line::goes_on(&text) {
            return Ok(Some(Ok(line::unquote(&text))));
        }
        text.push('\n');
    }
}
