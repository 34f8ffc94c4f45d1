//! Bytes to text while they arrive, never half a character.

/// Collects bytes and gives out whole characters.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    pending: Vec<u8>,
}

impl Utf8Stream {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes and returns the characters that are complete now. Bytes that
    /// can no longer become a character become U+FFFD, as
    /// `String::from_utf8_lossy` has it: the pieces of a stream concatenate to
    /// what that gives for the whole.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(rest) => {
                    text.push_str(rest);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let whole = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[..whole]));
                    self.pending.drain(..whole);
                    match error.error_len() {
                        None => return text,
                        Some(bad) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            self.pending.drain(..bad);
                        }
                    }
                }
            }
        }
    }

    /// Bytes of a character that is not complete yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}
