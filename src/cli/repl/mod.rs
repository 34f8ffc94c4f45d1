//! The prompt where questions are typed.

pub mod command;
pub mod line;
pub mod room;
mod why;

use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::Failure;
use super::exit::Exit;
use super::face::sink::{DIM, WRONG};
use crate::chat::Cancel;
use command::Command;
use line::Line;
use room::Room;

/// The read-answer loop on a terminal.
pub struct Repl {
    room: Room,
    editor: Editor<Line, FileHistory>,
    history: Option<PathBuf>,
}

impl Repl {
    /// # Errors
    /// The terminal cannot be used.
    pub fn new(room: Room) -> Result<Self, Failure> {
        let config = Config::builder().auto_add_history(false).history_ignore_dups(true)?.build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Line::new()));
        let history = history();
        if let Some(path) = &history {
            // The first time there is none yet.
            let _ = editor.load_history(path);
        }
        Ok(Self { room, editor, history })
    }

    /// Reads and answers until the person leaves.
    pub fn run(mut self) -> Result<Exit, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let hello = format!("agent {version}: type a question, /help for help, Ctrl-D to leave");
        self.room.out.line(DIM, &hello)?;
        let mut leaving = false;
        loop {
            let line = match self.read() {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) if leaving => return Ok(Exit::Interrupted),
                Err(ReadlineError::Interrupted) => {
                    leaving = true;
                    self.room.out.line(DIM, "(Ctrl-C again or Ctrl-D to leave)")?;
                    continue;
                }
                Err(ReadlineError::Eof) => return Ok(Exit::Answered),
                Err(error) => return Err(error.into()),
            };
            leaving = false;
            let question = line::unquote(&line);
            if question.trim().is_empty() {
                continue;
            }
            self.remember(&line);
            match command::parse(question.trim()) {
                Some(Command::Exit) => return Ok(Exit::Answered),
                Some(command) => {
                    self.room.command(&command)?;
                }
                None => {
                    self.room.ask(question.trim())?;
                }
            }
        }
    }

    /// Reads a line. While the person types, the model reads what the next
    /// prompt will begin with.
    fn read(&mut self) -> rustyline::Result<String> {
        let Self { room, editor, .. } = self;
        let cancel = Cancel::new();
        let agent = &mut room.session.agent;
        std::thread::scope(|scope| {
            // If this fails, so will the turn, and that is where it is said.
            scope.spawn(|| agent.prepare(&cancel));
            let line = editor.readline("> ");
            cancel.ask();
            line
        })
    }

    fn remember(&mut self, line: &str) {
        let added = self.editor.add_history_entry(line);
        if let (Ok(true), Some(path)) = (added, self.history.clone())
            && let Err(error) = self.editor.append_history(&path)
        {
            let what = format!("the history cannot be kept in {}: {error}", path.display());
            let _ = self.room.out.line(WRONG, &what);
            self.history = None;
        }
    }
}

/// Where the lines of earlier sessions are kept; none where there is no such place.
fn history() -> Option<PathBuf> {
    let folder = dirs::state_dir().or_else(dirs::data_local_dir)?.join("llama-agent");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
