//! Putting a conversation on paper: the prompts' words in the dialect's form.

use anyhow::Result;

use super::event::Stop;
use super::memory::Memory;
use super::prompts::Prompts;
use super::step::Why;
use super::turn::Turn;
use crate::chat::{Dialect, Prompt, ReplyForm, Segment, ToolForm};
use crate::tool::Registry;

/// What follows a reply that was not the answer.
pub enum Said {
    /// A tool's words.
    Tool(String),
    /// The agent's own.
    Notice(String),
    Nothing,
}

impl Said {
    /// The words.
    pub fn text(&self) -> &str {
        match self {
            Self::Tool(text) | Self::Notice(text) => text,
            Self::Nothing => "",
        }
    }
}

/// Renders the parts of a prompt. The system part and the reminder are
/// rendered once, so every prompt of an agent starts with the same bytes.
pub struct Paper {
    dialect: Dialect,
    prompts: Prompts,
    system: Vec<Segment>,
    reminder: String,
}

impl Paper {
    /// # Errors
    /// A prompt that cannot be rendered.
    pub fn new(
        dialect: Dialect,
        prompts: Prompts,
        tools: &Registry,
        persona: Option<&str>,
    ) -> Result<Self> {
        let system = dialect.system(&prompts.system(tools)?, persona);
        let reminder = prompts.reminder()?;
        Ok(Self { dialect, prompts, system, reminder })
    }

    /// The system part, memory without its `left_out` oldest exchanges, then
    /// `turn`; without a turn, what the next prompt will begin with.
    pub fn prompt(&self, memory: &Memory, left_out: usize, turn: Option<&Turn>) -> Prompt {
        let remembered = memory.exchanges().skip(left_out).map(|exchange| &exchange.segments);
        let mut segments = self.system.clone();
        for (index, exchange) in remembered.chain(turn.map(|turn| &turn.segments)).enumerate() {
            if index > 0 {
                segments.extend(Some(self.dialect.between()).filter(|part| !part.text.is_empty()));
            }
            segments.extend(exchange.iter().cloned());
        }
        Prompt { segments, system: self.system.len() }
    }

    /// How conversations are written down.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Opens an exchange.
    pub fn question(&self, question: &str) -> Vec<Segment> {
        self.dialect.question(&self.reminder, question)
    }

    /// What follows a reply, up to the next; a turn that is stopping says so.
    pub fn after_reply(&self, said: Said, stopping: Option<Stop>) -> Result<Vec<Segment>> {
        let last = stopping.map(|stop| self.prompts.last(stop)).transpose()?;
        Ok(match said {
            Said::Tool(text) => self.dialect.after_reply(Some(&text), last.as_deref()),
            Said::Notice(text) => {
                let notices: Vec<_> = std::iter::once(text).chain(last).collect();
                self.dialect.after_reply(None, Some(&notices.join("\n")))
            }
            Said::Nothing => self.dialect.after_reply(None, last.as_deref()),
        })
    }

    /// What the model is told of a reply that could not be read.
    pub fn unreadable(&self, why: Why) -> Result<Said> {
        Ok(Said::Notice(self.prompts.unreadable(why)?))
    }

    /// What the model is told when it calls a tool that does not exist.
    pub fn unknown_tool(&self, tool: &str, tools: &Registry) -> Result<Said> {
        // It repeats the model's words, so it is plain text like a tool's.
        Ok(Said::Tool(self.prompts.unknown_tool(tool, tools)?))
    }

    /// What a reply may be that can call these tools.
    pub fn form(&self, tools: Vec<ToolForm>) -> ReplyForm {
        self.dialect.form(tools)
    }
}
