//! A recorded conversation, followed token by token: with the system message
//! processed in its first turn, and with it restored from a snapshot.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::lent::Lent;
use super::subject::Subject;
use crate::agent::Agent;
use crate::agent::step::{Step, read};
use crate::chat::Cancel;
use crate::chat::reply::{FINAL_ANSWER, render};
use crate::cli::args::Shared;
use crate::cli::conversation::run::{self, TurnResult};
use crate::cli::conversation::{self, Conversation};
use crate::cli::exit::Exit;
use crate::cli::face::sink::{DIM, STRONG, Sink, WRONG};
use crate::cli::face::words;
use crate::cli::interrupt::Interrupt;
use crate::cli::{Failure, device, model, session, template};
use crate::decode::Snapshots;
use crate::decode::snapshot::{LIMIT, Store};
use crate::llm::local::Local;
use crate::tool::Registry;

/// A model that conversations are held with, each from an empty cache.
pub struct Stage<'a> {
    shared: &'a Shared,
    subject: &'a Subject,
    engine: Lent,
    /// What the engine runs on.
    pub device: String,
}

impl<'a> Stage<'a> {
    /// Loads the model.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn load(shared: &'a Shared, subject: &'a Subject) -> Result<Self> {
        let (engine, device) = device::placed(subject.gguf(), shared, shared.model.context)?;
        Ok(Self { shared, subject, engine: Lent::new(engine), device })
    }

    /// An agent that follows `replies`, or chooses for itself.
    ///
    /// # Errors
    /// The vocabulary, the prompts or the dialect cannot be used.
    pub fn agent(
        &self,
        conversation: &Conversation,
        replies: Option<Vec<String>>,
        store: Option<Store>,
    ) -> Result<Agent> {
        let tokenizer = self.subject.tokenizer(self.shared)?;
        let asked = conversation.settings.dialect.or(self.shared.prompt.dialect);
        let template = template::read(self.subject.gguf(), &tokenizer, asked);
        let local = Local::new(Box::new(self.engine.clone()), tokenizer)?;
        let local = model::trained(self.subject.gguf(), local);
        let mut local = local.with(self.shared.decode.switches()).with_template(template);
        let dialect = template::dialect(asked, &local)?;
        local.expect(&dialect.form(Registry::standard().forms()))?;
        if let Some(replies) = replies {
            local = local.following(replies);
        }
        if let Some(store) = store {
            local = local.with_snapshots(Snapshots::new(store));
        }
        session::agent(Box::new(local), self.shared, &conversation.settings)
    }
}

/// Replays a file.
///
/// # Errors
/// The file is no recording, or the engine fails.
pub fn run(
    shared: &Shared,
    subject: &Subject,
    path: &Path,
    interrupt: &Interrupt,
) -> Result<Exit, Failure> {
    let conversation = read_file(path)?;
    let replies = replies(&conversation, !shared.decode.no_grammar)?;
    let mut out = Sink::stdout(shared.face.color);
    let mut notes = Sink::stderr(shared.face.color);
    let begun = Instant::now();
    let stage = Stage::load(shared, subject).map_err(Failure::no_model)?;
    let load = begun.elapsed();
    let mut object = json!({
        "model": subject.name(), "device": stage.device, "load_seconds": load.as_secs_f64()
    });
    if !shared.face.json {
        let name = subject.name();
        out.text(&format!("{name}, on {}, loaded in {}\n", stage.device, words::seconds(load)))?;
    }
    let snapshots = !shared.model.no_snapshot && !shared.decode.no_cache;
    let folder = Folder::new();
    let mut exit = Exit::Answered;
    let (done, interrupted) = interrupt.during(|cancel| -> Result<()> {
        let mut runs = vec![("processed", None)];
        if snapshots {
            notes.line(DIM, "processing the system message for its snapshot")?;
            match keep(&stage, &conversation, folder.store(), cancel)? {
                Some(bytes) => {
                    object["snapshot_bytes"] = bytes.into();
                    runs.push(("restored", Some(folder.store())));
                }
                None => notes.line(WRONG, "note: the system message could not be kept")?,
            }
        }
        for (how, store) in runs {
            if cancel.is_set() {
                break;
            }
            if !shared.face.json {
                out.line(STRONG, &format!("With the system message {how}"))?;
            }
            let mut agent = stage.agent(&conversation, Some(replies.clone()), store)?;
            let mut shown = Ok(());
            let turns = run::run(&conversation, &mut agent, cancel, &mut |_| {}, &mut |turn| {
                if !shared.face.json && shown.is_ok() {
                    shown = out.text(&format!("  {}\n    {}\n", line(turn), cost(turn)));
                }
            });
            shown?;
            for (line, why) in turns.iter().flat_map(|turn| &turn.failures) {
                notes.line(WRONG, &format!("line {line}: {why}"))?;
                exit = Exit::Failed;
            }
            let total: f64 = turns.iter().map(|turn| turn.time.as_secs_f64()).sum();
            let passes: usize = turns.iter().map(|turn| turn.record.cost.passes).sum();
            if !shared.face.json {
                let count = words::plural(turns.len(), "turn");
                out.text(&format!("  {count} in {total:.3} s, {passes} passes\n"))?;
            }
            let turns: Vec<Value> = turns.iter().map(turn).collect();
            object[how] = json!({"turns": turns, "seconds": total, "passes": passes});
        }
        Ok(())
    });
    done?;
    if shared.face.json {
        object["interrupted"] = interrupted.into();
        out.text(&format!("{object}\n"))?;
    }
    Ok(if interrupted { Exit::Interrupted } else { exit })
}

