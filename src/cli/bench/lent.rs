//! One engine for several agents.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::chat::Cancel;
use crate::llama::{CacheRows, Choice, Forward, Memory, Rows, Want};

/// An engine that several sessions use, one after the other, so that a model is
/// loaded once.
#[derive(Clone)]
pub struct Lent(Arc<Mutex<Box<dyn Forward>>>);

impl Lent {
    pub fn new(engine: Box<dyn Forward>) -> Self {
        Self(Arc::new(Mutex::new(engine)))
    }

    fn engine(&self) -> MutexGuard<'_, Box<dyn Forward>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Forward for Lent {
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        self.engine().forward(tokens, want, cancel)
    }

    fn process(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Rows>> {
        self.engine().process(tokens, want, cancel)
    }

    fn choose(&mut self, rows: &Rows, row: usize, choice: &Choice) -> Result<u32> {
        self.engine().choose(rows, row, choice)
    }

    fn truncate(&mut self, len: usize) {
        self.engine().truncate(len);
    }

    fn len(&self) -> usize {
        self.engine().len()
    }

    fn context(&self) -> usize {
        self.engine().context()
    }

    fn vocab(&self) -> usize {
        self.engine().vocab()
    }

    fn chunk(&self) -> usize {
        self.engine().chunk()
    }

    fn memory(&self) -> Option<Memory> {
        self.engine().memory()
    }

    fn copy_rate(&mut self) -> Result<Option<f64>> {
        self.engine().copy_rate()
    }

    fn fingerprint(&self) -> Option<String> {
        self.engine().fingerprint()
    }

    fn export(&self, len: usize) -> Result<CacheRows> {
        self.engine().export(len)
    }

    fn import(&mut self, rows: &CacheRows) -> Result<()> {
        self.engine().import(rows)
    }
}
