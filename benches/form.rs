//! Replies that keep to their form: 10,000 of them from a model of random
//! weights at temperature 2, each checked, and what a mask costs on a
//! vocabulary of 32,000 pieces. Fails if a reply cannot be used or a mask takes
//! longer than it may.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use candle_core::quantized::gguf_file::Value;
use llama_agent::agent::step::{Step, read};
use llama_agent::chat::reply::{FINAL_ANSWER, render};
use llama_agent::chat::{
    Cancel, InputForm, Origin, Prompt, ReplyForm, Sampling, Segment, ToolForm,
};
use llama_agent::decode::Forms;
use llama_agent::llama::{Gguf, Tokenizer};
use llama_agent::llm::local::Local;
use llama_agent::llm::{Llm, Request};
use llama_agent::tool::calculator::check;
use support::{Random, Tiny};

const REPLIES: u64 = 10_000;
const ROOM: usize = 200;
const PIECES: usize = 32_000;

fn main() -> Result<()> {
    masks()?;
    replies()
}

fn tools() -> Vec<ToolForm> {
    vec![ToolForm { name: "Calculator".into(), input: InputForm::Arithmetic }]
}

fn form() -> ReplyForm {
    ReplyForm { lead: " ", tools: tools(), stop_lines: vec!["Observation:".into()] }
}

fn replies() -> Result<()> {
    let tiny = Tiny { layers: 1, vocab: 1024, context: 512, scale: 0.3, ..Tiny::default() };
    let mut local = Local::from_bytes(tiny.bytes(), None)?;
    let prompt = Prompt::from_iter([Segment::new(Origin::Frame, "<s>User: what?\nAssistant:")]);
    let form = form();
    let (mut names, mut longest, start) = (BTreeMap::new(), 0, Instant::now());
    for seed in 0..REPLIES {
        let sampling = Sampling { temperature: 2.0, seed, ..Sampling::default() };
        let cancel = Cancel::new();
        let request = Request {
            prompt: &prompt,
            form: &form,
            sampling: &sampling,
            max_new_tokens: ROOM,
            cancel: &cancel,
        };
        let completion = local.complete(&request, &mut |_| {})?;
        let text = completion.reply.text;
        let name = match read(&text, true).step {
            Step::Answer(_) => FINAL_ANSWER.to_string(),
            Step::Act { tool, input } if tool == "Calculator" => {
                ensure!(check(&input).is_ok(), "{input:?} cannot be worked out");
                tool
            }
            other => bail!("{other:?} in {text:?}"),
        };
        longest = longest.max(completion.stats.produced);
        *names.entry(name).or_insert(0) += 1;
    }
    ensure!(longest <= ROOM, "a reply has {longest} tokens");
    println!(
        "{REPLIES} replies at temperature 2, all usable: {names:?}, the longest {longest} of \
         {ROOM} tokens, {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn masks() -> Result<()> {
    let tokenizer = Arc::new(tokenizer()?);
    let start = Instant::now();
    let mut forms = Forms::new(tokenizer.clone())?;
    let vocabulary = start.elapsed();
    forms.form(&form(), 512)?;
    let built = start.elapsed() - vocabulary;
    let start = Instant::now();
    for _ in 0..1000 {
        forms.form(&form(), 512)?;
    }
    let copied = start.elapsed() / 1000;
    println!("{PIECES} pieces: {vocabulary:?}; the form: {built:?}, later {copied:?}");
    let mut times: Vec<Duration> = Vec::new();
    // The first round warms what all forms share.
    for round in 0..4 {
        let mut random = Random(9);
        for _ in 0..200 {
            let text = format!(" {}", reply(&mut random));
            let mut form = forms.form(&form(), 512)?;
            for id in tokenizer.encode(&text, false, false) {
                if form.forced().is_none() {
                    let start = Instant::now();
                    let allowed = form.allowed()?;
                    if round > 0 {
                        times.push(start.elapsed());
                    }
                    ensure!(allowed.has(id), "{:?} is not allowed", tokenizer.name(id));
                }
                form.push(id)?;
            }
        }
    }
    times.sort();
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    let p99 = times[times.len() * 99 / 100];
    println!(
        "{} masks: mean {mean:?}, p99 {p99:?}, longest {:?}",
        times.len(),
        times[times.len() - 1]
    );
    ensure!(mean < Duration::from_micros(50) && p99 < Duration::from_millis(1), "too slow");
    Ok(())
}

/// A reply like those that people get.
fn reply(random: &mut Random) -> String {
    let mut number = || {
        let digits = 1 + random.next() % 16;
        let whole = random.next() % 10u64.pow(digits as u32);
        if random.next().is_multiple_of(2) {
            format!("{whole}")
        } else {
            format!("{whole}.{digits}")
        }
    };
    let (a, b, c) = (number(), number(), number());
    match random.next() % 6 {
        0 => render("Calculator", &format!("{a}**{b}")),
        1 => render("Calculator", &format!("sqrt({a} + {b}) * max({a}, {c})")),
        2 => render("Calculator", &format!("({a}-{b})/({c}+20% of {a})")),
        3 => render(FINAL_ANSWER, "Hello! I am well, thank you for asking. What can I do?"),
        4 => render(FINAL_ANSWER, &format!("It is {a}: \"{b}\" and {c}.\nShall I go on?")),
        _ => render(FINAL_ANSWER, &format!("It looks like the answer is {a}!")),
    }
}

/// A vocabulary of the Llama-2 kind: bytes, single characters, and beginnings
/// and ends of the words of this repository's own texts, the most frequent
/// first. Every digit is a piece of its own.
fn tokenizer() -> Result<Tokenizer> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for folder in ["training/phrases", "training/heldout", "src/agent", "src/cli", "examples"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let text = if path.is_file() { std::fs::read_to_string(path)? } else { continue };
            for word in text.split_whitespace() {
                let plain: Vec<char> = word.chars().filter(|c| !c.is_ascii_digit()).collect();
                for end in 2..=plain.len().min(14) {
                    let piece: String = plain[..end].iter().collect();
                    *counts.entry(format!("▁{piece}")).or_default() += 1;
                    *counts.entry(piece).or_default() += 1;
                    *counts.entry(plain[plain.len() - end..].iter().collect()).or_default() += 1;
                }
            }
        }
    }
    let mut words: Vec<(String, usize)> = counts.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut pieces = support::vocabulary(500);
    let known: std::collections::HashSet<String> =
        pieces.iter().map(|piece| piece.0.clone()).collect();
    let new = words.into_iter().filter(|(word, _)| !known.contains(word));
    let wanted = PIECES - pieces.len();
    pieces.extend(new.take(wanted).zip(500..).map(|((word, _), i)| (word, -(i as f32), 1)));
    ensure!(pieces.len() == PIECES, "only {} pieces", pieces.len());
    let array = |values: Vec<Value>| Value::Array(values);
    let tiny = Tiny {
        layers: 1,
        dim: 8,
        heads: 1,
        kv_heads: 1,
        ffn: 8,
        vocab: PIECES,
        extra: vec![
            (
                "tokenizer.ggml.tokens".into(),
                array(pieces.iter().map(|piece| Value::String(piece.0.clone())).collect()),
            ),
            (
                "tokenizer.ggml.scores".into(),
                array(pieces.iter().map(|piece| Value::F32(piece.1)).collect()),
            ),
            (
                "tokenizer.ggml.token_type".into(),
                array(pieces.iter().map(|piece| Value::I32(piece.2)).collect()),
            ),
        ],
        ..Tiny::default()
    };
    Ok(Tokenizer::from_gguf(&Gguf::from_bytes(tiny.bytes())?)?)
}
