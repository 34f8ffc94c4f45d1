//! Why an engine elsewhere cannot be used, in one sentence each.

use std::time::Duration;

/// Why an engine elsewhere cannot be used. `at` is its address.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("{address} is no address of an engine: {why}")]
    Address { address: String, why: &'static str },
    #[error(
        "no engine answers at {at} ({why}): see that it runs, and that host and port are right"
    )]
    Unreachable { at: String, why: String },
    #[error(
        "the connection to {at} is not safe ({why}): its certificate must be one that is publicly trusted"
    )]
    Unsafe { at: String, why: String },
    #[error("the engine at {at} asks for a key: put it into AGENT_API_KEY")]
    KeyMissing { at: String },
    #[error("the engine at {at} does not accept the key in AGENT_API_KEY (status {status})")]
    KeyRefused { at: String, status: u16 },
    #[error(
        "there is no OpenAI-compatible engine at {at} ({why}): its address usually ends in /v1"
    )]
    NotAnEngine { at: String, why: String },
    #[error("the engine at {at} has no model {name:?}: name one of {known} with --remote-model")]
    NoSuchModel { at: String, name: String, known: String },
    #[error("the engine at {at} serves several models: name one of {known} with --remote-model")]
    SeveralModels { at: String, known: String },
    #[error("the engine at {at} does not say how many tokens fit: say so with --context")]
    ContextUnknown { at: String },
    #[error(
        "the engine at {at} does not count tokens: name the tokenizer.json of its model with --tokenizer"
    )]
    CannotCount { at: String },
    #[error("the engine at {at} refuses the request (status {status}): {said}")]
    Refused { at: String, status: u16, said: String },
    #[error("the engine at {at} cannot take the request now (status {status}): {said}")]
    Busy { at: String, status: u16, said: String, after: Option<Duration> },
    #[error("the connection to {at} broke ({why}): see that the engine still runs")]
    Broke { at: String, why: String },
    #[error("the connection to {at} broke in the middle of a reply ({why}): ask again")]
    Cut { at: String, why: String },
    #[error("the engine at {at} said nothing for {seconds} seconds")]
    Silent { at: String, seconds: u64 },
    #[error("the engine at {at} said what cannot be read: {why}")]
    Unreadable { at: String, why: String },
}

impl RemoteError {
    /// Trying again may help: after this time, if the server named one.
    pub(super) fn again(&self) -> Option<Option<Duration>> {
        match self {
            Self::Busy { after, .. } => Some(*after),
            Self::Broke { .. } => Some(None),
            _ => None,
        }
    }

    /// The request itself is what the server does not take.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 415 | 422 | 501, .. })
    }

    /// The server has nothing at that place.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Refused { status: 404 | 405 | 501, .. })
    }
}

/// What went wrong on the way to `at`.
pub(super) fn of_transport(at: String, error: &ureq::Error) -> RemoteError {
    use std::io::ErrorKind;
    use ureq::{Error, Timeout};
    let unreachable = |why: String| RemoteError::Unreachable { at: at.clone(), why };
    match error {
        Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
            unreachable("connection refused".into())
        }
        Error::Io(io)
            if matches!(io.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) =>
        {
            unreachable(io.to_string())
        }
        Error::HostNotFound => unreachable("the host is not known".into()),
        Error::ConnectionFailed | Error::ConnectProxyFailed(_) => unreachable(error.to_string()),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            unreachable("no connection in time".into())
        }
        Error::Tls(_) | Error::Rustls(_) | Error::TlsRequired => {
            RemoteError::Unsafe { at, why: error.to_string() }
        }
        Error::Io(io) if io.kind() == ErrorKind::InvalidData => {
            RemoteError::Unsafe { at, why: io.to_string() }
        }
        Error::Timeout(_) => RemoteError::Broke { at, why: "no answer in time".into() },
        Error::Protocol(_) | Error::Http(_) | Error::LargeResponseHeader(..) => {
            RemoteError::NotAnEngine { at, why: "what answers does not speak HTTP".into() }
        }
        other => RemoteError::Broke { at, why: other.to_string() },
    }
}

/// What an answer that is an error says for itself: the message in its JSON,
/// or its first line.
pub(super) fn message(text: &str) -> String {
    const LONGEST: usize = 300;
    let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let said = [&json["error"]["message"], &json["error"], &json["message"], &json["detail"]]
        .into_iter()
        .find_map(|value| value.as_str())
        .unwrap_or_else(|| text.trim().lines().next().unwrap_or_default())
        .trim();
    // One line, and none that could move a terminal's cursor.
    let line = said.chars().map(|c| if c.is_control() { ' ' } else { c });
    match line.take(LONGEST).collect::<String>() {
        said if said.is_empty() => "it does not say why".into(),
        said => said,
    }
}
