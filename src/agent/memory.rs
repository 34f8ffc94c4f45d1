//! What the agent remembers: a window of whole exchanges.

use std::collections::VecDeque;

use crate::chat::Segment;

/// One question and everything up to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub question: String,
    pub answer: String,
    /// The exchange as it was sent and written: reminder, steps and JSON
    /// included, replies as the ids they were made of.
    pub segments: Vec<Segment>,
}

/// The last exchanges, oldest first, at most as many as the window holds.
#[derive(Clone, Debug)]
pub struct Memory {
    exchanges: VecDeque<Exchange>,
    window: usize,
}

impl Memory {
    /// An empty memory of at most `window` exchanges.
    pub fn new(window: usize) -> Self {
        Self { exchanges: VecDeque::new(), window }
    }

    /// The exchanges, oldest first.
    pub fn exchanges(&self) -> impl DoubleEndedIterator<Item = &Exchange> + ExactSizeIterator {
        self.exchanges.iter()
    }

    /// How many exchanges there are.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Remembers an exchange; those that the window no longer holds are
    /// returned, oldest first.
    pub fn remember(&mut self, exchange: Exchange) -> Vec<Exchange> {
        self.exchanges.push_back(exchange);
        let excess = self.exchanges.len().saturating_sub(self.window);
        self.forget(excess)
    }

    /// Forgets the `count` oldest exchanges and returns them, oldest first.
    pub fn forget(&mut self, count: usize) -> Vec<Exchange> {
        self.exchanges.drain(..count.min(self.exchanges.len())).collect()
    }
}
