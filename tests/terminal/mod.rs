//! A pseudo terminal for whole-program tests, made by the `script` command.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A program on a terminal.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// None where there is no way to make a terminal.
    pub fn open(folder: &Path, args: &str) -> Option<Self> {
        let program = assert_cmd::cargo::cargo_bin("agent");
        let mut child = crate::program::unset(&mut Command::new("script"))
            .args(["-qec", &format!("exec {} {args}", program.display()), "/dev/null"])
            .env("XDG_STATE_HOME", folder)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| eprintln!("skipped: no `script` command ({error})"))
            .ok()?;
        let keys = child.stdin.take().expect("its keyboard");
        let mut output = child.stdout.take().expect("its screen");
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                if send.send(piece[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Some(Self { child, keys, screen, seen: String::new() })
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("pressed");
        self.keys.flush().expect("pressed");
    }

    /// Waits until `text` is on the screen, and forgets what came before it.
    pub fn wait_for(&mut self, text: &str) {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} in {:?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("ended: {text:?}, {:?}", self.seen),
            }
        }
    }

    /// Waits for the end.
    pub fn exit_code(mut self) -> Option<i32> {
        self.child.wait().expect("an end").code()
    }
}
