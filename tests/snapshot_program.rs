//! Snapshots as a shell sees them: a process that is killed, several at once,
//! folders that cannot be used, and `agent cache`.
//!
//! `KILLS=200 cargo test --release --test snapshot_program -- --nocapture`
//! kills as many processes and prints what became of them.
#![cfg(target_os = "linux")]

mod program;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use support::{Random, Tiny};
use tempfile::TempDir;

/// A model of random weights with a snapshot of about 15 MB, so that writing
/// it takes a while.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("random.gguf");
    let tiny =
        Tiny { context: 8192, dim: 256, heads: 4, kv_heads: 4, layers: 4, ..Tiny::default() };
    fs::write(&path, tiny.bytes()).expect("written");
    (folder, path)
}

fn start(model: &Path, more: &[&Path]) -> Child {
    program::process()
        .args([
            "ask",
            "what is 1+1",
            "--json",
            "--no-grammar",
            "--max-new-tokens=8",
            "--max-steps=1",
            "--model",
        ])
        .arg(model)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child")
}

/// The replies of a process that ends by itself, and the tokens that its first
/// did not have to process.
fn replies(child: Child) -> (Vec<String>, u64) {
    let output = child.wait_with_output().expect("an end");
    let err = String::from_utf8_lossy(&output.stderr);
    // Random weights answer nothing.
    assert_eq!(output.status.code(), Some(4), "{err}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let events = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let replies: Vec<serde_json::Value> =
        events.filter(|event: &serde_json::Value| event["event"] == "reply").collect();
    let texts = replies.iter().map(|reply| reply["text"].as_str().expect("text").into());
    (texts.collect(), replies[0]["reused_tokens"].as_u64().expect("a number"))
}

fn count(folder: &Path, ending: &str) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            name.to_string_lossy().ends_with(ending)
        })
        .count()
}

#[test]
fn after_a_kill_at_any_moment_the_next_run_answers() {
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20);
    let (folder, model) = place();
    let store = folder.path().join("snapshots");
    let flag = [Path::new("--snapshots"), &store];
    let begun = Instant::now();
    let (expected, _) = replies(start(&model, &[Path::new("--no-snapshot")]));
    let usual = begun.elapsed();
    let mut random = Random(11);
    let (mut parts, mut whole, mut none) = (0, 0, 0);
    for round in 0..kills {
        let _ = fs::remove_dir_all(&store);
        let mut child = start(&model, &flag);
        if round % 4 == 0 {
            // At any moment of the whole run.
            std::thread::sleep(usual.mul_f32(random.unit() * 1.2));
        } else {
            // While the snapshot is written, which takes some 6 ms.
            let waited = Instant::now();
            while count(&store, "") == 0 && waited.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_micros(100));
            }
            std::thread::sleep(Duration::from_micros(random.next() % 8_000));
        }
        child.kill().expect("killed");
        child.wait().expect("an end");
        match (count(&store, ".part"), count(&store, ".snapshot")) {
            (_, 1..) => whole += 1,
            (1.., _) => parts += 1,
            _ => none += 1,
        }
        let had = count(&store, ".snapshot") > 0;
        let (found, reused) = replies(start(&model, &flag));
        assert_eq!(found, expected, "round {round}");
        assert_eq!(reused > 0, had, "round {round}");
        // Whole now, and whoever writes a snapshot removes what is left of others.
        assert_eq!(count(&store, ".snapshot"), 1);
        assert!(had || count(&store, ".part") == 0, "round {round}");
    }
    println!(
        "{kills} kills: {parts} left half a snapshot, {whole} a whole one, {none} nothing; \
         the next run gave the same reply {kills} times"
    );
    assert!(parts > 0, "no kill hit a snapshot that was being written");
}

#[test]
fn several_processes_at_once_answer_alike() {
    let (folder, model) = place();
    let store = folder.path().join("snapshots");
    let flag = [Path::new("--snapshots"), &store];
    let (expected, _) = replies(start(&model, &[Path::new("--no-snapshot")]));
    assert!(!store.exists());
    for round in 0..3 {
        let children: Vec<_> = (0..3).map(|_| start(&model, &flag)).collect();
        for child in children {
            let (found, reused) = replies(child);
            assert_eq!(found, expected);
            assert!(round == 0 || reused > 0);
        }
        assert_eq!((count(&store, ".snapshot"), count(&store, ".part")), (1, 0));
    }
    for place in ["/proc/self/nothing", "/dev/null", "/dev/null/x"] {
        let (found, reused) = replies(start(&model, &[Path::new("--snapshots"), Path::new(place)]));
        assert_eq!((found, reused), (expected.clone(), 0));
    }
    let cache = |what: &str| {
        let store = store.display().to_string();
        let (code, out, err) =
            program::run(&mut program::agent(&["cache", what, "--snapshots", &store]));
        assert_eq!((code, err.as_str()), (0, ""));
        out
    };
    let listed = cache("list");
    assert!(listed.contains(" tokens  used ") && listed.contains("\n1 snapshot, "), "{listed}");
    assert!(cache("clear").starts_with("removed 1 file, "));
    assert!(cache("list").starts_with("0 snapshots, 0 B of at most 2.0 GiB, in "));
    let (code, _, err) =
        program::run(&mut program::agent(&["cache", "list", "--snapshots", "/dev/null"]));
    assert!(code == 1 && err.contains("/dev/null"), "{err}");
}
