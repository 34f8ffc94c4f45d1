//! The vocabulary as llguidance wants it: a trie of the pieces' bytes, and the
//! way this model's own tokenizer splits text in the middle of a prompt.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use toktrie::{INVALID_TOKEN, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::llama::Tokenizer;

/// Longer pieces never stand in a reply: the trie has no room for thousands of bytes.
const LONGEST_PIECE: usize = 512;

/// Bytes of all pieces together that the trie's 22-bit sizes can hold.
const MOST_BYTES: usize = 1 << 21;

/// A tokenizer and the trie of its pieces.
pub struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
    /// The token of each byte that no text splits into.
    bytes: [TokenId; 256],
}

impl Vocabulary {
    /// Control tokens and what text can never become are left out of the trie,
    /// so that no form allows them: above all the byte token of a character
    /// that is a piece itself.
    ///
    /// # Errors
    /// More pieces than a trie can hold.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let count = tokenizer.vocab_len();
        let mut bytes = [INVALID_TOKEN; 256];
        let mut words = vec![Vec::new(); count];
        let mut known = HashSet::new();
        let plain = (0..count as u32).filter(|id| !tokenizer.is_byte(*id));
        for id in plain.chain((0..count as u32).filter(|id| tokenizer.is_byte(*id))) {
            let piece = tokenizer.piece(id);
            if let ([byte], true) = (piece, tokenizer.is_byte(id)) {
                bytes[usize::from(*byte)] = id;
            }
            if (1..=LONGEST_PIECE).contains(&piece.len()) && known.insert(piece) {
                words[id as usize] = piece.to_vec();
            }
        }
        let size: usize = words.iter().map(Vec::len).sum();
        ensure!(
            count < 1 << 23 && size < MOST_BYTES,
            "a vocabulary of {count} pieces and {size} bytes is more than a grammar can work with"
        );
        let trie = TokTrie::from(&TokRxInfo::new(count as u32, INVALID_TOKEN), &words);
        for byte in 0..=u8::MAX {
            // A vocabulary of GPT-2's kind has its bytes among the pieces.
            if let (INVALID_TOKEN, Some(id)) =
                (bytes[usize::from(byte)], trie.token_id_at_bytes(&[byte]))
            {
                bytes[usize::from(byte)] = id;
            }
        }
        Ok(Self { tokenizer, trie, bytes })
    }

    /// Bytes that are no text become their byte tokens.
    fn spell<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = TokenId> + 'a {
        bytes.iter().map(|byte| self.bytes[usize::from(*byte)]).filter(|id| *id != INVALID_TOKEN)
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// As the tokenizer splits text inside a prompt: no space is put before it
    /// and no control token is read in it. The start or the end of a character
    /// that the bytes cut through becomes byte tokens.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let mut ids = Vec::new();
        for chunk in bytes.utf8_chunks() {
            ids.extend(self.tokenizer.encode(chunk.valid(), false, false));
            ids.extend(self.spell(chunk.invalid()));
        }
        ids
    }

    fn tokenize_is_canonical(&self) -> bool {
        true
    }
}
