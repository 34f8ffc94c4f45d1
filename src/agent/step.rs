//! Reading a reply. Parsing is total: whatever the model wrote is a `Step`.

/// What a reply asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run a tool.
    Act { tool: String, input: String },
    /// End the turn.
    Answer(String),
    /// Nothing that can be read.
    Unreadable { why: Why },
}

/// Why a reply could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no JSON object in it.
    NoObject,
}

/// A liberty taken to read a reply that was not quite JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// Text before or after the block was dropped.
    Prose,
}

/// A reply as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub step: Step,
    /// The liberties taken, in a fixed order, each once.
    pub repairs: Vec<Repair>,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("There is no JSON object in it.")
    }
}

/// Reads a reply.
pub fn read(text: &str, strict: bool) -> Reading {
    let _ = (text, strict);
    Reading { step: Step::Unreadable { why: Why::NoObject }, repairs: vec![] }
}
