//! A hub on this machine, for tests: it serves files as the Hugging Face hub
//! does, and misbehaves on demand.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod client;
mod serve;

use std::collections::{HashMap, VecDeque};
use std::net::TcpListener;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The commit that `main` is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How it behaves. The default is well, and as the hub does today.
#[derive(Clone, Debug)]
pub struct Ways {
    /// Serves parts of files.
    pub ranges: bool,
    /// Sends who asks for a file to another host for its bytes.
    pub redirects: bool,
    /// Says that the content could be had by another protocol.
    pub xet: bool,
    /// What everything is answered with: a status and an error code.
    pub refuses: Option<(u16, &'static str)>,
    /// Bodies break off after so many bytes, one after the other.
    pub drops: VecDeque<usize>,
    /// The first byte that is sent is another one.
    pub damages: bool,
    /// Added to the length in what it says of a file.
    pub claims: i64,
    /// Added to the length of a body.
    pub lies: i64,
    /// The etag of the host that has the bytes.
    pub tag: String,
    /// No body before so many questions after files were asked.
    pub holds_until: usize,
    /// Every part starts a byte later than asked for.
    pub shifts: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            ranges: true,
            redirects: true,
            xet: true,
            refuses: None,
            drops: VecDeque::new(),
            damages: false,
            claims: 0,
            lies: 0,
            tag: "\"first\"".into(),
            holds_until: 0,
            shifts: false,
        }
    }
}

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
}

#[derive(Default)]
pub struct State {
    pub ways: Ways,
    /// By `owner/repo/path`.
    pub files: HashMap<String, Vec<u8>>,
    pub seen: Vec<Seen>,
}

/// Its state, and where to wait for a change of it.
#[derive(Default)]
pub struct Shared {
    pub state: Mutex<State>,
    pub changed: Condvar,
}

/// A hub that runs until the test ends.
pub struct Loopback {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Loopback {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                // A client that goes away is no failure of the hub's.
                thread::spawn(move || serve::answer(stream, &shared, port).ok());
            }
        });
        Self { port, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a file.
    pub fn file(&self, name: &str, bytes: &[u8]) {
        self.with(|state| state.files.insert(name.into(), bytes.into()));
    }

    /// Changes how it behaves.
    pub fn ways(&self, change: impl FnOnce(&mut Ways)) {
        self.with(|state| change(&mut state.ways));
    }

    /// The requests since the last time.
    pub fn seen(&self) -> Vec<Seen> {
        self.with(|state| std::mem::take(&mut state.seen))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let result = work(&mut self.shared.state.lock().expect("the state"));
        self.shared.changed.notify_all();
        result
    }
}

impl Shared {
    /// Waits, not for ever, until something holds of the state.
    pub fn wait(&self, until: impl Fn(&State) -> bool) {
        let state = self.state.lock().expect("the state");
        let waited =
            self.changed.wait_timeout_while(state, Duration::from_secs(30), |state| !until(state));
        drop(waited);
    }
}

/// What the hub names a file's content by: large ones by SHA-256, small ones
/// as git does.
pub fn etag(bytes: &[u8]) -> String {
    if bytes.len() >= 1024 {
        return hex(&Sha256::digest(bytes));
    }
    let mut hash = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes without a pattern that a wrong offset would leave as it is.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
