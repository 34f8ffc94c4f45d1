//! The whole program on a model of random weights: Ctrl-C stops a turn at
//! once, and a chat goes on; prompts of another model are warned of.
#![cfg(target_os = "linux")]

mod program;
mod support;
mod terminal;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use candle_core::quantized::gguf_file::Value;
use llama_agent::agent::prompts::Prompts;
use support::Tiny;
use terminal::Terminal;

/// A model of random weights, which never comes to an end.
fn model(folder: &Path) -> PathBuf {
    let path = folder.join("random.gguf");
    let tiny = Tiny { context: 100_000, layers: 2, ..Tiny::box_shape() };
    fs::write(&path, tiny.bytes()).expect("written");
    path
}

#[test]
fn ask_stops_at_once_and_exits_with_130() {
    let folder = tempfile::tempdir().expect("a folder");
    // Once while the prompt is read and once while the reply is written.
    for moment in ["step", "text"] {
        let mut child = program::process()
            .args([
                "ask",
                "hello",
                "--json",
                "--no-grammar",
                "--no-snapshot",
                "--max-new-tokens",
                "90000",
                "--model",
            ])
            .arg(model(folder.path()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let output = child.stdout.take().expect("its output");
        let mut events = BufReader::new(output).lines().map(|line| -> serde_json::Value {
            serde_json::from_str(&line.expect("a line")).expect("JSON")
        });
        assert!(events.any(|event| event["event"] == moment), "no {moment}");
        let asked = Instant::now();
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
        let last = events.last().expect("an end");
        assert_eq!(child.wait().expect("an end").code(), Some(130));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        assert_eq!((&last["event"], &last["outcome"]), (&"done".into(), &"interrupted".into()));
    }
}

#[test]
fn a_chat_goes_on_with_its_memory_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let args =
        format!("-v --no-grammar --no-snapshot --max-new-tokens 90000 --model {}", model.display());
    let Some(mut terminal) = Terminal::open(folder.path(), &args) else { return };
    for _ in 0..2 {
        terminal.wait_for("> ");
        terminal.press("hello\r");
        terminal.wait_for("step 1: ");
        terminal.press("\u{3}");
        terminal.wait_for("interrupted in 1 step");
    }
    terminal.wait_for("> ");
    terminal.press("/memory\r");
    terminal.wait_for("0 exchanges of at most 5");
    terminal.wait_for("> ");
    terminal.press("\u{4}");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn prompts_that_a_model_was_not_trained_with_are_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let trained = |hash: &str| {
        let path = folder.path().join("trained.gguf");
        let extra = vec![("llama_agent.prompts.sha256".into(), Value::String(hash.into()))];
        fs::write(&path, Tiny { context: 100_000, extra, ..Tiny::default() }.bytes())
            .expect("written");
        path
    };
    let prompts = folder.path().join("prompts");
    fs::create_dir(&prompts).expect("a folder");
    fs::write(prompts.join("reminder.jinja"), "Respond in JSON").expect("written");
    let own = Prompts::from_folder(&prompts).and_then(|prompts| prompts.hash()).expect("a hash");
    for (hash, warned) in [("other", true), (own.as_str(), false)] {
        let output = program::process()
            .args([
                "ask",
                "hello",
                "--no-snapshot",
                "--max-new-tokens=1",
                "--max-steps=1",
                "--model",
            ])
            .arg(trained(hash))
            .arg("--prompts")
            .arg(&prompts)
            .output()
            .expect("a run");
        assert_eq!(output.status.code(), Some(4));
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(err.contains("warning: this model was trained with other"), warned, "{err}");
    }
}