/// A conversation file.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_file(path: &Path) -> Result<Conversation> {
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    conversation::parse(&text).with_context(|| format!("{} cannot be used", path.display()))
}

/// The replies of a recording; with a form, each as the form has it.
fn replies(conversation: &Conversation, form: bool) -> Result<Vec<String>> {
    ensure!(
        conversation.is_scripted(),
        "the conversation has no replies (lines that start with `<`): `agent bench --record FILE` \
         makes a recording"
    );
    let all = conversation.turns.iter().flat_map(|turn| &turn.replies);
    let formed = |reply: &String| match read(reply, false).step {
        _ if !form => Ok(reply.clone()),
        Step::Act { tool, input } => Ok(format!(" {}", render(&tool, &input))),
        Step::Answer(answer) => Ok(format!(" {}", render(FINAL_ANSWER, &answer))),
        Step::Unreadable { why } => Err(anyhow::anyhow!(
            "a recorded reply has no form ({}): --no-grammar replays it as it is",
            words::unreadable(why)
        )),
    };
    all.map(formed).collect()
}

/// Makes a snapshot of the system message; its bytes, if it was kept.
fn keep(
    stage: &Stage,
    conversation: &Conversation,
    store: Store,
    cancel: &Cancel,
) -> Result<Option<u64>> {
    let mut agent = stage.agent(conversation, None, Some(store.clone()))?;
    agent.prepare(cancel)?;
    // It is written by the time the agent is gone.
    drop(agent);
    Ok(store.list()?.first().map(|entry| entry.bytes))
}

fn line(turn: &TurnResult) -> String {
    let question = turn.question.lines().next().unwrap_or_default();
    format!("{:>8}  > {question}", words::seconds(turn.time))
}

fn cost(turn: &TurnResult) -> String {
    words::cost(&turn.record.cost)
}

fn turn(turn: &TurnResult) -> Value {
    let cost = &turn.record.cost;
    json!({
        "question": turn.question,
        "seconds": turn.time.as_secs_f64(),
        "steps": turn.record.steps,
        "prompt_tokens": cost.prompt,
        "reused_tokens": cost.reused,
        "new_tokens": cost.produced,
        "passes": cost.passes,
        "forced_tokens": cost.forced,
        "drafted_tokens": cost.drafted,
        "accepted_tokens": cost.accepted,
        "prefill_seconds": cost.prefill.as_secs_f64(),
        "decode_seconds": cost.decode.as_secs_f64()
    })
}

/// A folder for the snapshot of this run alone.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("llama-agent-bench-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn store(&self) -> Store {
        Store::new(&self.0, LIMIT)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
