//! `agent chat`: questions one after the other, typed at a prompt or piped in.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::Context;

use super::Failure;
use super::args::Shared;
use super::exit::Exit;
use super::face::sink::Sink;
use super::repl::command::{self, Command};
use super::repl::{Repl, room};
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

/// Answers a list of questions, one a line; commands work here too. Exits
/// with the code of the worst turn.
fn list(mut room: room::Room) -> Result<Exit, Failure> {
    let mut worst = Exit::Answered;
    let mut input = io::stdin().lock();
    for number in 1.. {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line).context("cannot read standard input")?;
        if read == 0 {
            break;
        }
        let Ok(line) = String::from_utf8(line) else {
            let _ = writeln!(io::stderr(), "error: line {number} is not UTF-8 text");
            worst = worst.max(Exit::Failed);
            continue;
        };
        let line = line.trim_start_matches('\u{feff}').trim();
        let exit = match command::parse(line) {
            _ if line.is_empty() => continue,
            Some(Command::Exit) => break,
            Some(command) => match room.command(&command)? {
                true => Exit::Answered,
                false => Exit::Failed,
            },
            None => room.ask(line)?,
        };
        worst = worst.max(exit);
        if exit == Exit::Interrupted {
            break;
        }
    }
    Ok(worst)
}
