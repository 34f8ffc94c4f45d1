//! A model file's own chat template, cut into frames.
//!
//! The template is rendered once, with placeholders for what persons, tools
//! and the model say; what stands between these are the frames. So only the
//! template's own text is ever read for control tokens. Refuses a template
//! that rewrites what it wrote: each prompt must begin with the one before.

use super::harmless::Marks;
use super::render::{Message, Renderer};

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
        let Gaps { mut open, first, next, reply, observation, resume } = gaps;
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
        let lead = if role == "user" { "Observation:" } else { "" };
        let all = [&*open, &*first, &*next, &*reply, &*observation, &*resume];
        let marks = Marks::new(all).map_err(unrenderable)?;
        // A reply begins with a space of its own.
        let bare = |text: &str| text.strip_suffix(' ').unwrap_or(text).to_string();
        Ok(Self {
            close: close.into(),
            between: between.into(),
            question: (question.into(), bare(&reply)),
            observation: (format!("{observation}{lead}"), bare(&resume)),
            open,
            role,
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

    /// The role that observations have.
    pub fn tool_role(&self) -> &'static str {
        self.role
    }

    /// It is Meta's template for Llama-2, or one that writes the same marks.
    pub fn is_llama_2(&self) -> bool {
        self.open.contains("<<SYS>>") && self.question.1.contains("[/INST]")
    }
}

fn unrenderable(error: impl std::fmt::Display) -> TemplateError {
    TemplateError::Unrenderable(error.to_string().lines().next().unwrap_or_default().into())
}

/// What a template writes between messages, by who spoke before and after.
struct Gaps {
    open: String,
    /// From the system message to the first question.
    first: String,
    /// From a reply to the next question.
    next: String,
    /// From a question to the reply.
    reply: String,
    /// From a reply to an observation.
    observation: String,
    /// From an observation to the next reply.
    resume: String,
}

/// Who speaks in the conversation that shows every gap, most of them twice.
#[derive(Clone, Copy, PartialEq)]
enum Speaker {
    System,
    Person,
    Model,
    Tool,
}

fn frames(renderer: &Renderer, tool: &'static str, system: bool) -> Result<Gaps, TemplateError> {
    use Speaker::{Model, Person, System, Tool};
    let speakers = [System, Person, Model, Tool, Model, Tool, Model, Person, Model, Person, Model];
    // Plain letters, which no escaping changes, and no two alike.
    let words: Vec<String> =
        (0..speakers.len()).map(|i| format!("Qx{}xQ", char::from(b'a' + i as u8))).collect();
    let mut messages: Vec<Message> = speakers
        .iter()
        .zip(&words)
        .map(|(speaker, word)| {
            let role = match speaker {
                System => "system",
                Person => "user",
                Model => "assistant",
                Tool => tool,
            };
            Message { role, content: word.clone() }
        })
        .collect();
    if !system {
        let opening = messages.remove(0);
        messages[0].content.insert_str(0, &format!("{}\n\n", opening.content));
    }
    let whole = renderer.render(&messages, false).map_err(unrenderable)?;
    let mut places = Vec::new();
    for word in &words {
        let mut found = whole.match_indices(word.as_str());
        match (found.next(), found.next()) {
            (Some((at, _)), None) if places.last().is_none_or(|last| *last < at) => places.push(at),
            _ => return Err(TemplateError::Alters),
        }
    }
    // Message by message: the words of the system may be in the first.
    let shift = speakers.len() - messages.len();
    for count in 1..messages.len() {
        let written = match speakers[count - 1 + shift] {
            System => continue,
            Model => {
                let written = renderer.render(&messages[..count], false).map_err(unrenderable)?;
                whole.starts_with(&written)
            }
            Person | Tool => {
                let written = renderer.render(&messages[..count], true).map_err(unrenderable)?;
                whole[..places[count + shift]].starts_with(&written)
            }
        };
        if !written {
            return Err(TemplateError::Rewrites);
        }
    }
    let gap = |from: Speaker, to: Speaker| {
        let mut gaps = (1..speakers.len())
            .filter(|at| (speakers[at - 1], speakers[*at]) == (from, to))
            .map(|at| &whole[places[at - 1] + words[at - 1].len()..places[at]]);
        let first = gaps.next().unwrap_or_default();
        if gaps.all(|gap| gap == first) {
            Ok(first.to_string())
        } else {
            Err(TemplateError::Uneven)
        }
    };
    Ok(Gaps {
        open: whole[..places[0]].into(),
        first: gap(System, Person)?,
        next: gap(Model, Person)?,
        reply: gap(Person, Model)?,
        observation: gap(Model, Tool)?,
        resume: gap(Tool, Model)?,
    })
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
