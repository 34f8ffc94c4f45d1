//! Byte-pair encoding as SentencePiece does it: neighbours merge into the
//! piece with the highest score, of equal scores the leftmost, until no merge
//! is left; a character that is no piece becomes its UTF-8 bytes.
//! (Sennrich et al. 2016, arXiv:1508.07909; Kudo and Richardson 2018,
//! arXiv:1808.06226.)

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// How SentencePiece writes a space inside a piece: U+2581.
pub(in crate::llama) const SPACE: char = '\u{2581}';

/// Pieces that ordinary text can become, with their scores.
pub(super) struct Spm {
    /// Only normal pieces: what text spells can never become a control token.
    pieces: HashMap<Box<str>, (u32, f32)>,
    /// The piece of each byte.
    bytes: [u32; 256],
}

/// A stretch of the text that is one piece so far, linked to its neighbours.
struct Symbol {
    start: usize,
    /// In bytes; 0 once it was merged into the symbol on its left.
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that could become one piece.
struct Merge {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both when this was noted: if that changed, it is stale.
    length: usize,
}

impl Ord for Merge {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Merge {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Merge {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Merge {}

impl Spm {
    pub(super) fn new(pieces: HashMap<Box<str>, (u32, f32)>, bytes: [u32; 256]) -> Self {
        Self { pieces, bytes }
    }

    /// Appends the ids of `text`, with a space before it if `space`.
    ///
    /// A U+2581 in the text itself becomes its bytes: SentencePiece would make
    /// it a space, and text would not come back as it was. Everything else
    /// gives the ids that SentencePiece gives.
    pub(super) fn encode(&self, text: &str, space: bool, ids: &mut Vec<u32>) {
        let mut escaped = String::with_capacity(text.len() + text.len() / 2 + SPACE.len_utf8());
        if space && !text.is_empty() {
            escaped.push(SPACE);
        }
        for (i, part) in text.split(SPACE).enumerate() {
            if i > 0 {
                self.merge(&escaped, ids);
                escaped.clear();
                self.spell(SPACE.encode_utf8(&mut [0; 4]), ids);
            }
            escaped.extend(part.chars().map(|c| if c == ' ' { SPACE } else { c }));
        }
        self.merge(&escaped, ids);
    }

    fn spell(&self, text: &str, ids: &mut Vec<u32>) {
        ids.extend(text.bytes().map(|byte| self.bytes[usize::from(byte)]));
    }

    fn merge(&self, text: &str, ids: &mut Vec<u32>) {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| Symbol {
                start,
                length: c.len_utf8(),
                previous: i.checked_sub(1),
                next: Some(i + 1),
            })
            .collect();
        let Some(last) = symbols.last_mut() else { return };
        last.next = None;
        let mut merges = BinaryHeap::new();
        for right in 1..symbols.len() {
            self.note(text, &symbols, Some(right - 1), Some(right), &mut merges);
        }
        while let Some(Merge { left, right, length, .. }) = merges.pop() {
            let (a, b) = (&symbols[left], &symbols[right]);
            if a.length == 0 || b.length == 0 || a.length + b.length != length {
                continue;
            }
            let after = b.next;
            symbols[left].length = length;
            symbols[left].next = after;
            symbols[right].length = 0;
            if let Some(after) = after {
                symbols[after].previous = Some(left);
            }
            self.note(text, &symbols, symbols[left].previous, Some(left), &mut merges);
            self.note(text, &symbols, Some(left), after, &mut merges);
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            let piece = &text[symbol.start..symbol.start + symbol.length];
            match self.pieces.get(piece) {
                Some((id, _)) => ids.push(*id),
                None => self.spell(piece, ids),
            }
        }
    }

    /// Notes that two neighbours can merge, if together they are a piece.
    fn note(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
        merges: &mut BinaryHeap<Merge>,
    ) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let (a, b) = (&symbols[left], &symbols[right]);
        let length = a.length + b.length;
        if let Some((_, score)) = self.pieces.get(&text[a.start..a.start + length]) {
            merges.push(Merge { score: *score, left, right, length });
        }
    }
}
