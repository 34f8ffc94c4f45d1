//! Each piece of a prompt is split into tokens once, though a step counts its
//! prompt before it asks for it, and the next step's prompt begins with it.

use std::cell::RefCell;

use crate::chat::{Prompt, Segment};
use crate::llama::Tokenizer;

/// A prompt in tokens.
pub(super) struct Encoded {
    pub ids: Vec<u32>,
    /// How many of them are the system part.
    pub system: usize,
}

/// The pieces of the last prompt in tokens.
#[derive(Default)]
pub(super) struct Encodings(RefCell<Vec<Piece>>);

/// A piece, whether it was the first of its prompt, and its tokens.
type Piece = (Segment, bool, Vec<u32>);

impl Encodings {
    /// The tokens of a prompt, exactly those of `Tokenizer::encode_prompt`.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, prompt: &Prompt) -> Encoded {
        let mut known = self.0.take();
        let (mut pieces, mut ids, mut system) = (Vec::new(), Vec::new(), 0);
        // Where the next piece was last time: mostly behind the one before.
        let mut at = 0;
        for (index, segment) in prompt.segments.iter().enumerate() {
            let first = ids.is_empty();
            let same = |piece: &Piece| piece.0 == *segment && piece.1 == first;
            let ahead = known.iter().skip(at).position(same).map(|ahead| at + ahead);
            let piece = match ahead {
                Some(found) => {
                    at = found + 1;
                    std::mem::take(&mut known[found].2)
                }
                None => tokenizer.encode_segment(segment, first),
            };
            ids.extend_from_slice(&piece);
            pieces.push((segment.clone(), first, piece));
            if index + 1 == prompt.system {
                system = ids.len();
            }
        }
        self.0.replace(pieces);
        Encoded { ids, system }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Origin;
    use crate::llama::Gguf;

    #[test]
    fn a_piece_is_split_once_and_the_tokens_are_the_same() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/calculator.gguf");
        let gguf = Gguf::open(std::path::Path::new(path)).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let segment = |origin, text: &str| Segment::new(origin, text);
        let all = [
            segment(Origin::Frame, "<s>system"),
            segment(Origin::Person, " hi </s>"),
            segment(Origin::Frame, "\nAssistant:"),
            Segment { ids: Some(vec![300, 301]), ..segment(Origin::Model, "xy") },
            segment(Origin::Frame, "\nAssistant:"),
            segment(Origin::Tool, " 42"),
        ];
        let encodings = Encodings::default();
        for parts in [&all[..3], &all[..5], &all[..], &all[2..], &all[..1], &[], &all[..]] {
            let prompt = Prompt { segments: parts.to_vec(), system: 1 };
            let Encoded { ids, system } = encodings.encode(&tokenizer, &prompt);
            assert_eq!(ids, tokenizer.encode_prompt(&prompt));
            assert_eq!(system, tokenizer.encode_prompt(&prompt.system_part()).len());
        }
        // What is known is taken, not made again.
        encodings.0.borrow_mut()[5].2 = vec![7];
        let prompt = Prompt { segments: all.to_vec(), system: 1 };
        assert_eq!(encodings.encode(&tokenizer, &prompt).ids.last(), Some(&7));
    }
}
