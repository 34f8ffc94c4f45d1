//! Ctrl-C while a model writes: the turn stops at once, and a chat goes on.
#![cfg(target_os = "linux")]

mod support;
mod terminal;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
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
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("agent"))
            .args(["ask", "hello", "--json", "--max-new-tokens", "90000", "--model"])
            .arg(model(folder.path()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let output = child.stdout.take().expect("its output");
        let mut events = BufReader::new(output)
            .lines()
            .map(|line| -> Value { serde_json::from_str(&line.expect("a line")).expect("JSON") });
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
    let args = format!("-v --max-new-tokens 90000 --model {}", model.display());
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
