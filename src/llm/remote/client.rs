//! Requests to one engine: the key, patience, and errors for people.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::address::Address;
use super::call::Call;
use super::error::{RemoteError, message, of_transport};
use super::key::ApiKey;
use crate::chat::Cancel;

/// How long an engine is waited for.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For a name to be resolved, and for a connection.
    pub connect: Duration,
    /// For a whole answer that is not a reply: a count, a list of models.
    pub answer: Duration,
    /// For the first token of a reply: a long prompt takes its time.
    pub first: Duration,
    /// From one token to the next.
    pub between: Duration,
    /// How often a request is sent before it counts as failed.
    pub tries: usize,
    /// The first wait between two of them; each is twice the one before. What
    /// the server asks for counts instead.
    pub wait: Duration,
    /// The longest wait that a server may ask for.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            first: Duration::from_secs(600),
            between: Duration::from_secs(120),
            tries: 5,
            wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
        }
    }
}

/// An answer whose status is not success.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// When to try again, if it says so.
    pub after: Option<Duration>,
    pub text: String,
}

/// More of an error's text is not read.
const LONGEST_ERROR: u64 = 64 << 10;

/// More of an answer that is not a reply is not read: the ids of a prompt, a
/// list of models.
const LONGEST_ANSWER: u64 = 64 << 20;

/// Reads what is not success.
pub(super) fn answer(mut response: Response<Body>) -> Answer {
    let status = response.status().as_u16();
    let after = response.headers().get("retry-after");
    let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = response.body_mut().with_config().limit(LONGEST_ERROR).lossy_utf8(true);
    // A status says enough where its text cannot be read.
    let text = body.read_to_string().unwrap_or_default();
    Answer { status, after: after.map(Duration::from_secs), text }
}

/// An engine that can be asked.
pub(super) struct Client {
    pub address: Address,
    pub patience: Patience,
    key: Option<ApiKey>,
    agent: Agent,
}

impl Client {
    pub fn new(address: Address, key: Option<ApiKey>, patience: Patience) -> Self {
        let agent = agent(&address, &patience, Some(patience.answer));
        Self { address, patience, key, agent }
    }

    /// The JSON at a URL.
    pub fn get(&self, url: &str) -> Result<Value, RemoteError> {
        self.patiently(&Cancel::new(), || {
            let mut request = self.agent.get(url);
            if let Some(key) = &self.key {
                request = request.header("Authorization", key.header());
            }
            self.json(request.call())
        })
    }

    /// What a URL answers to JSON.
    pub fn post(&self, url: &str, body: &Value) -> Result<Value, RemoteError> {
        self.patiently(&Cancel::new(), || {
            let mut request = self.agent.post(url).header("Content-Type", "application/json");
            if let Some(key) = &self.key {
                request = request.header("Authorization", key.header());
            }
            self.json(request.send(body.to_string()))
        })
    }

    /// Posts JSON and listens to the answer while it is made.
    pub fn call(&self, url: String, body: &Value) -> Call {
        let agent = agent(&self.address, &self.patience, None);
        let header = self.key.as_ref().map(ApiKey::header);
        Call::start(agent, url, header, body.to_string().into_bytes())
    }

    /// Makes an attempt, and others as long as they may help.
    ///
    /// # Errors
    /// Of the last attempt, or of the one before a wait that was cancelled.
    pub fn patiently<T>(
        &self,
        cancel: &Cancel,
        mut attempt: impl FnMut() -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let mut wait = self.patience.wait;
        for _ in 1..self.patience.tries {
            let error = match attempt() {
                Err(error) => error,
                done => return done,
            };
            let after = match error.again() {
                Some(asked) => asked.unwrap_or(wait),
                None => return Err(error),
            };
            if after > self.patience.longest_wait || !pause(after, cancel) {
                return Err(error);
            }
            wait *= 2;
        }
        attempt()
    }

    fn json(&self, result: Result<Response<Body>, ureq::Error>) -> Result<Value, RemoteError> {
        let mut response = result.map_err(|error| self.transport(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(&answer(response)));
        }
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER).lossy_utf8(true);
        let text = body.read_to_string().map_err(|error| self.transport(&error))?;
        serde_json::from_str(&text).map_err(|_| self.not_an_engine("its answer is not JSON"))
    }

    /// What is wrong with the way there.
    pub fn transport(&self, error: &ureq::Error) -> RemoteError {
        of_transport(self.at(), error)
    }

    /// What a status that is not success means.
    pub fn refusal(&self, answer: &Answer) -> RemoteError {
        let (at, status) = (self.at(), answer.status);
        let said = self.hide(&message(&answer.text));
        match status {
            401 | 403 if self.key.is_none() => RemoteError::KeyMissing { at },
            401 | 403 => RemoteError::KeyRefused { at, status },
            300..=399 => self.not_an_engine("it sends elsewhere"),
            429 | 500 | 502..=599 => RemoteError::Busy { at, status, said, after: answer.after },
            _ => RemoteError::Refused { at, status, said },
        }
    }

    pub fn not_an_engine(&self, why: &str) -> RemoteError {
        RemoteError::NotAnEngine { at: self.at(), why: why.into() }
    }

    /// What the server said, without the key.
    pub fn hide(&self, said: &str) -> String {
        self.key.as_ref().map_or_else(|| said.into(), |key| key.hide(said))
    }

    /// The address, for errors.
    pub fn at(&self) -> String {
        self.address.as_str().into()
    }
}

/// Waits, and says whether nobody asked to stop meanwhile.
fn pause(time: Duration, cancel: &Cancel) -> bool {
    const SLICE: Duration = Duration::from_millis(20);
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        if cancel.is_set() {
            return false;
        }
        thread::sleep(left.min(SLICE));
    }
    !cancel.is_set()
}

fn agent(address: &Address, patience: &Patience, limit: Option<Duration>) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // The key goes to the address that was named and to no other.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_global(limit)
        .user_agent(concat!("llama-agent/", env!("CARGO_PKG_VERSION")));
    if address.loopback {
        // A proxy's own loopback is another machine's.
        config = config.proxy(None);
    }
    config.build().new_agent()
}
