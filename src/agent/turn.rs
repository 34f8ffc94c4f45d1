//! The exchange that is under way.

use std::collections::HashSet;

use super::event::Stop;
use crate::chat::Segment;

/// A turn between its question and its answer.
pub struct Turn {
    /// Everything on paper since the question, in order; only ever appended to.
    pub segments: Vec<Segment>,
    /// Replies asked for.
    pub steps: usize,
    /// Replies in a row that could not be read.
    pub unreadable: usize,
    /// Oldest exchanges left out of the prompt to make room.
    pub left_out: usize,
    /// Set once no more calls are taken: the next reply is the last.
    pub stopping: Option<Stop>,
    calls: HashSet<(String, String)>,
}

impl Turn {
    /// A turn that begins with `question` on paper.
    pub fn new(question: Vec<Segment>) -> Self {
        Self {
            segments: question,
            steps: 0,
            unreadable: 0,
            left_out: 0,
            stopping: None,
            calls: HashSet::new(),
        }
    }

    /// Notes a call; false if the same one was made in this turn before.
    pub fn is_new(&mut self, tool: &str, input: &str) -> bool {
        self.calls.insert((tool.into(), input.into()))
    }
}
