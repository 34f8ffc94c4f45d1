//! What fits: which exchanges the next prompt can hold.

use super::memory::Memory;
use super::paper::Paper;
use super::turn::Turn;
use crate::chat::Prompt;
use crate::llm::{Llm, LlmError};

/// A prompt that fits, with room for the reply.
pub struct Fitted {
    pub prompt: Prompt,
    /// Its exact size in tokens.
    pub tokens: usize,
    /// How many of the oldest exchanges had to leave for it.
    pub left_out: usize,
}

/// Renders the prompt of `turn` with as many of the latest exchanges as fit
/// the context beside `room` tokens for the reply. At least `turn.left_out`
/// stay out: an exchange that left in this turn does not come back.
///
/// # Errors
/// `LlmError::DoesNotFit`, before any token is spent, if the system message
/// and this turn alone are too long.
pub fn fit(
    llm: &dyn Llm,
    paper: &Paper,
    memory: &Memory,
    turn: &Turn,
    room: usize,
) -> Result<Fitted, LlmError> {
    let context = llm.context();
    let mut left_out = turn.left_out;
    loop {
        let prompt = paper.prompt(memory, left_out, Some(turn));
        let tokens = llm.count(&prompt)?;
        // Any room can be asked for, even more than a number holds beside the prompt.
        let needed = tokens.saturating_add(room);
        if needed <= context {
            return Ok(Fitted { prompt, tokens, left_out });
        }
        if left_out >= memory.len() {
            return Err(LlmError::DoesNotFit { needed, context });
        }
        left_out += 1;
    }
}
