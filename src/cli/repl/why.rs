//! `/why`: the exact prompt, part by part, with its tokens.

use std::io;

use crate::agent::Agent;
use crate::chat::{Origin, Prompt};
use crate::cli::face::sink::{DIM, STRONG, Sink};
use crate::cli::face::words;
use crate::llm::LlmError;

/// Shows what the model has read, which is what its next prompt begins with:
/// each part below a line that names its author and its tokens.
///
/// # Errors
/// Outside: the sink's. Inside: the engine cannot count.
pub fn show(agent: &Agent, out: &mut Sink) -> io::Result<Result<(), LlmError>> {
    let prompt = agent.prompt();
    let (total, context) = match agent.count(&prompt) {
        Ok(counts) => counts,
        Err(error) => return Ok(Err(error)),
    };
    out.line(DIM, &format!("--- dialect: {}", agent.dialect().name()))?;
    for segment in &prompt.segments {
        let part = Prompt::from_iter([segment.clone()]);
        let tokens = match agent.count(&part) {
            Ok((tokens, _)) => tokens,
            Err(error) => return Ok(Err(error)),
        };
        let author = match segment.origin {
            Origin::Frame => "frame",
            Origin::Person => "person",
            Origin::Tool => "tool",
            Origin::Model => "model",
        };
        out.line(DIM, &format!("--- {author}, {}", words::plural(tokens, "token")))?;
        out.text(&segment.text)?;
        out.text("\n")?;
    }
    let left = context.saturating_sub(total);
    let total = words::plural(total, "token");
    out.line(STRONG, &format!("--- {total} in all; {left} of {context} are left"))?;
    Ok(Ok(()))
}
