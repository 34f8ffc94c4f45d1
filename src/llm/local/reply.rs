//! A reply while it is made: its ids, its text, and how much of it may be
//! shown already.

use crate::chat::{Origin, ReplyForm, Segment};
use crate::llama::Tokenizer;
use crate::llama::tokenizer::Utf8Stream;
use crate::llm::End;

/// A reply in the making.
pub(super) struct Reply<'a> {
    tokenizer: &'a Tokenizer,
    form: &'a ReplyForm,
    ids: Vec<u32>,
    /// Whole characters only.
    text: String,
    stream: Utf8Stream,
    /// For each number of ids: the bytes of text they make, and whether they
    /// end with a whole character.
    ends: Vec<(usize, bool)>,
    /// Bytes of text that were shown.
    shown: usize,
    /// Where the reply ends, in bytes of text, and how.
    end: Option<(usize, End)>,
}

impl<'a> Reply<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, form: &'a ReplyForm) -> Self {
        Self {
            tokenizer,
            form,
            ids: Vec::new(),
            text: String::new(),
            stream: Utf8Stream::new(),
            ends: vec![(0, true)],
            shown: 0,
            end: None,
        }
    }

    /// Tokens so far.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Appends a token, and shows the text that is certain to stay. True if
    /// the token is part of the final answer's own text.
    pub(super) fn push(&mut self, id: u32, watch: &mut dyn FnMut(&str)) -> bool {
        let start = self.text.len();
        self.ids.push(id);
        self.text.push_str(&self.stream.push(self.tokenizer.piece(id)));
        self.ends.push((self.text.len(), self.stream.pending() == 0));
        self.end = self.form.end(&self.text).map(|(length, closed)| {
            let end = if closed { End::Closed } else { End::Turn };
            // What was shown cannot be taken back.
            (length.clamp(self.shown, self.text.len()), end)
        });
        let certain = match self.end {
            Some((length, _)) => length,
            None => self.form.certain(&self.text),
        };
        self.show(certain, watch);
        self.form.prose_start(&self.text).is_some_and(|prose| start >= prose)
    }

    /// How the reply ended, if it did.
    pub(super) fn end(&self) -> Option<End> {
        self.end.map(|(_, end)| end)
    }

    /// The reply, with the ids that decode to exactly its text. What is left
    /// of the text is shown.
    pub(super) fn finish(mut self, watch: &mut dyn FnMut(&str)) -> Segment {
        let mut length = self.end.map_or(self.text.len(), |(length, _)| length);
        while !self.text.is_char_boundary(length) {
            length -= 1;
        }
        self.show(length, watch);
        self.text.truncate(length);
        let whole = |&(bytes, whole): &(usize, bool)| whole && bytes <= length;
        let kept = self.ends.iter().rposition(whole).unwrap_or(0);
        self.ids.truncate(kept);
        // A token that reaches past the end is replaced by what it has inside.
        let rest = &self.text[self.ends[kept].0..];
        self.ids.extend(self.tokenizer.encode(rest, false, false));
        Segment { ids: Some(self.ids), ..Segment::new(Origin::Model, self.text) }
    }

    fn show(&mut self, length: usize, watch: &mut dyn FnMut(&str)) {
        if let Some(text) = self.text.get(self.shown..length).filter(|text| !text.is_empty()) {
            watch(text);
            self.shown = length;
        }
    }
}
