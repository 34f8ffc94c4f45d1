//! How a conversation looks on paper.
//!
//! A prompt is the system part, then exchanges with a separator between each
//! two. Only this module writes control tokens and markers; what persons and
//! tools say is made harmless first.

mod date;
mod frames;
mod harmless;
mod render;
mod template;

use std::sync::Arc;

use self::frames::Speaker;
use self::harmless::harmless;
use super::{Origin, ReplyForm, Segment, ToolForm};

pub use self::template::{Source, Template, TemplateError};

/// A way of writing a conversation down.
#[derive(Clone, Debug, Default)]
pub enum Dialect {
    /// The system message between `<<SYS>>` marks, then for every turn the
    /// reminder in `[INST]` and the exchange as `User:`, `Assistant:` and
    /// `Observation:` lines.
    #[default]
    React,
    /// Meta's Llama-2 chat template, the reminder inside each `[INST]`.
    Llama2,
    /// The chat template of the model's own file, the reminder inside each
    /// question, observations in the role that the template has for tools.
    Template(Arc<Template>),
}

impl Dialect {
    /// Its name, and how observations are written where that is not part of it.
    pub fn name(&self) -> String {
        match self {
            Self::React => "react".into(),
            Self::Llama2 => "llama-2".into(),
            Self::Template(template) => {
                format!("template, observations as {}", template.tool_role())
            }
        }
    }

    /// The system part: what every prompt starts with.
    pub fn system(&self, message: &str, persona: Option<&str>) -> Vec<Segment> {
        let (open, close) = match self {
            Self::React => ("<s><<SYS>>\n", "\n<</SYS>>\n\n"),
            Self::Llama2 => ("<s>[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
            Self::Template(template) => template.around_system(),
        };
        let message = self.write(Speaker::System, message.trim());
        let mut segments = vec![frame(format!("{open}{message}"))];
        if let Some(persona) = persona.map(str::trim).filter(|persona| !persona.is_empty()) {
            let persona = format!("\n\n{}", self.harmless(persona));
            let persona = self.write(Speaker::System, &persona);
            segments.push(Segment::new(Origin::Person, persona));
        }
        if !close.is_empty() {
            segments.push(frame(close));
        }
        segments
    }

    /// What stands between two exchanges; no text where each exchange says
    /// itself that it begins.
    pub fn between(&self) -> Segment {
        frame(match self {
            Self::React => "\n\n",
            Self::Llama2 => " </s><s>[INST] ",
            Self::Template(template) => template.between(),
        })
    }

    /// Opens an exchange, up to where the model's reply begins.
    pub fn question(&self, reminder: &str, question: &str) -> Vec<Segment> {
        let reminder = reminder.trim();
        let question = self.harmless(question.trim());
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
            Self::Template(template) => {
                let (open, close) = template.around_question();
                let reminder = self.write(Speaker::Person, &format!("{reminder}\n"));
                vec![
                    frame(format!("{open}{reminder}")),
                    Segment::new(Origin::Person, self.write(Speaker::Person, &question)),
                    frame(close),
                ]
            }
        }
    }

    /// What follows a reply that was not the answer, up to where the next
    /// reply begins: a tool's words, a notice by the prompts, or both.
    pub fn after_reply(&self, tool: Option<&str>, notice: Option<&str>) -> Vec<Segment> {
        let (open, close) = match self {
            Self::React => ("\nObservation:", "\nAssistant:"),
            Self::Llama2 => (" </s><s>[INST] Observation:", " [/INST]"),
            Self::Template(template) => template.around_observation(),
        };
        // A role for tools says already what follows.
        let lead = if open.ends_with(':') { " " } else { "" };
        let mut segments = vec![frame(open)];
        if let Some(text) = tool {
            let text = format!("{lead}{}", self.harmless(text.trim()));
            segments.push(Segment::new(Origin::Tool, self.write(Speaker::Tool, &text)));
        }
        let gap = if tool.is_some() { "\n" } else { lead };
        let notice = notice.map(|notice| format!("{gap}{}", notice.trim())).unwrap_or_default();
        let notice = self.write(Speaker::Tool, &notice);
        segments.push(frame(notice + close));
        segments
    }

    /// What a reply may be that can call these tools. It begins where the last
    /// frame ends: behind `Assistant:` and `[/INST]` with a space of its own.
    /// It ends before lines that only others write.
    pub fn form(&self, tools: Vec<ToolForm>) -> ReplyForm {
        let lead = match self {
            Self::React | Self::Llama2 => " ",
            Self::Template(template) => template.lead(),
        };
        let stop_lines = ["Observation:", "User:", "[INST]"].map(String::from).to_vec();
        ReplyForm { lead, tools, stop_lines }
    }

    /// What somebody says, as it stands between the frames.
    fn write(&self, speaker: Speaker, text: &str) -> String {
        match self {
            Self::React | Self::Llama2 => text.into(),
            Self::Template(template) => template.write(speaker, text),
        }
    }

    /// Plain text of a person or a tool without what would pass for a turn.
    fn harmless(&self, text: &str) -> String {
        match self {
            Self::React | Self::Llama2 => harmless(text),
            Self::Template(template) => template.harmless(text),
        }
    }
}

fn frame(text: impl Into<String>) -> Segment {
    Segment::new(Origin::Frame, text)
}
