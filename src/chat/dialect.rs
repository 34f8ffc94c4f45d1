//! How a conversation looks on paper.
//!
//! A prompt is the system part, then exchanges with a separator between each
//! two. Only this module writes control tokens and markers; what persons and
//! tools say is made harmless first.

use std::sync::LazyLock;

use regex::Regex;

use super::{Origin, Segment};

/// A way of writing a conversation down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The system message between `<<SYS>>` marks, then for every turn the
    /// reminder in `[INST]` and the exchange as `User:`, `Assistant:` and
    /// `Observation:` lines.
    #[default]
    React,
    /// Meta's Llama-2 chat template, the reminder inside each `[INST]`.
    Llama2,
}

impl Dialect {
    /// The system part: what every prompt starts with.
    pub fn system(self, message: &str, persona: Option<&str>) -> Vec<Segment> {
        let (open, close) = match self {
            Self::React => ("<s><<SYS>>\n", "\n<</SYS>>\n\n"),
            Self::Llama2 => ("<s>[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
        };
        let mut segments = vec![frame(format!("{open}{}", message.trim()))];
        if let Some(persona) = persona.map(str::trim).filter(|persona| !persona.is_empty()) {
            segments.push(Segment::new(Origin::Person, format!("\n\n{}", harmless(persona))));
        }
        segments.push(frame(close));
        segments
    }

    /// What stands between two exchanges.
    pub fn between(self) -> Segment {
        frame(match self {
            Self::React => "\n\n",
            Self::Llama2 => " </s><s>[INST] ",
        })
    }

    /// Opens an exchange, up to where the model's reply begins.
    pub fn question(self, reminder: &str, question: &str) -> Vec<Segment> {
        let reminder = reminder.trim();
        let question = harmless(question.trim());
        match self {
            Self::React => vec![
                frame(format!("[INST] {reminder} [/INST]\nUser:")),
                Segment::new(Origin::Person, format!(" {question}")),
                frame("\nAssistant:"),
            ],
            Self::Llama2 => vec![
                frame(format!("{reminder}\n")),
                Segment::new(Origin::Person, question),
                frame(" [/INST]"),
            ],
        }
    }

    /// What follows a reply that was not the answer, up to where the next
    /// reply begins: a tool's words, a notice by the prompts, or both.
    pub fn after_reply(self, tool: Option<&str>, notice: Option<&str>) -> Vec<Segment> {
        let (open, close) = match self {
            Self::React => ("\nObservation:", "\nAssistant:"),
            Self::Llama2 => (" </s><s>[INST] Observation:", " [/INST]"),
        };
        let mut segments = vec![frame(open)];
        if let Some(text) = tool {
            segments.push(Segment::new(Origin::Tool, format!(" {}", harmless(text.trim()))));
        }
        let gap = if tool.is_some() { "\n" } else { " " };
        let notice = notice.map(|notice| format!("{gap}{}", notice.trim())).unwrap_or_default();
        segments.push(frame(notice + close));
        segments
    }

    /// Starts of lines that only others write: a reply ends before them.
    pub fn stop_lines(self) -> Vec<String> {
        ["Observation:", "User:", "[INST]"].map(String::from).to_vec()
    }
}

fn frame(text: impl Into<String>) -> Segment {
    Segment::new(Origin::Frame, text)
}

/// Visibly alters the markers of the dialects in what a person or a tool said,
/// so that plain text cannot pass for a turn: `[INST]` becomes `(INST)`,
/// `<<SYS>>` becomes `((SYS))`, and a line that starts like a turn is quoted
/// with `> `. In Llama-2 these markers are ordinary pieces, so leaving control
/// tokens unparsed is not enough.
fn harmless(text: &str) -> String {
    static INST: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)\[(\s*/?\s*INST\s*)\]").expect("a valid pattern"));
    static SYS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)<<(\s*/?\s*SYS\s*)>>").expect("a valid pattern"));
    // Any line separator that Unicode knows starts a line here.
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        let separators = r"\n\r\x0b\x0c\x{85}\x{2028}\x{2029}";
        let blank = format!(r"[\s--[{separators}]]*");
        let speaker = "(?:Observation|Assistant|User)";
        Regex::new(&format!("(?i)(^|[{separators}])({blank}{speaker}{blank}:)"))
            .expect("a valid pattern")
    });
    let text = INST.replace_all(text, "($1)");
    let text = SYS.replace_all(&text, "(($1))");
    LINE.replace_all(&text, "$1> $2").into_owned()
}
