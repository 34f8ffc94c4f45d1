//! Every conversation in `examples/` runs: those with scripted replies always,
//! those that need a model if one is built in.

mod program;

use std::fs;
use std::path::{Path, PathBuf};

use llama_agent::agent::step::Repair;
use llama_agent::cli::conversation::{Conversation, parse};

fn files() -> Vec<(PathBuf, Conversation)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("text");
            let conversation = parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            (path, conversation)
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn run(files: Vec<PathBuf>) {
    let output =
        program::process().args(["test", "--no-snapshot"]).args(&files).output().expect("a run");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    assert_eq!(text.matches("  ok    ").count() > 0, !files.is_empty());
}

#[test]
fn there_are_enough_and_each_has_a_title_and_expects_something() {
    let files = files();
    assert!(files.len() >= 20);
    for (path, conversation) in &files {
        assert!(!conversation.title.is_empty(), "{path:?}");
        let expected: usize = conversation.turns.iter().map(|turn| turn.expected.len()).sum();
        assert!(expected > 0, "{path:?}");
    }
}

#[test]
fn every_repair_has_an_example() {
    let text: String =
        files().iter().map(|(path, _)| fs::read_to_string(path).expect("text")).collect();
    let shown: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("repairs: "))
        .flat_map(|names| names.split(", "))
        .collect();
    // A reply ends with its first block, so that a second one is never read.
    for repair in Repair::ALL.into_iter().filter(|repair| *repair != Repair::SecondBlock) {
        assert!(shown.contains(&repair.name()), "{repair}");
    }
}

#[test]
fn scripted_conversations_go_as_they_are_written() {
    let scripted: Vec<_> =
        files().into_iter().filter(|(_, case)| case.is_scripted()).map(|(path, _)| path).collect();
    assert!(scripted.len() >= 20);
    run(scripted);
}

#[cfg(feature = "embedded-model")]
#[test]
fn conversations_with_the_model_in_the_box_go_as_they_are_written() {
    run(files()
        .into_iter()
        .filter(|(_, case)| !case.is_scripted())
        .map(|(path, _)| path)
        .collect());
}

/// What a file expects can fail: each of these changes one thing.
#[test]
fn a_changed_expectation_fails_with_its_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/conversation-scripted.txt");
    let text = fs::read_to_string(path).expect("text");
    let folder = tempfile::tempdir().expect("a folder");
    for (from, to) in [
        ("number: 55.13752103985769", "number: 55.13752103985768"),
        ("call: Calculator 4**2.1", "call: Calculator 4**2.2"),
        ("observation: 18.37917367995256", "observation: 18.37917367995257"),
        ("answer: It looks like", "answer: it looks like"),
        ("repairs: none", "repairs: prose"),
        ("steps: 2", "steps: 3"),
        ("forgot: none", "forgot: hey how are you today?"),
        ("call: none", "call: Calculator"),
    ] {
        assert!(text.contains(from), "{from}");
        let line = text.lines().position(|line| line.starts_with(from)).expect("a line") + 1;
        let file = folder.path().join("changed.txt");
        fs::write(&file, text.replacen(from, to, 1)).expect("written");
        let output = program::process().arg("test").arg(file).output();
        let output = output.expect("a run");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{to}: {shown}");
        assert!(shown.contains(&format!("line {line}: ")), "{to}: {shown}");
    }
}
