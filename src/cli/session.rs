//! One agent, one face, and turns one after the other.

use std::io;

use anyhow::Result;

use super::args::{FaceArgs, Shared};
use super::conversation::{Record, Settings};
use super::exit::Exit;
use super::face::Face;
use super::face::json::Json;
use super::face::plain::{Detail, Plain};
use super::face::sink::DIM;
use super::face::sink::Sink;
use super::interrupt::Interrupt;
use super::template::{self, DialectError};
use super::{Failure, model};
use crate::agent::Agent;
use crate::agent::prompts::Prompts;
use crate::llm::Llm;
use crate::tool::Registry;

/// Where questions go, whoever asks them.
pub struct Session {
    pub agent: Agent,
    face: Box<dyn Face>,
    interrupt: Interrupt,
}

impl Session {
    /// Opens the model and makes the agent that the command line asks for.
    ///
    /// # Errors
    /// `NoModel` if there is none, `Usage` for a dialect that it does not know;
    /// prompts that cannot be used.
    pub fn open(shared: &Shared, face: Box<dyn Face>) -> Result<Self, Failure> {
        let interrupt = Interrupt::install()?;
        let llm = model::open(shared).map_err(Failure::no_model)?;
        let agent = agent(llm, shared, &Settings::default()).map_err(|error| match error
            .is::<DialectError>(
        ) {
            true => Failure { exit: Exit::Usage, error },
            false => error.into(),
        })?;
        if shared.face.verbose && !shared.face.json {
            let dialect = format!("dialect: {}", agent.dialect().name());
            Sink::stderr(shared.face.color).line(DIM, &dialect)?;
        }
        Ok(Self { agent, face, interrupt })
    }

    /// One turn: asks, shows, and says how it went. An engine that fails ends
    /// the turn, not the session.
    ///
    /// # Errors
    /// Standard output cannot be written to; the turn was stopped for it.
    pub fn turn(&mut self, question: &str) -> io::Result<(Exit, Record)> {
        let Self { agent, face, interrupt } = self;
        let mut record = Record::default();
        let mut shown = Ok(());
        let (result, interrupted) = interrupt.during(|cancel| {
            agent.ask(question, cancel, &mut |event| {
                record.note(event);
                if shown.is_ok() {
                    shown = face.show(event);
                    if shown.is_err() {
                        cancel.ask();
                    }
                }
            })
        });
        shown?;
        let exit = match result {
            Ok(outcome) => Exit::from(&outcome),
            Err(error) => {
                face.fail(&format!("{:#}", anyhow::Error::from(error)))?;
                Exit::Failed
            }
        };
        let exit = if interrupted { Exit::Interrupted } else { exit };
        Ok((exit, record))
    }
}

/// The agent that the command line asks for, where a conversation file does
/// not ask for another.
///
/// # Errors
/// Prompts that cannot be read or rendered.
pub fn agent(llm: Box<dyn Llm>, shared: &Shared, settings: &Settings) -> Result<Agent> {
    let prompts = match &shared.prompt.prompts {
        Some(folder) => Prompts::from_folder(folder)?,
        None => Prompts::shipped(),
    };
    let dialect = template::dialect(settings.dialect.or(shared.prompt.dialect), &*llm)?;
    let persona = settings.system.as_deref().or(shared.prompt.system.as_deref());
    let options = settings.over(shared.options());
    Agent::new(llm, Registry::standard(), dialect, prompts, persona, options)
}

/// The face that the command line asks for; `watched` if a person follows the
/// conversation, not only its answers.
pub fn face(args: &FaceArgs, watched: bool) -> Box<dyn Face> {
    let out = Sink::stdout(args.color);
    if args.json {
        return Box::new(Json::new(out));
    }
    let detail = match (args.verbose, watched) {
        (true, _) => Detail::Trace,
        (false, true) => Detail::Calls,
        (false, false) => Detail::Answer,
    };
    Box::new(Plain::new(out, Sink::stderr(args.color), detail))
}
