//! The whole program, for tests that see it as a shell does.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::path::PathBuf;
use std::{env, fs, process};

use assert_cmd::Command;
use tempfile::TempDir;

/// A power by the Calculator, then an answer.
pub const POWER: &str = "\
{\"action\": \"Calculator\", \"action_input\": \"4**2.1\"}
---
{\"action\": \"Final Answer\", \"action_input\": \"It is 18.37917367995256, \\u2248 18.\"}
";
/// What that comes to on standard output.
pub const ANSWER: &str = "It is 18.37917367995256, ≈ 18.\n";

/// A folder for a test's files.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// Writes a file.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }
}

/// Keeps the settings of whoever runs the tests away from the program.
pub fn unset(command: &mut process::Command) -> &mut process::Command {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("AGENT_") {
            command.env_remove(name);
        }
    }
    command.env("AGENT_CONFIG", "")
}

/// The program with nobody's settings.
pub fn process() -> process::Command {
    let mut command = process::Command::new(assert_cmd::cargo::cargo_bin("agent"));
    unset(&mut command);
    command
}

/// The program with arguments, and no wishes about colour in its environment.
pub fn agent(args: &[&str]) -> Command {
    let mut command = Command::from_std(process());
    command.args(args);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

/// The program on a script.
pub fn scripted(script: &PathBuf, args: &[&str]) -> Command {
    let mut command = agent(args);
    command.arg("--script").arg(script);
    command
}

/// Exit code, standard output and standard error.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().expect("a run");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}
