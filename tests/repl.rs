//! The prompt where questions are typed, on a pseudo terminal that the
//! `script` command makes. Where there is none, these tests say so.
#![cfg(target_os = "linux")]

mod program;
mod terminal;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use terminal::Terminal;

fn script(folder: &TempDir, replies: &[&str]) -> PathBuf {
    let path = folder.path().join("script");
    let replies: Vec<_> = replies
        .iter()
        .map(|reply| format!("{{\"action\": \"Final Answer\", \"action_input\": \"{reply}\"}}"))
        .collect();
    fs::write(&path, replies.join("\n---\n")).expect("written");
    path
}

#[test]
fn questions_commands_and_lines_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = script(&folder, &["first answer", "second answer", "third answer"]);
    let args = format!("--script {}", script.display());
    let Some(mut terminal) = Terminal::open(folder.path(), &args) else { return };
    terminal.wait_for("/help for help");
    terminal.wait_for("> ");
    terminal.press("hello there\r");
    terminal.wait_for("first answer");
    terminal.wait_for("> ");
    terminal.press("two \\\rlines\r");
    terminal.wait_for("second answer");
    terminal.wait_for("> ");
    terminal.press("/mem\t\r");
    terminal.wait_for("2 exchanges of at most 5");
    terminal.wait_for("two \r\nlines");
    terminal.wait_for("second answer");
    terminal.wait_for("> ");
    terminal.press("/stats\r");
    terminal.wait_for("2 questions, 2 replies");
    terminal.wait_for("prompt tokens");
    terminal.wait_for("> ");
    terminal.press("/wy\r");
    terminal.wait_for("did you mean /why?");
    terminal.wait_for("> ");
    terminal.press("half a line\u{3}");
    terminal.wait_for("Ctrl-C again");
    terminal.wait_for("> ");
    terminal.press("still alive?\r");
    terminal.wait_for("third answer");
    terminal.wait_for("> ");
    terminal.press("\u{4}");
    assert_eq!(terminal.exit_code(), Some(0));
    let history = folder.path().join("llama-agent/history");
    let history = fs::read_to_string(history).expect("a history");
    assert!(history.contains("hello there") && history.contains("/memory"), "{history}");
    // The next session remembers the lines: the arrow up brings the last one back.
    let Some(mut terminal) = Terminal::open(folder.path(), &args) else { return };
    terminal.wait_for("> ");
    terminal.press("\u{1b}[A");
    terminal.wait_for("still alive?");
    terminal.press("\r");
    terminal.wait_for("first answer");
    terminal.wait_for("> ");
    terminal.press("/exit\r");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn ctrl_c_twice_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = script(&folder, &[]);
    let args = format!("--script {}", script.display());
    let Some(mut terminal) = Terminal::open(folder.path(), &args) else { return };
    terminal.wait_for("> ");
    terminal.press("\u{3}");
    terminal.wait_for("Ctrl-C again");
    terminal.wait_for("> ");
    terminal.press("\u{3}");
    assert_eq!(terminal.exit_code(), Some(130));
}

#[test]
fn a_terminal_is_not_given_control_characters() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = script(&folder, &["\\u001b[31mred"]);
    let args = format!("--script {}", script.display());
    let Some(mut terminal) = Terminal::open(folder.path(), &args) else { return };
    terminal.wait_for("> ");
    terminal.press("paint\r");
    terminal.wait_for("\\u{1b}[31mred");
    terminal.wait_for("> ");
    terminal.press("\u{4}");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn the_banner_names_the_program_as_its_version_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = script(&folder, &[]);
    let args = format!("--script {}", script.display());
    let Some(mut terminal) = Terminal::open(folder.path(), &args) else { return };
    terminal.wait_for(&format!("agent {}: type", env!("CARGO_PKG_VERSION")));
    terminal.wait_for("> ");
    terminal.press("/quit\r");
    assert_eq!(terminal.exit_code(), Some(0));
}
