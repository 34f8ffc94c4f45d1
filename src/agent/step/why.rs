//! The names of what can be wrong with a reply, and of what can be put right.

use std::fmt;

/// Why a reply could not be read. Shown to the model as a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is nothing in it.
    Empty,
    /// There is no JSON object in it.
    NoObject,
    /// It ends inside a string.
    UnfinishedString,
    /// It ends inside the object.
    Unfinished,
    /// The object is not JSON, nor near enough.
    NotJson,
    /// The object has no `action`.
    NoAction,
    /// The object has no `action_input`.
    NoInput,
    /// `action` is not a string.
    ActionNotText,
    /// Read strictly: it is not one fenced block alone.
    NotOneBlock,
    /// Read strictly: the object is not the two strings.
    NotTheTwoKeys,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the reply was empty",
            Self::NoObject => "there was no JSON object in the reply",
            Self::UnfinishedString => "a string in the JSON object was never closed",
            Self::Unfinished => "the JSON object was never closed",
            Self::NotJson => "the JSON object was malformed",
            Self::NoAction => "the JSON object had no \"action\"",
            Self::NoInput => "the JSON object had no \"action_input\"",
            Self::ActionNotText => "\"action\" was not a string",
            Self::NotOneBlock => "the reply was not one ```json block and nothing else",
            Self::NotTheTwoKeys => {
                "the JSON object did not have exactly the two strings \"action\" and \
                 \"action_input\""
            }
        })
    }
}

/// A liberty taken to read a reply that was not quite JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// Text before or after the block was dropped.
    Prose,
    /// There was no fence.
    NoFence,
    /// The fence did not say `json`.
    BareFence,
    /// The fence said something else: `JSON`, `python`.
    FenceTag,
    /// The fence was not closed.
    UnclosedFence,
    /// Another block followed; the first counts.
    SecondBlock,
    /// The closing brace was missing.
    MissingBrace,
    /// A comma came before the closing brace.
    TrailingComma,
    /// A comma between pairs was missing.
    MissingComma,
    /// White space that JSON does not know.
    Whitespace,
    /// Strings in single quotes.
    SingleQuotes,
    /// Strings in typographic quotes.
    SmartQuotes,
    /// A quote inside a string was not escaped.
    InnerQuote,
    /// A key or a value had no quotes.
    NoQuotes,
    /// A line break or another control character stood inside a string.
    RawNewline,
    /// A backslash stood before a character that JSON does not escape.
    Escape,
    /// Python's True, False or None.
    PythonLiteral,
    /// A key was spelled differently: `Action Input`.
    KeySpelling,
    /// A key beside the two, or one of them twice, was dropped.
    ExtraKey,
    /// `Final Answer` was spelled differently.
    FinalAnswer,
    /// `action_input` was a number, an object or another value.
    InputNotText,
}

impl Repair {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 21] = [
        Self::Prose,
        Self::NoFence,
        Self::BareFence,
        Self::FenceTag,
        Self::UnclosedFence,
        Self::SecondBlock,
        Self::MissingBrace,
        Self::TrailingComma,
        Self::MissingComma,
        Self::Whitespace,
        Self::SingleQuotes,
        Self::SmartQuotes,
        Self::InnerQuote,
        Self::NoQuotes,
        Self::RawNewline,
        Self::Escape,
        Self::PythonLiteral,
        Self::KeySpelling,
        Self::ExtraKey,
        Self::FinalAnswer,
        Self::InputNotText,
    ];

    /// The name that the trace shows. It does not change.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prose => "prose",
            Self::NoFence => "no_fence",
            Self::BareFence => "bare_fence",
            Self::FenceTag => "fence_tag",
            Self::UnclosedFence => "unclosed_fence",
            Self::SecondBlock => "second_block",
            Self::MissingBrace => "missing_brace",
            Self::TrailingComma => "trailing_comma",
            Self::MissingComma => "missing_comma",
            Self::Whitespace => "whitespace",
            Self::SingleQuotes => "single_quotes",
            Self::SmartQuotes => "smart_quotes",
            Self::InnerQuote => "inner_quote",
            Self::NoQuotes => "no_quotes",
            Self::RawNewline => "raw_newline",
            Self::Escape => "escape",
            Self::PythonLiteral => "python_literal",
            Self::KeySpelling => "key_spelling",
            Self::ExtraKey => "extra_key",
            Self::FinalAnswer => "final_answer",
            Self::InputNotText => "input_not_text",
        }
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
