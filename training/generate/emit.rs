//! Writes what the trainer reads: shards of token ids, and the paper that the
//! vocabulary is learnt from.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use llama_agent::agent::prompts::Prompts;
use llama_agent::llama::{Gguf, Tokenizer};

use super::conversation::{Turn, conversation};
use super::family::Phrases;
use super::rng::Rng;
use super::sample::{Exchange, Paper, Reply, play};
use super::shard::Shard;
use super::system::{self, System};
use super::tools::registry;

/// What a model says when it forgets the form.
const PROSE: [&str; 6] = [
    "Sure, let me work that out.",
    "The answer is easy to find with the Calculator.",
    "I will use the Calculator for this.",
    "Calculator",
    "Hello! How can I help you today?",
    "Okay.",
];

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
        let turns = conversation.turns.iter();
        let exchanges: Vec<_> = turns
            .map(|turn| Exchange { question: &turn.question, replies: replies(turn, &mut chance) })
            .collect();
        let tools = registry(&system.tools, &conversation);
        let played = play(&exchanges, prompts, tools, *persona);
        let Some(papers) = fitting(played, &mut misfits, count)? else { continue };
        papers.into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

/// The replies of a turn, now and then with a mishap: the model must find its
/// way back from a reply that could not be read or a call made twice.
fn replies(turn: &Turn, rng: &mut Rng) -> Vec<Reply> {
    let right = turn.replies();
    let mut replies: Vec<_> =
        right.iter().map(|text| Reply { text: text.clone(), learn: true }).collect();
    let mishap = |text: String| Reply { text, learn: false };
    if rng.chance(0.01) {
        let cut = right[0].len() * rng.range(3, 8) as usize / 10;
        let end = (0..=cut).rev().find(|&end| right[0].is_char_boundary(end)).unwrap_or(0);
        replies.insert(0, mishap(right[0][..end].to_string()));
    } else if rng.chance(0.01) {
        replies.insert(0, mishap(format!(" {}", rng.word(&PROSE))));
    } else if rng.chance(0.02) && right.len() == 2 {
        replies.insert(1, mishap(right[0].clone()));
    }
    replies
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
