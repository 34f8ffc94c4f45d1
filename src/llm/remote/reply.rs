//! A reply while it arrives: its text, the ids it is made of where they are
//! said, and how much of it may be shown already.

use super::chunk::Chunk;
use crate::chat::{Origin, ReplyForm, Segment};
use crate::llm::End;

/// A reply in the making.
pub(super) struct Reply<'a> {
    form: &'a ReplyForm,
    /// Pieces that fit.
    room: usize,
    pieces: usize,
    text: String,
    /// None once a piece came without ids.
    ids: Option<Vec<u32>>,
    /// For each piece: the bytes of text and the ids up to its end.
    ends: Vec<(usize, usize)>,
    /// Bytes of text that were shown.
    shown: usize,
    /// Where the reply ends, in bytes of text.
    length: Option<usize>,
    pub reused: usize,
    produced: usize,
}

impl<'a> Reply<'a> {
    /// At most `room` tokens.
    pub fn new(form: &'a ReplyForm, room: usize) -> Self {
        Self {
            form,
            room,
            pieces: 0,
            text: String::new(),
            ids: Some(Vec::new()),
            ends: vec![(0, 0)],
            shown: 0,
            length: None,
            reused: 0,
            produced: 0,
        }
    }

    /// A token has arrived.
    pub fn begun(&self) -> bool {
        self.pieces > 0
    }

    /// Tokens so far, as well as that is known.
    pub fn produced(&self) -> usize {
        self.produced.max(self.ids.as_ref().map_or(self.pieces, Vec::len))
    }

    /// Appends what an event brings, and shows the text that is certain to
    /// stay. Says so if the reply ends with it.
    pub fn push(&mut self, chunk: &Chunk, watch: &mut dyn FnMut(&str)) -> Option<End> {
        self.reused = chunk.reused.unwrap_or(self.reused);
        self.produced = chunk.produced.unwrap_or(self.produced);
        let said = chunk.ids.as_ref().is_some_and(|ids| !ids.is_empty());
        if chunk.text.is_empty() && !said {
            return None;
        }
        self.pieces += 1;
        self.text.push_str(&chunk.text);
        match (&mut self.ids, &chunk.ids) {
            (Some(ids), Some(new)) => ids.extend(new),
            _ => self.ids = None,
        }
        self.ends.push((self.text.len(), self.ids.as_ref().map_or(0, Vec::len)));
        if let Some((length, closed)) = self.form.end(&self.text) {
            // What was shown cannot be taken back.
            let length = length.clamp(self.shown, self.text.len());
            self.length = Some(length);
            self.show(length, watch);
            return Some(if closed { End::Closed } else { End::Turn });
        }
        self.show(self.form.certain(&self.text), watch);
        // A server that does not stop by itself.
        (self.pieces >= self.room.max(1)).then_some(End::Length)
    }

    /// The reply, with its ids if they are those of exactly its text. What is
    /// left of the text is shown.
    pub fn finish(
        mut self,
        encode: impl FnOnce(&str) -> Option<Vec<u32>>,
        watch: &mut dyn FnMut(&str),
    ) -> Segment {
        let mut length = self.length.unwrap_or(self.text.len());
        while !self.text.is_char_boundary(length) {
            length -= 1;
        }
        self.show(length, watch);
        self.text.truncate(length);
        let ids = self.ids(encode);
        Segment { ids, ..Segment::new(Origin::Model, self.text) }
    }

    /// The ids of the text. Of a character in several tokens, a server may say
    /// only the last, so that text beyond ASCII goes back as text.
    fn ids(&mut self, encode: impl FnOnce(&str) -> Option<Vec<u32>>) -> Option<Vec<u32>> {
        let mut ids = self.ids.take().filter(|_| self.text.is_ascii())?;
        let inside = |(bytes, _): &&(usize, usize)| *bytes <= self.text.len();
        let bytes = self.ends.iter().take_while(inside).last()?.0;
        // The first that reaches so far: what comes after it without any text
        // is the end of the sequence, or text that was held back.
        let (_, kept) = self.ends.iter().find(|(reached, _)| *reached == bytes)?;
        ids.truncate(*kept);
        // A token that reaches past the end is replaced by what it has inside.
        match &self.text[bytes..] {
            "" => {}
            rest => ids.extend(encode(rest)?),
        }
        Some(ids)
    }

    fn show(&mut self, length: usize, watch: &mut dyn FnMut(&str)) {
        if let Some(text) = self.text.get(self.shown..length).filter(|text| !text.is_empty()) {
            watch(text);
            self.shown = length;
        }
    }
}
