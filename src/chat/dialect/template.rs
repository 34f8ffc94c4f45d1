//! A model file's own chat template, cut into frames.
//!
//! The template is rendered once, with placeholders for what persons, tools
//! and the model say; what stands between these are the frames. So only the
//! template's own text is ever read for control tokens. Refuses a template
//! that rewrites what it wrote: each prompt must begin with the one before.

use super::frames::{Gaps, Speaker, Writings, frames};
use super::harmless::Marks;
use super::render::Renderer;

/// What a model file says of its chat template.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The template, in Jinja.
    pub text: &'a str,
    /// How the token that begins a sequence is spelled, if there is one.
    pub bos: &'a str,
    /// How the token that ends a sequence is spelled.
    pub eos: &'a str,
    /// A prompt begins with `bos` even if the template does not write it.
    pub add_bos: bool,
}

/// Why a chat template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not compile, or refuses a conversation of questions, replies
    /// and observations.
    #[error("it cannot be rendered: {0}")]
    Unrenderable(String),
    /// A message is left out, or written twice or altered.
    #[error("it does not write every message once, as it is")]
    Alters,
    /// A prompt does not begin with the one before it.
    #[error("it writes a conversation otherwise when it goes on")]
    Rewrites,
    /// What it writes around messages depends on more than their roles.
    #[error("what it writes around a message depends on the messages before")]
    Uneven,
}

/// What a chat template writes around messages.
#[derive(Clone, Debug)]
pub struct Template {
    /// Before the system message.
    open: String,
    /// After it, before the first exchange.
    close: String,
    /// Between two exchanges.
    between: String,
    /// Before a question, and from its end to the reply.
    question: (String, String),
    /// From a reply to an observation, and from its end to the next reply.
    observation: (String, String),
    role: &'static str,
    /// What a reply begins with: the space that the template writes before it.
    lead: &'static str,
    writings: Writings,
    marks: Marks,
}

/// Roles that observations can have, the best first, and what a template that
/// has the role names it. Every template has a user.
const ROLES: [&str; 3] = ["tool", "ipython", "user"];

impl Template {
    /// Reads a chat template. Where it has no role for the system message,
    /// that message opens the first question.
    ///
    /// # Errors
    /// It cannot be used; the reason is the one for the plainest conversation.
    pub fn new(source: Source) -> Result<Self, TemplateError> {
        let renderer = Renderer::new(source.text, source.bos, source.eos).map_err(unrenderable)?;
        let mut failure = None;
        for role in ROLES {
            let named = ["'", "\""].iter().any(|q| source.text.contains(&format!("{q}{role}{q}")));
            if role != "user" && !named {
                continue;
            }
            for system in [true, false] {
                match frames(&renderer, role, system).and_then(|gaps| Self::cut(gaps, role, source))
                {
                    Ok(template) => return Ok(template),
                    // What stands in the way where the role itself does not.
                    Err(error) => match failure {
                        Some(TemplateError::Unrenderable(_)) | None => failure = Some(error),
                        Some(_) if system => failure = Some(error),
                        Some(_) => {}
                    },
                }
            }
        }
        Err(failure.unwrap_or(TemplateError::Alters))
    }

    fn cut(gaps: Gaps, role: &'static str, source: Source) -> Result<Self, TemplateError> {
        let Gaps { mut open, first, next, reply, observation, resume, writings } = gaps;
        if source.add_bos && !open.starts_with(source.bos) {
            open.insert_str(0, source.bos);
        }
        // What both have at their end opens a question; the rest is what
        // stands before the first exchange, and between two.
        let common = first.bytes().rev().zip(next.bytes().rev()).take_while(|(a, b)| a == b);
        let mut length = common.count();
        while !boundary(&first, first.len() - length) || !boundary(&next, next.len() - length) {
            length -= 1;
        }
        let (close, question) = first.split_at(first.len() - length);
        let between = &next[..next.len() - length];
        let label = if role == "user" { "Observation:" } else { "" };
        let all = [&*open, &*first, &*next, &*reply, &*observation, &*resume];
        let marks = Marks::new(all).map_err(unrenderable)?;
        // A space before a reply is the reply's own: pieces of a vocabulary
        // begin with a space, and do not end in one.
        let own = [&reply, &resume].iter().all(|gap| gap.ends_with(' '));
        let lead = if own { " " } else { "" };
        let bare = |gap: &str| gap.strip_suffix(lead).unwrap_or(gap).to_string();
        Ok(Self {
            close: close.into(),
            between: between.into(),
            question: (question.into(), bare(&reply)),
            observation: (format!("{observation}{label}"), bare(&resume)),
            open,
            role,
            lead,
            writings,
            marks,
        })
    }

    /// What stands around the system message.
    pub(super) fn around_system(&self) -> (&str, &str) {
        (&self.open, &self.close)
    }

    /// What stands around a question, up to the reply.
    pub(super) fn around_question(&self) -> (&str, &str) {
        (&self.question.0, &self.question.1)
    }

    /// What stands around an observation, between two replies.
    pub(super) fn around_observation(&self) -> (&str, &str) {
        (&self.observation.0, &self.observation.1)
    }

    /// What stands between two exchanges.
    pub(super) fn between(&self) -> &str {
        &self.between
    }

    /// What a person or a tool said, without marks.
    pub(super) fn harmless(&self, text: &str) -> String {
        self.marks.harmless(text)
    }

    /// What somebody says, as the template writes it.
    pub(super) fn write(&self, speaker: Speaker, text: &str) -> String {
        self.writings.of(speaker).write(text)
    }

    /// What a reply begins with.
    pub(super) fn lead(&self) -> &'static str {
        self.lead
    }

    /// The role that observations have.
    pub fn tool_role(&self) -> &'static str {
        self.role
    }

    /// It is Meta's template for Llama-2, or one that writes the same marks.
    pub fn is_llama_2(&self) -> bool {
        self.open.contains("<<SYS>>") && self.question.1.contains("[/INST]")
    }
}

pub(super) fn unrenderable(error: impl std::fmt::Display) -> TemplateError {
    TemplateError::Unrenderable(error.to_string().lines().next().unwrap_or_default().into())
}

/// Text may be cut here: not inside a character, nor inside a mark in brackets,
/// which has to stay whole to be one token.
fn boundary(text: &str, at: usize) -> bool {
    if !text.is_char_boundary(at) {
        return false;
    }
    let (before, after) = text.split_at(at);
    ["<>", "[]"].iter().all(|pair| {
        let (open, close) = pair.split_at(1);
        let inside = |c: &char| open.contains(*c) || close.contains(*c);
        let opened = before.chars().rev().find(inside).is_some_and(|c| open.contains(c));
        let closed = after.chars().find(inside).is_some_and(|c| close.contains(c));
        !(opened && closed)
    })
}
