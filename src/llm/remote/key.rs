//! The key that an engine asks for, which nobody is ever shown.

use std::fmt;

/// A key. Neither `Debug` nor `Display` says what it is.
#[derive(Clone)]
pub struct ApiKey(String);

/// What stands where the key would.
const HIDDEN: &str = "[key]";

impl ApiKey {
    /// A key, without white space around it. None if nothing is left.
    ///
    /// # Errors
    /// It has characters that no HTTP header can hold.
    pub fn new(key: &str) -> Result<Option<Self>, BadKey> {
        let key = key.trim();
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadKey);
        }
        Ok((!key.is_empty()).then(|| Self(key.into())))
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// What a server said, without the key if it repeats it.
    pub(super) fn hide(&self, text: &str) -> String {
        text.replace(&self.0, HIDDEN)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A key that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key has characters that cannot be sent: it must be ASCII without spaces")]
pub struct BadKey;
