//! The cache of a prompt's system part, kept between processes: a new one need
//! not process again what every prompt begins with.
//!
//! A piece that is processed ends with the system part, so that with and without
//! a snapshot pieces are the same, and every logit is the same, bit for bit.
//! Whatever goes wrong with a snapshot is no error: the tokens are processed.
//! That one could not be written is worth a notice.

mod file;
mod store;

use std::io;
use std::thread::{self, JoinHandle};

use sha2::{Digest, Sha256};

use super::Session;

pub use store::{Entry, LIMIT, Store};

/// What a snapshot is found by: SHA-256 of the engine's fingerprint and the ids.
pub type Key = [u8; 32];

/// A snapshot that is not there: its key, and how many tokens it would hold.
pub(super) struct Missing {
    key: Key,
    length: usize,
}

/// Takes snapshots, and takes from them.
pub struct Snapshots {
    store: Store,
    /// A snapshot that is being written.
    writer: Option<JoinHandle<io::Result<()>>>,
    /// Why the last one could not be written.
    failed: Option<io::Error>,
}

impl Snapshots {
    /// Snapshots that are kept in `store`.
    pub fn new(store: Store) -> Self {
        Self { store, writer: None, failed: None }
    }

    /// Puts a snapshot of the first `system` tokens of a prompt in place where
    /// the cache does not hold what it would. Returns what is missing where
    /// there is none.
    pub(super) fn restore(
        &self,
        session: &mut Session,
        prompt: &[u32],
        system: usize,
    ) -> Option<Missing> {
        let same = session.ids().iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // What is held up to the middle of a piece would go on from there: in
        // other pieces than those of a snapshot.
        if !session.parts_at(same) {
            return None;
        }
        let length = system;
        if length == 0 || same >= length || prompt.len() < length {
            return None;
        }
        let key = key(&session.fingerprint()?, &prompt[..length]);
        let rows = self.store.load(&key).filter(|rows| rows.tokens == length);
        match rows.map(|rows| session.import(&prompt[..length], &rows)) {
            Some(Ok(())) => None,
            _ => Some(Missing { key, length }),
        }
    }

    /// Writes what was missing of a prompt, in the background, if the cache
    /// holds it now.
    pub(super) fn save(&mut self, session: &Session, missing: &Missing, prompt: &[u32]) {
        let Missing { key, length } = *missing;
        if !session.ids().starts_with(&prompt[..length]) {
            return;
        }
        let Ok(rows) = session.export(length) else { return };
        self.wait();
        let store = self.store.clone();
        let write = move || store.save(&key, &rows);
        match thread::Builder::new().name("snapshot".into()).spawn(write) {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => self.failed = Some(error),
        }
    }

    /// Why the last snapshot could not be written, once.
    pub(super) fn notice(&mut self) -> Option<String> {
        self.wait();
        let (folder, error) = (self.store.folder().display(), self.failed.take()?);
        Some(format!(
            "what the model made of the system message cannot be kept in {folder}: {error}"
        ))
    }

    fn wait(&mut self) {
        if let Some(Ok(Err(error))) = self.writer.take().map(JoinHandle::join) {
            self.failed = Some(error);
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.wait();
    }
}

fn key(fingerprint: &str, ids: &[u32]) -> Key {
    let mut hash = Sha256::new();
    hash.update((fingerprint.len() as u64).to_le_bytes());
    hash.update(fingerprint);
    ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    hash.finalize().into()
}
