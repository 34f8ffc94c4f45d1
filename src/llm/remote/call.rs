//! One streamed request: sent and read in a thread of its own, so that waiting
//! for it can be given up at any moment.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;

use super::client::{Answer, answer};
use crate::chat::Cancel;

/// What arrives, in order.
#[derive(Debug)]
pub(super) enum Heard {
    /// The answer has a status that is not success.
    Refused(Answer),
    /// A piece of the answer.
    Bytes(Vec<u8>),
    /// The answer is complete.
    Ended,
    /// The connection failed.
    Broke(ureq::Error),
}

/// What came of waiting.
pub(super) enum Next {
    Heard(Heard),
    Cancelled,
    Late,
}

/// A request under way. Dropping it closes its connection.
pub(super) struct Call {
    agent: Agent,
    heard: Receiver<Heard>,
}

/// How often a wish to stop is looked at.
const SLICE: Duration = Duration::from_millis(20);

impl Call {
    /// Posts JSON, with an agent that serves nothing else.
    pub fn start(agent: Agent, url: String, header: Option<String>, body: Vec<u8>) -> Self {
        let (tell, heard) = channel();
        let worker = agent.clone();
        thread::spawn(move || {
            let mut request = worker.post(url).header("Content-Type", "application/json");
            if let Some(header) = header {
                request = request.header("Authorization", header);
            }
            let last = match request.send(&body[..]) {
                Ok(response) if response.status().is_success() => read(response, &tell),
                Ok(response) => Heard::Refused(answer(response)),
                Err(error) => Heard::Broke(error),
            };
            // Nobody may be listening any more.
            let _ = tell.send(last);
        });
        Self { agent, heard }
    }

    /// Waits for what comes next, at most for `limit`.
    pub fn next(&self, limit: Duration, cancel: &Cancel) -> Next {
        let start = Instant::now();
        loop {
            if cancel.is_set() {
                return Next::Cancelled;
            }
            match self.heard.recv_timeout(SLICE) {
                Ok(heard) => return Next::Heard(heard),
                Err(RecvTimeoutError::Disconnected) => return Next::Heard(Heard::Ended),
                Err(RecvTimeoutError::Timeout) if start.elapsed() >= limit => return Next::Late,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // A read that waits for the server returns at once.
        self.agent.clone().shutdown();
    }
}

fn read(response: ureq::http::Response<ureq::Body>, tell: &Sender<Heard>) -> Heard {
    let mut body = response.into_body().into_reader();
    let mut buffer = [0; 8192];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return Heard::Ended,
            Ok(length) => {
                if tell.send(Heard::Bytes(buffer[..length].to_vec())).is_err() {
                    return Heard::Ended;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Heard::Broke(error.into()),
        }
    }
}
