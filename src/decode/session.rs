//! Which ids the cache holds: known here and nowhere else.

use anyhow::{Result, bail, ensure};

use super::Snapshots;
use crate::chat::Cancel;
use crate::llama::{CacheRows, Forward, Want};

/// An engine, and the ids that its cache holds.
pub struct Session {
    engine: Box<dyn Forward>,
    /// As many as the engine's cache is long, whatever happens.
    ids: Vec<u32>,
    /// The row after the last of `ids`, where it was asked for.
    logits: Option<Vec<f32>>,
    passes: usize,
    snapshots: Option<Snapshots>,
    /// Tokens of the system part, which is what snapshots hold.
    system: usize,
}

impl Session {
    /// Takes an engine over and empties its cache.
    pub fn new(mut engine: Box<dyn Forward>) -> Self {
        engine.truncate(0);
        Self { engine, ids: Vec::new(), logits: None, passes: 0, snapshots: None, system: 0 }
    }

    /// The same session, with snapshots of the system part.
    pub fn with_snapshots(self, snapshots: Snapshots) -> Self {
        Self { snapshots: Some(snapshots), ..self }
    }

    /// There are snapshots, so that `set_system` matters.
    pub fn has_snapshots(&self) -> bool {
        self.snapshots.is_some()
    }

    /// Tells how many tokens of what is to be processed, from the first, are
    /// the system part. 0, as it is at first, leaves snapshots alone.
    pub fn set_system(&mut self, tokens: usize) {
        self.system = tokens;
    }

    /// Makes the cache hold exactly `prompt`: keeps what it begins with
    /// already or a snapshot holds of it, forgets the rest and processes what
    /// is new, in chunks. Returns how many tokens were kept, or None if `cancel` was set: the cache then
    /// holds a beginning of `prompt`.
    ///
    /// # Errors
    /// The engine's; the cache then holds a beginning of `prompt`, too.
    pub fn fill(&mut self, prompt: &[u32], cancel: &Cancel) -> Result<Option<usize>> {
        let Some(mut snapshots) = self.snapshots.take() else {
            return self.process(prompt, cancel);
        };
        let missing = snapshots.restore(self, prompt, self.system);
        let kept = self.process(prompt, cancel);
        if let Some(missing) = missing {
            snapshots.save(self, &missing, prompt);
        }
        self.snapshots = Some(snapshots);
        kept
    }

    fn process(&mut self, prompt: &[u32], cancel: &Cancel) -> Result<Option<usize>> {
        ensure!(!prompt.is_empty(), "a prompt without tokens cannot be continued");
        let mut kept = self.ids.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        if kept == prompt.len() && (kept < self.ids.len() || self.logits.is_none()) {
            // The row after the last token is needed, and is not here.
            kept -= 1;
        }
        self.truncate(kept);
        let chunk = self.engine.chunk().max(1);
        while self.ids.len() < prompt.len() {
            let start = self.ids.len();
            // Chunks end at multiples of their size, however many are kept.
            let end = ((start / chunk + 1) * chunk).min(prompt.len());
            let want = if end == prompt.len() { Want::Last } else { Want::Nothing };
            if !self.pass(&prompt[start..end], want, cancel)? {
                return Ok(None);
            }
        }
        Ok(Some(kept))
    }

    /// Appends one token. False if `cancel` was set: nothing has changed.
    ///
    /// # Errors
    /// The engine's; nothing has changed.
    pub fn push(&mut self, id: u32, cancel: &Cancel) -> Result<bool> {
        self.pass(&[id], Want::Last, cancel)
    }

    /// Makes the cache hold what was exported with exactly these ids.
    ///
    /// # Errors
    /// The engine's; the cache is then empty.
    pub fn import(&mut self, ids: &[u32], rows: &CacheRows) -> Result<()> {
        self.truncate(0);
        let imported = self.engine.import(rows);
        if imported.is_err() || self.engine.len() != ids.len() {
            self.engine.truncate(0);
            imported?;
            bail!("{} tokens were imported for {} ids", rows.tokens, ids.len());
        }
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// A copy of what the cache holds of its first `length` tokens.
    ///
    /// # Errors
    /// The engine's.
    pub fn export(&self, length: usize) -> Result<CacheRows> {
        self.engine.export(length)
    }

    /// The part of a prompt's first `length` tokens that is processed in the
    /// same pieces whatever follows it: only whole chunks.
    pub fn whole_chunks(&self, length: usize) -> usize {
        let chunk = self.engine.chunk().max(1);
        length / chunk * chunk
    }

    /// The engine's fingerprint.
    pub fn fingerprint(&self) -> Option<String> {
        self.engine.fingerprint()
    }

    /// The row after the last token: a copy, since choosing may change it.
    /// Empty before anything was processed.
    pub fn logits(&self) -> Vec<f32> {
        self.logits.clone().unwrap_or_default()
    }

    /// The ids that the cache holds.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tokens that the cache can hold.
    pub fn context(&self) -> usize {
        self.engine.context()
    }

    /// Forward passes so far.
    pub fn passes(&self) -> usize {
        self.passes
    }

    fn pass(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<bool> {
        if cancel.is_set() {
            return Ok(false);
        }
        self.passes += 1;
        let Some(rows) = self.engine.forward(tokens, want, cancel)? else { return Ok(false) };
        self.ids.extend_from_slice(tokens);
        self.logits = (want == Want::Last).then_some(rows);
        Ok(true)
    }

    fn truncate(&mut self, length: usize) {
        if length < self.ids.len() {
            self.ids.truncate(length);
            self.engine.truncate(length);
            self.logits = None;
        }
    }
}
