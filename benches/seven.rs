//! What a snapshot is worth on a large model: how long a question takes from a
//! process's start to its exit, with the system message processed and with a
//! snapshot of it, on random weights of Llama-2 7B's shape in 4 bits and with
//! the vocabulary of the model in the box.
//!
//! Writes a file of 3.8 GB to the folder for temporary files, and removes it.
//! `cargo bench --bench seven`

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use llama_agent::llama::{Gguf, gguf};
use support::Tiny;

const VOCAB: usize = 32_000;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (model, store) = (folder.path().join("seven.gguf"), folder.path().join("snapshots"));
    seven()?.write(&model)?;
    let mut replies = Vec::new();
    for (name, kept) in [("processed", false), ("written", true), ("read", true)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        command.args(["ask", "what is 4**2.1", "--json", "--max-new-tokens=1", "--max-steps=1"]);
        command.arg("--no-grammar").arg("--model").arg(&model);
        match kept {
            true => command.arg("--snapshots").arg(&store),
            false => command.arg("--no-snapshot"),
        };
        let begun = Instant::now();
        let output = command.output()?;
        let time = begun.elapsed().as_secs_f64();
        // Random weights answer nothing.
        let err = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(4), "{err}");
        let text = String::from_utf8(output.stdout)?;
        let events: Vec<serde_json::Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let reply = events.iter().find(|event| event["event"] == "reply").context("no reply")?;
        println!(
            "snapshot {name:9}  {time:6.2} s, of {} prompt tokens {} reused, prefill {} s, \
             decode {} s",
            reply["prompt_tokens"],
            reply["reused_tokens"],
            reply["prefill_seconds"],
            reply["decode_seconds"]
        );
        replies.push(reply["text"].clone());
    }
    ensure!(replies.iter().all(|reply| *reply == replies[0]), "other replies: {replies:?}");
    for entry in std::fs::read_dir(&store)? {
        println!("the snapshot takes {:.0} MB", entry?.metadata()?.len() as f64 / 1e6);
    }
    Ok(())
}

/// The shape of Llama-2 7B in 4 bits.
fn seven() -> Result<Tiny> {
    Ok(Tiny {
        layers: 32,
        dim: 4096,
        heads: 32,
        kv_heads: 32,
        ffn: 11008,
        vocab: VOCAB,
        context: 4096,
        kind: GgmlDType::Q4_0,
        blocks: true,
        extra: vocabulary(VOCAB)?,
        ..Tiny::default()
    })
}

/// The vocabulary of the model in the box, filled up to so many pieces.
fn vocabulary(length: usize) -> Result<Vec<(String, Value)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/calculator.gguf");
    let gguf = Gguf::open(&path)?;
    let get = |key: &str| gguf.value(key).with_context(|| format!("no {key}"));
    let (tokens, scores, kinds) =
        ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type");
    let (gguf::Value::Texts(texts), gguf::Value::Floats(floats), gguf::Value::Ints(ints)) =
        (get(tokens)?, get(scores)?, get(kinds)?)
    else {
        anyhow::bail!("the vocabulary is of another kind");
    };
    let rest = texts.len()..length;
    let words = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned());
    let words = words.chain(rest.clone().map(|i| format!("▁pad{i}")));
    let floats = floats.iter().copied().chain(rest.clone().map(|_| -1e9));
    let ints = ints.iter().map(|kind| *kind as i32).chain(rest.map(|_| 1));
    Ok(vec![
        (tokens.into(), Value::Array(words.map(Value::String).collect())),
        (scores.into(), Value::Array(floats.map(Value::F32).collect())),
        (kinds.into(), Value::Array(ints.map(Value::I32).collect())),
    ])
}
