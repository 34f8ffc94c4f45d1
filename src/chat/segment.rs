//! The pieces a prompt is made of.

/// Who wrote a piece of the conversation; it decides how the piece is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The dialect and the prompts: the only text whose control tokens count.
    Frame,
    /// The person at the keyboard: plain text.
    Person,
    /// A tool: plain text.
    Tool,
    /// The model: text that was derived from the ids it chose.
    Model,
}

/// A piece of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub origin: Origin,
    pub text: String,
    /// The token ids the piece is made of, where the model wrote it. Encoding
    /// `text` again may give other ids, so these are what goes back in.
    pub ids: Option<Vec<u32>>,
}

impl Segment {
    /// A piece without ids of its own.
    pub fn new(origin: Origin, text: impl Into<String>) -> Self {
        Self { origin, text: text.into(), ids: None }
    }
}

/// What a model is asked to continue: segments in order, encoded one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    pub segments: Vec<Segment>,
    /// How many segments, from the first, are the system part: what every
    /// prompt of the same agent begins with.
    pub system: usize,
}

impl Prompt {
    /// The whole prompt as text.
    pub fn text(&self) -> String {
        self.segments.iter().map(|segment| segment.text.as_str()).collect()
    }

    /// The system part alone.
    pub fn system_part(&self) -> Prompt {
        let end = self.system.min(self.segments.len());
        Self { segments: self.segments[..end].to_vec(), system: end }
    }
}

impl FromIterator<Segment> for Prompt {
    fn from_iter<I: IntoIterator<Item = Segment>>(segments: I) -> Self {
        Self { segments: segments.into_iter().collect(), system: 0 }
    }
}
