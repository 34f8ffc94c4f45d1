//! A converted file in other engines: llama.cpp opens it and writes the same
//! tokens, transformers computes the same logits, from the file as from the
//! folder that it was made of.
//!
//! Needs a Python with xllamacpp, or with torch, transformers and gguf, named
//! by `AGENT_PARITY_PYTHON`; what cannot run says so and passes.

mod folder;
mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use folder::Folder;
use llama_agent::chat::Cancel;
use llama_agent::llama::convert::Target;
use llama_agent::llama::{Forward, Gguf, Portable, Tokenizer, Want};
use serde_json::json;

const PROMPT: &str = "<s>[INST] Respond to the following in JSON with 'action' and 'action_input' \
    values [/INST]\nUser: what is 4 to the power of 2.1?\nAssistant:";
/// Tokens that are continued.
const LENGTH: usize = 24;

/// The Python, if it has these modules.
fn python(modules: &str) -> Option<String> {
    let note = |why: &str| {
        // Past the test harness, which would keep the line to itself.
        writeln!(std::io::stderr(), "skipped: parity of converted files, {why}").unwrap();
    };
    let Ok(python) = std::env::var("AGENT_PARITY_PYTHON") else {
        note("AGENT_PARITY_PYTHON names no Python");
        return None;
    };
    let output = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if !output.unwrap_or_else(|error| panic!("{python}: {error}")).status.success() {
        note(&format!("that Python has not all of {modules}"));
        return None;
    }
    Some(python)
}

fn run(python: &str, script: &str, folder: &Path, file: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(script);
    let output = Command::new(python).arg(script).arg(folder).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The model in the box as a Hugging Face folder.
fn boxed() -> Folder {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/calculator.gguf");
    let folder = Folder::from_gguf(&fs::read(path).unwrap());
    folder.write(2);
    folder
}

fn prompt(gguf: &Gguf) -> Vec<u32> {
    Tokenizer::from_gguf(gguf).unwrap().encode(PROMPT, true, true)
}

fn best(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0 as u32
}

#[test]
fn llama_cpp_writes_the_same_tokens() {
    let Some(python) = python("xllamacpp") else { return };
    let folder = boxed();
    for target in [Target::Q8_0, Target::Q6K, Target::Q4K, Target::Q4_0] {
        let (path, _) = folder.quantized(target);
        let gguf = Gguf::open(&path).unwrap();
        let mut model = Portable::new(&gguf, None).unwrap();
        let prompt = prompt(&gguf);
        let mut logits = model.forward(&prompt, Want::Last, &Cancel::new()).unwrap().unwrap();
        let mut ours = Vec::new();
        for _ in 0..LENGTH {
            ours.push(best(&logits));
            let next = [best(&logits)];
            logits = model.forward(&next, Want::Last, &Cancel::new()).unwrap().unwrap();
        }
        let prompts = json!([{"prompt": prompt, "length": LENGTH}]);
        folder.file("prompts.json", prompts.to_string());
        run(&python, "continuations.py", folder.path(), &path);
        let theirs = fs::read(folder.path().join("continuations.json")).unwrap();
        let theirs: Vec<Vec<u32>> = serde_json::from_slice(&theirs).unwrap();
        assert_eq!(ours, theirs[0], "{target}");
    }
}

#[test]
fn transformers_computes_the_same_logits() {
    let Some(python) = python("torch, transformers, gguf") else { return };
    let folder = boxed();
    for target in [Target::Q8_0, Target::Q4K] {
        let (path, report) = folder.quantized(target);
        let gguf = Gguf::open(&path).unwrap();
        let prompt = prompt(&gguf);
        folder.file("tokens.json", json!(prompt).to_string());
        run(&python, "transformed.py", folder.path(), Path::new(path.file_name().unwrap()));
        let mut model = Portable::new(&gguf, None).unwrap();
        let ours = model.forward(&prompt, Want::All, &Cancel::new()).unwrap().unwrap();
        let theirs = |name: &str| -> Vec<f32> {
            let bytes = fs::read(folder.path().join(name)).unwrap();
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let near = |theirs: &[f32]| {
            assert_eq!(ours.len(), theirs.len());
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
            let difference = square(&mut ours.iter().zip(theirs).map(|(a, b)| a - b));
            (difference / square(&mut theirs.iter().copied())).sqrt()
        };
        let (file, own) = (near(&theirs("gguf.logits")), near(&theirs("own.logits")));
        println!("{target}: {file:.2e} off the file, {own:.2e} off the folder");
        assert!(file < 1e-3, "{target}: {file}");
        // The folder holds what the file was quantized from.
        assert!(own < 1e-3 + 10.0 * report.loss as f32, "{target}: {own}, {}", report.loss);
    }
}
