//! A conversation between a person and an agent: its turns, and the commands
//! that look at it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::command::{self, Command};
use super::why;
use crate::agent::Options;
use crate::cli::args::{DialectName, Shared};
use crate::cli::conversation::{Record, Settings, save};
use crate::cli::exit::Exit;
use crate::cli::face::sink::{DIM, STRONG, Sink, WRONG};
use crate::cli::face::words;
use crate::cli::session::Session;
use crate::cli::{closest, home};
use crate::llm::Stats;

/// A session, what happened in it, and where commands answer.
pub struct Room {
    pub session: Session,
    pub out: Sink,
    settings: Settings,
    window: usize,
    turns: Vec<Record>,
}

impl Room {
    /// A room in which nothing has been said yet.
    pub fn new(session: Session, out: Sink, shared: &Shared) -> Self {
        let options = shared.options();
        let window = options.memory;
        Self { session, out, settings: settings(&options, shared), window, turns: Vec::new() }
    }

    /// One question.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn ask(&mut self, question: &str) -> io::Result<Exit> {
        let (exit, record) = self.session.turn(question)?;
        self.turns.push(record);
        Ok(exit)
    }

    /// Carries out a command; false if it could not.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn command(&mut self, command: &Command) -> io::Result<bool> {
        match command {
            Command::Help => {
                for (form, what) in command::COMMANDS {
                    self.out.styled(STRONG, &format!("{form:<12}"))?;
                    self.out.text(&format!("{what}\n"))?;
                }
                self.out.line(DIM, "A line that ends in \\ goes on; so does one inside \"\"\".")?;
            }
            Command::Tools => {
                for tool in self.session.agent.tools().iter() {
                    self.out.styled(STRONG, tool.name())?;
                    self.out.text(&format!(": {}\n", tool.usage()))?;
                }
            }
            Command::Memory => self.memory()?,
            Command::Clear => {
                self.session.agent.clear();
                self.turns.clear();
                self.out.line(DIM, "forgotten")?;
            }
            Command::Why => {
                if let Err(error) = why::show(&self.session.agent, &mut self.out)? {
                    return self.regret(&format!("the prompt cannot be counted: {error}"));
                }
            }
            Command::Stats => self.stats()?,
            Command::Save(file) => return self.save(file),
            Command::Exit => {}
            Command::Unknown(name) => {
                let hint = match closest(name, command::names().chain(["/quit"])) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "/help shows all".into(),
                };
                return self.regret(&format!("there is no command {name}; {hint}"));
            }
        }
        Ok(true)
    }

    fn memory(&mut self) -> io::Result<()> {
        let memory = self.session.agent.memory();
        let held = words::plural(memory.len(), "exchange");
        self.out.line(DIM, &format!("{held} of at most {}, oldest first", self.window))?;
        for exchange in memory.exchanges() {
            self.out.styled(STRONG, "> ")?;
            self.out.text(&format!("{}\n{}\n", exchange.question, exchange.answer))?;
        }
        Ok(())
    }

    fn stats(&mut self) -> io::Result<()> {
        let (mut replies, mut cost) = (0, Stats::default());
        for turn in &self.turns {
            replies += turn.replies.len();
            cost += turn.cost;
        }
        let turns = words::plural(self.turns.len(), "question");
        let replies = if replies == 1 { "1 reply".into() } else { format!("{replies} replies") };
        self.out.line(DIM, &format!("{turns}, {replies}"))?;
        self.out.text(&format!("{}\n", words::cost(&cost)))
    }

    fn save(&mut self, file: &str) -> io::Result<bool> {
        if file.is_empty() {
            return self.regret("name a file: /save FILE");
        }
        if self.turns.is_empty() {
            return self.regret("nothing has been said yet");
        }
        match self.write(&home(file)) {
            Ok(()) => self.out.line(DIM, &format!("saved in {file}")).map(|()| true),
            Err(error) => self.regret(&format!("{error:#}")),
        }
    }

    /// Never overwrites: a conversation cannot be had again.
    fn write(&self, path: &Path) -> Result<()> {
        let text = save::write("A saved conversation", &self.settings, &self.turns);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot save in {}", path.display()))
    }

    fn regret(&mut self, what: &str) -> io::Result<bool> {
        self.out.line(WRONG, what)?;
        Ok(false)
    }
}

/// What a saved conversation must set to go the same way: what differs from
/// the defaults, but for the clock, the context and the sampling, which no
/// script depends on.
fn settings(options: &Options, shared: &Shared) -> Settings {
    fn changed<T: PartialEq>(value: T, default: T) -> Option<T> {
        (value != default).then_some(value)
    }
    let default = Options::default();
    Settings {
        memory: changed(options.memory, default.memory),
        max_steps: changed(options.max_steps, default.max_steps),
        strict: changed(options.strict, default.strict),
        // A script has no template of its own.
        dialect: shared.prompt.dialect.filter(|name| *name != DialectName::Template),
        system: shared.prompt.system.clone(),
        ..Settings::default()
    }
}
