//! Which ids the cache holds: known here and nowhere else.

use std::ops::Range;

use anyhow::{Result, bail, ensure};

use super::Snapshots;
use crate::chat::Cancel;
use crate::llama::{CacheRows, Choice, Forward, Rows, Want};

/// An engine, and the ids that its cache holds.
pub struct Session {
    engine: Box<dyn Forward>,
    /// As many as the engine's cache is long, whatever happens.
    ids: Vec<u32>,
    /// Rows of logits after some of the ids, and the positions of the tokens
    /// that they are for.
    rows: Rows,
    places: Range<usize>,
    passes: usize,
    snapshots: Option<Snapshots>,
    /// Tokens of the system part, which is what snapshots hold.
    system: usize,
}

impl Session {
    /// Takes an engine over and empties its cache.
    pub fn new(mut engine: Box<dyn Forward>) -> Self {
        engine.truncate(0);
        let (ids, rows) = (Vec::new(), Rows::There);
        Self { engine, ids, rows, places: 0..0, passes: 0, snapshots: None, system: 0 }
    }

    /// The same session, with snapshots of the system part.
    pub fn with_snapshots(self, snapshots: Snapshots) -> Self {
        Self { snapshots: Some(snapshots), ..self }
    }

    /// Why a snapshot could not be written, if one could not. Waits for one
    /// that is being written.
    pub fn notice(&mut self) -> Option<String> {
        self.snapshots.as_mut()?.notice()
    }

    /// Tells how many tokens of what is to be processed, from the first, are
    /// the system part: a piece ends where it does, so that a snapshot can hold
    /// it whole. 0, as it is at first, leaves snapshots alone.
    pub fn set_system(&mut self, tokens: usize) {
        self.system = tokens;
    }

    /// Makes the cache hold exactly `text`, then `guess`: keeps what it begins
    /// with already or a snapshot holds of it, forgets the rest and processes
    /// what is new, in chunks; the guess rides in the last of them. Afterwards
    /// there are rows for the token after `text` and for those after each
    /// token of the guess. Returns how many tokens were kept, or None if
    /// `cancel` was set: the cache then holds a beginning of `text`.
    ///
    /// # Errors
    /// The engine's; the cache then holds a beginning of `text`, too.
    pub fn fill(&mut self, text: &[u32], guess: &[u32], cancel: &Cancel) -> Result<Option<usize>> {
        self.hold(text, Some(guess), cancel)
    }

    /// Makes the cache hold exactly `text`, as `fill` does; there may be no row
    /// for the token after it. False if `cancel` was set.
    ///
    /// # Errors
    /// As of `fill`.
    pub fn prepare(&mut self, text: &[u32], cancel: &Cancel) -> Result<bool> {
        Ok(self.hold(text, None, cancel)?.is_some())
    }

    fn hold(
        &mut self,
        text: &[u32],
        guess: Option<&[u32]>,
        cancel: &Cancel,
    ) -> Result<Option<usize>> {
        let Some(mut snapshots) = self.snapshots.take() else {
            return self.process(text, guess, cancel);
        };
        // The row after its last token is not in a snapshot.
        let least = text.len().saturating_sub(usize::from(guess.is_some()));
        let missing = snapshots.restore(self, &text[..least], self.system);
        let kept = self.process(text, guess, cancel);
        if let Some(missing) = missing {
            snapshots.save(self, &missing, text);
        }
        self.snapshots = Some(snapshots);
        kept
    }

    fn process(
        &mut self,
        text: &[u32],
        guess: Option<&[u32]>,
        cancel: &Cancel,
    ) -> Result<Option<usize>> {
        ensure!(!text.is_empty(), "a prompt without tokens cannot be continued");
        let mut kept = self.ids.iter().zip(text).take_while(|(a, b)| a == b).count();
        let wanted = guess.is_some_and(|guess| !guess.is_empty() || !self.has_row(kept));
        if kept == text.len() && wanted {
            // The row after the last token is needed, and is not here.
            kept -= 1;
        }
        self.keep(kept);
        let guess = guess.unwrap_or_default();
        let chunk = self.engine.chunk().max(1);
        while self.ids.len() < text.len() {
            let start = self.ids.len();
            // Pieces end at multiples of their size, however many are kept, and
            // with the system part; the few tokens since the last are not parted.
            let few = start > 0 && text.len() - start <= chunk.min(FEW);
            let end = if few { text.len() } else { (start / chunk + 1) * chunk }.min(text.len());
            let end = if start < self.system { end.min(self.system) } else { end };
            let done = if end == text.len() {
                let tokens = [&text[start..], guess].concat();
                self.pass(&tokens, 1 + guess.len(), cancel)?
            } else {
                self.pass(&text[start..end], 0, cancel)?
            };
            if !done {
                return Ok(None);
            }
        }
        Ok(Some(kept))
    }

    /// Whether the last pass gave a row of logits for the token at `position`,
    /// counted from the first token of the cache.
    pub fn has_row(&self, position: usize) -> bool {
        position <= self.ids.len() && self.places.contains(&position)
    }

    /// The row of logits for the token at `position`, if it left the engine.
    pub fn row(&self, position: usize) -> Option<&[f32]> {
        let row = self.has_row(position).then(|| position - self.places.start)?;
        self.rows.row(row, self.engine.vocab())
    }

    /// The id that is chosen for `position`.
    ///
    /// # Errors
    /// The choice's, or there is no row for that token.
    pub fn choose(&mut self, position: usize, choice: &Choice) -> Result<u32> {
        ensure!(self.has_row(position), "there are no logits for token {position}");
        self.engine.choose(&self.rows, position - self.places.start, choice)
    }

    /// Makes the cache hold what was exported with exactly these ids.
    ///
    /// # Errors
    /// The engine's; the cache is then empty.
    pub fn import(&mut self, ids: &[u32], rows: &CacheRows) -> Result<()> {
        self.keep(0);
        self.places = 0..0;
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

    /// A piece ends after the first `length` tokens of every prompt.
    pub fn parts_at(&self, length: usize) -> bool {
        length.is_multiple_of(self.engine.chunk().max(1))
    }

    /// The engine's fingerprint.
    pub fn fingerprint(&self) -> Option<String> {
        self.engine.fingerprint()
    }

    /// Notes which token comes at `position`, the end of the text so far: what
    /// was guessed differently is forgotten. True if it was guessed.
    pub fn settle(&mut self, position: usize, id: u32) -> bool {
        let guessed = self.ids.get(position) == Some(&id);
        if !guessed {
            self.keep(position);
        }
        guessed
    }

    /// Forgets everything past the first `length` tokens.
    pub fn keep(&mut self, length: usize) {
        if length < self.ids.len() {
            self.ids.truncate(length);
            self.engine.truncate(length);
        }
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

    /// Appends tokens, and keeps the rows after the last `rows` of them.
    fn pass(&mut self, tokens: &[u32], rows: usize, cancel: &Cancel) -> Result<bool> {
        if cancel.is_set() {
            return Ok(false);
        }
        self.passes += 1;
        if self.rows == Rows::There {
            // They end with this pass, even if it is cancelled.
            self.places = 0..0;
        }
        let want = match rows {
            0 => Want::Nothing,
            1 => Want::Last,
            rows => Want::Tail(rows),
        };
        let Some(given) = self.engine.process(tokens, want, cancel)? else { return Ok(false) };
        self.ids.extend_from_slice(tokens);
        self.rows = given;
        self.places = self.ids.len() + 1 - rows..self.ids.len() + 1;
        Ok(true)
    }
}

/// Tokens that count as few: what a form forces at a time is less.
const FEW: usize = 64;
