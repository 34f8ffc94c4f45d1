//! Writes the conversations that the model in the box is trained on.
//!
//! `generate text --seed S --count N [--only PREFIX]` prints conversations as
//! they look, `generate eval --kind numbers|phrasings` prints cases as JSON
//! lines, `generate check` tries every question of every family.

mod check;
mod conversation;
mod emit;
mod expression;
mod family;
mod hand;
mod long_expression;
mod mishap;
mod noise;
mod number;
mod phrases;
mod rng;
mod sample;
mod shard;
mod slot;
mod spelling;
mod system;
mod template;
mod term;
mod tools;
mod turn;
mod wording;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

use conversation::{Conversation, conversation};
use llama_agent::agent::prompts::Prompts;
use llama_agent::tool::Tool;
use llama_agent::tool::calculator::Calculator;
use phrases::Phrases;
use rng::Rng;

/// Writes conversations for training and evaluation.
#[derive(Parser)]
struct Arguments {
    /// Where `phrases` and `heldout` are.
    #[arg(long, default_value = "training")]
    folder: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints conversations as text.
    Text {
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long, default_value_t = 10)]
        count: u64,
        /// Only families whose name starts so.
        #[arg(long)]
        only: Option<String>,
        /// The held-out families instead.
        #[arg(long)]
        heldout: bool,
        /// With system messages and made-up tools.
        #[arg(long)]
        system: bool,
    },
    /// Prints conversations as the model sees them, to learn the vocabulary from.
    Paper {
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long, default_value_t = 1000)]
        count: u64,
    },
    /// Writes a shard of token ids to train on.
    Shard {
        /// A GGUF file with the vocabulary.
        #[arg(long)]
        vocabulary: PathBuf,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long, default_value_t = 4096)]
        count: u64,
        #[arg(long)]
        out: PathBuf,
    },
    /// Prints the hash of the shipped prompts.
    Hash,
    /// Prints cases for the evaluation as JSON lines.
    Eval {
        #[arg(long)]
        kind: Kind,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 100)]
        count: u64,
    },
    /// Tries every question of every family.
    Check {
        #[arg(long)]
        heldout: bool,
        /// Only families whose name starts so.
        #[arg(long)]
        only: Option<String>,
        /// Prints this many questions with calls and answers of each ask line.
        #[arg(long, default_value_t = 0)]
        show: usize,
        /// A GGUF file with a vocabulary, to see that replies keep to their form.
        #[arg(long, default_value = "models/calculator.gguf")]
        vocabulary: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Phrasings of the training with numbers of their own.
    Numbers,
    /// Held-out families.
    Phrasings,
}

/// What the Calculator says, either way.
fn calculate(input: &str) -> Result<String, String> {
    Calculator.call(input).map_err(|error| error.0)
}

/// The phrases for training, or the held-out families with nothing but the
/// words around a question from training.
fn phrases(folder: &Path, heldout: bool) -> Result<Phrases> {
    let training = folder.join("phrases");
    if !heldout {
        return Phrases::read(&[&training]);
    }
    let known: Vec<String> =
        Phrases::read(&[&training])?.families.into_iter().map(|family| family.name).collect();
    let mut phrases = Phrases::read(&[&training, &folder.join("heldout")])?;
    phrases.retain(|family| !known.contains(&family.name));
    Ok(phrases)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = &arguments.folder;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match arguments.command {
        Command::Text { seed, count, only, heldout, system } => {
            let mut phrases = phrases(folder, heldout)?;
            if let Some(only) = only {
                phrases.retain(|family| family.name.starts_with(&only));
            }
            for index in 0..count {
                let mut rng = Rng::at(seed, index);
                let chosen = if system {
                    system::varied(&phrases, &mut rng)?
                } else {
                    system::System::shipped()
                };
                if system {
                    let rendered = chosen.template.as_deref().unwrap_or("(as shipped)");
                    writeln!(out, "{rendered}\n=== tools {:?}\n", chosen.tools)?;
                }
                write_text(&conversation(&phrases, &chosen.tools, &mut rng)?, &mut out)?;
            }
        }
        Command::Paper { seed, count } => {
            emit::paper(&phrases(folder, false)?, seed, count, &mut out)?;
        }
        Command::Shard { vocabulary, seed, count, out } => {
            emit::shard(&phrases(folder, false)?, &vocabulary, seed, count, &out)?;
        }
        Command::Hash => writeln!(out, "{}", Prompts::shipped().hash()?)?,
        Command::Eval { kind, seed, count } => {
            let phrases = phrases(folder, matches!(kind, Kind::Phrasings))?;
            let tools = system::System::shipped().tools;
            for index in 0..count {
                // Seeds of training are below, so these numbers are new.
                let mut rng = Rng::at(seed ^ (1 << 63), index);
                write_case(&conversation(&phrases, &tools, &mut rng)?, &mut out)?;
            }
        }
        Command::Check { heldout, only, show, vocabulary } => {
            let mut form = check::Form::open(&vocabulary)?;
            let phrases = phrases(folder, heldout)?;
            let mut failures = 0;
            for family in &phrases.families {
                if only.as_ref().is_some_and(|only| !family.name.starts_with(only)) {
                    continue;
                }
                if let Err(error) = check::check(family, &phrases, &mut form, show, &mut out) {
                    writeln!(out, "{}: {error:#}", family.name)?;
                    failures += 1;
                }
            }
            out.flush()?;
            if failures > 0 {
                bail!("{failures} families fail");
            }
            writeln!(out, "{} families", phrases.families.len())?;
        }
    }
    out.flush().context("cannot write to standard output")
}

fn write_text(conversation: &Conversation, out: &mut impl Write) -> Result<()> {
    for turn in &conversation.turns {
        writeln!(out, "User: {}", turn.question)?;
        for call in &turn.calls {
            writeln!(out, "  {}: {}", call.tool, call.input)?;
            writeln!(out, "  -> {}", call.observation)?;
        }
        writeln!(out, "  {}", turn.answer)?;
    }
    Ok(writeln!(out)?)
}

fn write_case(conversation: &Conversation, out: &mut impl Write) -> Result<()> {
    let turns: Vec<_> = conversation
        .turns
        .iter()
        .map(|turn| {
            let calls: Vec<_> = turn
                .calls
                .iter()
                .map(|call| json!({ "tool": call.tool, "input": call.input, "observation": call.observation, "failed": call.failed }))
                .collect();
            json!({
                "question": turn.question,
                "category": turn.category(),
                "family": turn.family,
                "calls": calls,
                "values": turn.values,
                "answer": turn.answer,
            })
        })
        .collect();
    Ok(writeln!(out, "{}", json!({ "turns": turns }))?)
}
