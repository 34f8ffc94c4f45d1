//! `agent test`: runs conversation files and checks what they expect.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

use super::args::Shared;
use super::conversation::junit::{self, Suite};
use super::conversation::run::{self, TurnResult};
use super::conversation::settings::Room;
use super::conversation::{self, Conversation};
use super::exit::Exit;
use super::face::plain::{Detail, Plain};
use super::face::sink::{DIM, RIGHT, STRONG, Sink, WRONG};
use super::face::{Face, words};
use super::interrupt::Interrupt;
use super::session;
use super::{Failure, model};
use crate::agent::event::Event;
use crate::llm::Llm;
use crate::llm::scripted::Scripted;

/// Runs every file, prints a line a turn and a summary.
pub fn run(shared: &Shared, files: &[PathBuf], junit: Option<&Path>) -> Result<Exit, Failure> {
    if shared.face.json {
        return Err(Failure::usage("--json is for ask and chat; a test report is --junit FILE"));
    }
    if shared.model.script.is_some() {
        return Err(Failure::usage("--script is for ask and chat; a test has its own replies"));
    }
    let mut tester = Tester {
        shared,
        out: Sink::stdout(shared.face.color),
        interrupt: Interrupt::install()?,
        model: None,
        interrupted: false,
    };
    let mut suites = Vec::new();
    for file in files {
        let suite = tester.file(file)?;
        suites.push(suite);
        if tester.interrupted {
            break;
        }
    }
    let exit = tester.summary(&suites)?;
    if let Some(path) = junit {
        fs::write(path, junit::report(&suites))
            .with_context(|| format!("cannot write the report {}", path.display()))?;
    }
    Ok(if tester.interrupted { Exit::Interrupted } else { exit })
}

struct Tester<'a> {
    shared: &'a Shared,
    out: Sink,
    interrupt: Interrupt,
    /// Opened when the first file needs it.
    model: Option<model::Shared>,
    /// Somebody pressed Ctrl-C.
    interrupted: bool,
}

impl Tester<'_> {
    fn file(&mut self, path: &Path) -> Result<Suite, Failure> {
        let name = path.display().to_string();
        let read = fs::read_to_string(path)
            .map_err(anyhow::Error::from)
            .and_then(|text| conversation::parse(&text).map_err(anyhow::Error::from));
        let conversation = match read {
            Ok(conversation) => conversation,
            Err(error) => return self.unusable(name, &error),
        };
        self.out.styled(STRONG, &name)?;
        self.out.line(DIM, &format!("  {}", conversation.title))?;
        let llm = self.model(&conversation)?;
        let mut agent = match session::agent(llm, self.shared, &conversation.settings) {
            Ok(agent) => agent,
            Err(error) => return self.unusable(name, &error),
        };
        let Self { shared, out, interrupt, .. } = self;
        let mut trace = shared.face.verbose.then(|| {
            let err = Sink::stderr(shared.face.color);
            Plain::new(Sink::to(io::sink(), false), err, Detail::Trace)
        });
        let mut shown = Ok(());
        let (turns, interrupted) = interrupt.during(|cancel| {
            let mut each = |result: &TurnResult| {
                if shown.is_ok() {
                    shown = show(result, out);
                }
                if shown.is_err() {
                    cancel.ask();
                }
            };
            // Its answers go nowhere and standard error never fails.
            let mut report = |event: &Event| {
                let _ = trace.as_mut().map(|trace| trace.show(event));
            };
            run::run(&conversation, &mut agent, cancel, &mut report, &mut each)
        });
        shown?;
        self.interrupted = interrupted;
        let missing = conversation.turns.len() - turns.len();
        if missing > 0 {
            let missing = words::plural(missing, "turn");
            self.out.line(DIM, &format!("  not run: {missing}"))?;
        }
        Ok(Suite { name, turns, error: None })
    }

    /// The model of a case: its own script, or the one that the command line names.
    fn model(&mut self, conversation: &Conversation) -> Result<Box<dyn Llm>, Failure> {
        let room = conversation.settings.context;
        if conversation.is_scripted() {
            let replies: Vec<String> =
                conversation.turns.iter().flat_map(|turn| turn.replies.clone()).collect();
            let make = |context| Box::new(Scripted::new(replies.clone(), context));
            let context = self.tokens(room, conversation, make(model::SCRIPT_CONTEXT))?;
            return Ok(make(context.unwrap_or(model::SCRIPT_CONTEXT)));
        }
        let model = match &self.model {
            Some(model) => model.clone(),
            None => {
                let opened = model::open(self.shared).map_err(Failure::no_model)?;
                self.model.insert(model::Shared::new(opened)).clone()
            }
        };
        let context = self.tokens(room, conversation, Box::new(model.clone()))?;
        Ok(Box::new(model.within(context)))
    }

    /// The context that a case asks for, which may depend on the system message.
    fn tokens(
        &self,
        room: Option<Room>,
        conversation: &Conversation,
        llm: Box<dyn Llm>,
    ) -> Result<Option<usize>> {
        Ok(match room {
            None => None,
            Some(Room::Total(tokens)) => Some(tokens),
            Some(Room::BesideSystem(tokens)) => {
                let agent = session::agent(llm, self.shared, &conversation.settings)?;
                Some(agent.count(&agent.prompt())?.0 + tokens)
            }
        })
    }

    fn unusable(&mut self, name: String, error: &anyhow::Error) -> Result<Suite, Failure> {
        self.out.styled(STRONG, &name)?;
        self.out.line(WRONG, &format!("  ERROR  {error:#}"))?;
        Ok(Suite { name, turns: Vec::new(), error: Some(format!("{error:#}")) })
    }

    fn summary(&mut self, suites: &[Suite]) -> Result<Exit, Failure> {
        let turns: Vec<_> = suites.iter().flat_map(|suite| &suite.turns).collect();
        let passed = turns.iter().filter(|turn| turn.passed()).count();
        let failed = turns.len() - passed;
        let errors = suites.iter().filter(|suite| suite.error.is_some()).count();
        let (files, turns) =
            (words::plural(suites.len(), "file"), words::plural(turns.len(), "turn"));
        let mut summary = format!("{files}, {turns}: {passed} passed, {failed} failed");
        if errors > 0 {
            summary.push_str(&format!(", {} unusable", words::plural(errors, "file")));
        }
        let well = failed + errors == 0;
        self.out.line(if well { RIGHT } else { WRONG }, &summary)?;
        Ok(if well { Exit::Answered } else { Exit::Failed })
    }
}

/// A line for a turn, and one for each thing that did not come true.
fn show(result: &TurnResult, out: &mut Sink) -> io::Result<()> {
    let (style, verdict) = if result.passed() { (RIGHT, "ok  ") } else { (WRONG, "FAIL") };
    out.styled(style, &format!("  {verdict}  "))?;
    let steps = words::plural(result.record.steps, "step");
    out.text(&short(&result.question))?;
    out.line(DIM, &format!("  ({steps}, {})", words::seconds(result.time)))?;
    for (line, why) in &result.failures {
        out.line(WRONG, &format!("        line {line}: {why}"))?;
    }
    Ok(())
}

/// A question on one line, its end left out if it is long.
fn short(question: &str) -> String {
    let line = question.replace(['\n', '\r'], " ");
    match line.char_indices().nth(72) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
