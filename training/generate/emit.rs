//! Writes what the trainer reads: shards of token ids, and the paper that the
//! vocabulary is learnt from.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use llama_agent::agent::prompts::Prompts;
use llama_agent::llama::{Gguf, Tokenizer};

use super::conversation::conversation;
use super::mishap::exchanges;
use super::phrases::Phrases;
use super::rng::Rng;
use super::sample::{Paper, play};
use super::shard::Shard;
use super::system::{self, System};
use super::tools::registry;

/// Conversations in a row that share a system message: the trainer processes
/// it once for all of them.
const TOGETHER: u64 = 32;

/// Of so many groups, one has a system message other than the shipped one.
const VARIED: u64 = 4;

/// Who the person wants to talk to, in part of the varied system messages: it
/// must not cost the model its contract.
const PERSONAS: [&str; 10] = [
    "You are a pirate.",
    "you are a patient teacher for children",
    "Be brief.",
    "Speak like a butler.",
    "You are Max, the assistant of a small bakery.",
    "Always be cheerful and polite!",
    "You are a grumpy old wizard who likes numbers.",
    "The person you talk to is an engineer.",
    "Answer in a friendly tone. Do not use difficult words.",
    "you are a robot from the future, talk like one",
];

/// Plays conversations `0..count` of `seed`.
fn papers(
    phrases: &Phrases,
    seed: u64,
    count: u64,
    mut each: impl FnMut(Paper) -> Result<()>,
) -> Result<()> {
    let mut under = (System::shipped(), Prompts::shipped(), None);
    let mut misfits = 0;
    for index in 0..count {
        let (group, position) = (index / TOGETHER, index % TOGETHER);
        if position == 0 {
            // A stream of its own, so that the conversations do not depend on it.
            let mut rng = Rng::at(!seed, group);
            under = (System::shipped(), Prompts::shipped(), None);
            if group % VARIED == VARIED - 1 {
                under.0 = system::varied(phrases, &mut rng)?;
                if let Some(template) = &under.0.template {
                    under.1 = under.1.with("system.jinja", template.as_str())?;
                }
                under.2 = rng.chance(0.2).then(|| rng.word(&PERSONAS));
            }
        }
        let (system, prompts, persona) = &under;
        let drawn = conversation(phrases, &system.tools, &mut Rng::at(seed, index));
        let Some(conversation) = fitting(drawn, &mut misfits, count)? else { continue };
        let mut chance = Rng::at(!seed, count + index);
        let (exchanges, options) = exchanges(&conversation, &mut chance);
        let tools = registry(&system.tools, &conversation);
        let played = play(&exchanges, prompts, tools, *persona, options);
        let Some(papers) = fitting(played, &mut misfits, count)? else { continue };
        papers.into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

/// Chance makes a conversation now and then that cannot be: it is left out,
/// as long as that is rare.
fn fitting<T>(drawn: Result<T>, misfits: &mut u64, count: u64) -> Result<Option<T>> {
    match drawn {
        Ok(drawn) => Ok(Some(drawn)),
        Err(problem) => {
            *misfits += 1;
            ensure!(*misfits <= 1 + count / 200, "too many misfits: {problem:#}");
            Ok(None)
        }
    }
}

/// Writes a shard of `count` conversations.
///
/// # Errors
/// A phrase that cannot be filled in, a conversation that does not play as
/// written, or a file that cannot be written.
pub fn shard(
    phrases: &Phrases,
    vocabulary: &Path,
    seed: u64,
    count: u64,
    out: &Path,
) -> Result<()> {
    let gguf = Gguf::open(vocabulary)
        .with_context(|| format!("cannot read the vocabulary {}", vocabulary.display()))?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let mut shard = Shard::default();
    papers(phrases, seed, count, |paper| {
        let sample = paper.sample(&tokenizer);
        shard.add(&sample.prefix, &sample.body, &sample.written)
    })?;
    shard.write(out)
}

/// Prints `count` conversations as the model sees them, each system message
/// once where it begins a group.
///
/// # Errors
/// As [`shard`].
pub fn paper(phrases: &Phrases, seed: u64, count: u64, out: &mut impl Write) -> Result<()> {
    let mut shown = String::new();
    papers(phrases, seed, count, |paper| {
        let (system, body) = paper.texts();
        if system != shown {
            writeln!(out, "{system}")?;
            shown = system;
        }
        Ok(writeln!(out, "{body}\n")?)
    })
}
