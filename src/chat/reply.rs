//! The shape of a reply, and where a reply ends.

/// What a tool accepts as its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputForm {
    /// An arithmetic expression.
    Arithmetic,
    /// Any text.
    Text,
}

/// One action a reply may name, with the form of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolForm {
    pub name: String,
    pub input: InputForm,
}

/// What a reply may be: one of the tools, or the final answer. An empty list
/// of tools leaves nothing but the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyForm {
    pub tools: Vec<ToolForm>,
    /// Starts of lines that the model never writes itself (`Observation:`):
    /// the reply ends before them.
    pub stop_lines: Vec<String>,
}

/// The action that ends a turn.
pub const FINAL_ANSWER: &str = "Final Answer";

impl ReplyForm {
    /// Where the reply in `text` ends, if it does: the length of what belongs
    /// to it, and whether it was closed (its first JSON object is complete and
    /// so is its fence) rather than cut before another's line.
    pub fn end(&self, text: &str) -> Option<(usize, bool)> {
        let _ = text;
        None
    }

    /// Where the final answer's own text starts in `text`, if it has begun.
    pub fn prose_start(&self, text: &str) -> Option<usize> {
        let key = text.find(FINAL_ANSWER)?;
        let input = key + text[key..].find("\"action_input\"")? + "\"action_input\"".len();
        Some(input + text[input..].find('"')? + 1)
    }
}
