//! An engine without weights that says what it is told to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use llama_agent::chat::Cancel;
use llama_agent::llama::{Forward, Gguf, Tokenizer, Want};

use crate::support::Tiny;

pub fn tokenizer() -> Tokenizer {
    let tiny = Tiny { layers: 1, vocab: 1024, ..Tiny::default() };
    Tokenizer::from_gguf(&Gguf::from_bytes(tiny.bytes()).expect("it works")).expect("it works")
}

/// Tokens that the puppet takes at a time.
pub const CHUNK: usize = 8;

/// An engine that wants to say given ids after a prompt of given length, by a
/// margin so small that any penalty of 1.1 would overturn it.
pub struct Puppet {
    pub script: Vec<u32>,
    pub prompt: usize,
    pub held: Arc<Mutex<Vec<u32>>>,
    /// Asks to stop during this many-th pass, counted from 1.
    pub stop: Option<(usize, Cancel)>,
    pub passes: Arc<AtomicUsize>,
    pub context: usize,
    pub chunk: usize,
}

impl Puppet {
    pub fn new(prompt: usize, script: Vec<u32>) -> Self {
        let (held, passes) = Default::default();
        Self { script, prompt, held, stop: None, passes, context: 4096, chunk: CHUNK }
    }
}

impl Forward for Puppet {
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        let pass = self.passes.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some((when, wish)) = &self.stop
            && *when == pass
        {
            wish.ask();
        }
        if cancel.is_set() {
            return Ok(None);
        }
        let mut held = self.held.lock().expect("it works");
        held.extend_from_slice(tokens);
        let rows = want.rows(tokens.len());
        let row = |length: usize| {
            let mut row = vec![1.0; 1024];
            if let Some(next) = length.checked_sub(self.prompt) {
                // Nothing left to say: the end of the sequence.
                row[*self.script.get(next).unwrap_or(&2) as usize] = 1.05;
            }
            row
        };
        Ok(Some((held.len() + 1 - rows..=held.len()).flat_map(row).collect()))
    }

    fn truncate(&mut self, len: usize) {
        self.held.lock().expect("it works").truncate(len);
    }

    fn len(&self) -> usize {
        self.held.lock().expect("it works").len()
    }

    fn context(&self) -> usize {
        self.context
    }

    fn vocab(&self) -> usize {
        1024
    }

    fn chunk(&self) -> usize {
        self.chunk
    }
}
