//! The held-out evaluation: how often the model is right about what it was
//! not trained on.
//!
//! Three parts: numbers that training never saw in its own phrasings,
//! phrasings that training never saw (`training/heldout`), and questions
//! written by hand (`questions.txt`). Every conversation goes through one
//! agent with its memory, as the program makes it by default, `--strict`.
//! Prints tables in Markdown; what went wrong is listed in a file. The flags of
//! `agent` that change how replies are decoded are taken too, and `--compare`
//! asks everything once more with all of them off.

mod case;
mod generated;
mod judge;
mod report;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use llama_agent::agent::prompts::Prompts;
use llama_agent::agent::{Agent, Options};
use llama_agent::chat::{Cancel, Dialect};
use llama_agent::cli::args::DecodeArgs;
use llama_agent::decode::Switches;
use llama_agent::llm::local::Local;
use llama_agent::tool::Registry;

use case::{Case, Part};
use judge::{Heard, Verdict, judge};

/// Asks a model held-out questions and counts how often it is right.
#[derive(Parser)]
struct Arguments {
    /// The model: by default the one that is compiled into the program.
    #[arg(long, default_value = "models/calculator.gguf")]
    model: PathBuf,
    /// Where `phrases`, `heldout` and `evaluate` are.
    #[arg(long, default_value = "training")]
    folder: PathBuf,
    /// Turns in each of the two generated parts.
    #[arg(long, default_value_t = 1200)]
    count: usize,
    /// Chooses the generated questions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this part; more than one may be given.
    #[arg(long)]
    part: Vec<Part>,
    /// Conversations at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where to list what went wrong.
    #[arg(long, default_value = "target/evaluate-failures.txt")]
    failures: PathBuf,
    /// Asks everything once more with nothing done to make decoding valid and
    /// quick, and compares turn by turn. Fails if a turn is worse than that.
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    decode: DecodeArgs,
    /// Prints the questions and what is expected, and asks nobody.
    #[arg(long)]
    list: bool,
}

/// A turn that was asked, and how it went.
pub struct Asked {
    pub part: Part,
    pub category: String,
    /// Earlier questions of the conversation.
    pub before: Vec<String>,
    /// No earlier turn of the conversation went wrong.
    pub clean: bool,
    pub turn: case::Turn,
    pub heard: Heard,
    pub verdict: Verdict,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cases = cases(&arguments)?;
    if arguments.list {
        report::list(&cases);
        return Ok(());
    }
    let switches = arguments.decode.switches();
    let begun = Instant::now();
    let asked = ask_all(&cases, &arguments, switches)?;
    println!("{switches:?}\n");
    report::tables(&asked, begun.elapsed());
    let wrong = report::failures(&asked);
    std::fs::write(&arguments.failures, wrong)
        .with_context(|| format!("cannot write {}", arguments.failures.display()))?;
    if arguments.compare {
        let off = Switches { form: false, force: false, draft: 0, cache: false };
        let plain = ask_all(&cases, &arguments, off)?;
        let worse = report::comparison(&asked, &plain);
        ensure!(worse == 0, "{worse} turns are worse");
    }
    Ok(())
}

fn cases(arguments: &Arguments) -> Result<Vec<Case>> {
    let Arguments { folder, count, seed, .. } = arguments;
    let parts = if arguments.part.is_empty() { &Part::ALL[..] } else { &arguments.part[..] };
    let mut cases = Vec::new();
    for part in parts {
        cases.extend(match part {
            Part::Numbers | Part::Phrasings => generated::cases(*part, folder, *seed, *count)?,
            Part::Questions => {
                let path = folder.join("evaluate/questions.txt");
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                case::read(&text).with_context(|| format!("in {}", path.display()))?
            }
        });
    }
    Ok(cases)
}

/// Every turn of every case, in order. Each thread has an agent of its own.
fn ask_all(cases: &[Case], arguments: &Arguments, switches: Switches) -> Result<Vec<Asked>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Vec<Asked>)>> {
        let mut agent = agent(&arguments.model, switches)?;
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return Ok(done) };
            done.push((index, ask(&mut agent, case)?));
        }
    };
    let mut done = std::thread::scope(|scope| -> Result<Vec<(usize, Vec<Asked>)>> {
        let handles: Vec<_> = (0..arguments.threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut done = Vec::new();
        for handle in handles {
            done.extend(handle.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        Ok(done)
    })?;
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().flat_map(|(_, asked)| asked).collect())
}

/// The agent that `agent --strict` makes.
fn agent(model: &Path, switches: Switches) -> Result<Agent> {
    Agent::new(
        Box::new(Local::open(model, None)?.with(switches)),
        Registry::standard(),
        Dialect::default(),
        Prompts::shipped(),
        None,
        Options { strict: true, ..Options::default() },
    )
}

/// A conversation from its beginning.
fn ask(agent: &mut Agent, case: &Case) -> Result<Vec<Asked>> {
    agent.clear();
    let (mut before, mut clean) = (Vec::new(), true);
    let mut asked = Vec::new();
    for turn in &case.turns {
        let mut heard = Heard::default();
        agent
            .ask(&turn.question, &Cancel::new(), &mut |event| heard.note(event))
            .with_context(|| format!("asking \"{}\"", turn.question))?;
        let verdict = judge(turn, &heard);
        let (turn, category) = (turn.clone(), turn.category.clone());
        asked.push(Asked {
            part: case.part,
            category,
            before: before.clone(),
            clean,
            turn,
            heard,
            verdict,
        });
        before.push(case.turns[before.len()].question.clone());
        clean &= verdict.right;
    }
    Ok(asked)
}
