//! What a chat template writes around messages, and how it writes what is in
//! them: found by rendering conversations of which every word is known.

use super::render::{Message, Renderer};
use super::template::{TemplateError, unrenderable};

/// What an escape would change, inside a message that says nothing else.
const PROBE: &str = "\"a\\b\nc'd<e>&é→f";

/// How what somebody says is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// As it is.
    Plain,
    /// As the inside of a JSON string, whose quotes are the frames' own.
    Json,
}

impl Writing {
    pub(super) fn write(self, text: &str) -> String {
        match self {
            Self::Plain => text.into(),
            Self::Json => {
                let quoted = serde_json::Value::from(text).to_string();
                quoted[1..quoted.len() - 1].into()
            }
        }
    }
}

/// How each speaker is written; None until it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Writings {
    system: Option<Writing>,
    person: Option<Writing>,
    tool: Option<Writing>,
}

impl Writings {
    pub(super) fn of(&self, speaker: Speaker) -> Writing {
        let found = match speaker {
            Speaker::System => self.system,
            Speaker::Person => self.person,
            Speaker::Tool => self.tool,
            Speaker::Model => None,
        };
        found.unwrap_or(Writing::Plain)
    }

    /// False if it was another before. Replies are plain: they stay the tokens
    /// that they are.
    fn note(&mut self, speaker: Speaker, writing: Writing) -> bool {
        let known = match speaker {
            Speaker::System => &mut self.system,
            Speaker::Person => &mut self.person,
            Speaker::Tool => &mut self.tool,
            Speaker::Model => return writing == Writing::Plain,
        };
        *known.get_or_insert(writing) == writing
    }
}

/// What a template writes between messages, by who spoke before and after.
pub(super) struct Gaps {
    /// Before the system message.
    pub open: String,
    /// From the system message to the first question.
    pub first: String,
    /// From a reply to the next question.
    pub next: String,
    /// From a question to the reply.
    pub reply: String,
    /// From a reply to an observation.
    pub observation: String,
    /// From an observation to the next reply.
    pub resume: String,
    pub writings: Writings,
}

/// Who speaks in the conversation that shows every gap, most of them twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    Person,
    Model,
    Tool,
}

/// What the template writes around the messages of a conversation in which
/// tools speak in the role `tool`. Without `system`, the system message opens
/// the first question.
///
/// # Errors
/// The template cannot be used for such a conversation.
pub(super) fn frames(
    renderer: &Renderer,
    tool: &'static str,
    system: bool,
) -> Result<Gaps, TemplateError> {
    use Speaker::{Model, Person, System, Tool};
    let speakers = [System, Person, Model, Tool, Model, Tool, Model, Person, Model, Person, Model];
    // Plain letters, which no escaping changes, and no two alike.
    let words: Vec<String> =
        (0..speakers.len()).map(|i| format!("Qx{}xQ", char::from(b'a' + i as u8))).collect();
    let conversation = |said: &dyn Fn(&str) -> String| -> Vec<Message> {
        let roles = speakers.iter().map(|speaker| match speaker {
            System => "system",
            Person => "user",
            Model => "assistant",
            Tool => tool,
        });
        let each = roles.zip(&words);
        let mut messages: Vec<Message> =
            each.map(|(role, word)| Message { role, content: said(word) }).collect();
        if !system {
            let opening = messages.remove(0);
            messages[0].content.insert_str(0, &format!("{}\n\n", opening.content));
        }
        messages
    };
    let messages = conversation(&|word| word.to_string());
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
    let probed = conversation(&|word| format!("{word}{PROBE}"));
    let probed = renderer.render(&probed, false).map_err(unrenderable)?;
    let mut rest = probed.strip_prefix(&whole[..places[0]]).ok_or(TemplateError::Alters)?;
    let mut writings = Writings::default();
    for (i, speaker) in speakers.into_iter().enumerate() {
        let end = places.get(i + 1).copied().unwrap_or(whole.len());
        let gap = &whole[places[i] + words[i].len()..end];
        let said = format!("{}{PROBE}", words[i]);
        let found = [Writing::Plain, Writing::Json].into_iter().find_map(|writing| {
            Some((writing, rest.strip_prefix(&writing.write(&said))?.strip_prefix(gap)?))
        });
        let Some((_, after)) = found.filter(|(writing, _)| writings.note(speaker, *writing)) else {
            return Err(TemplateError::Alters);
        };
        rest = after;
    }
    Ok(Gaps {
        open: whole[..places[0]].into(),
        first: gap(System, Person)?,
        next: gap(Model, Person)?,
        reply: gap(Person, Model)?,
        observation: gap(Model, Tool)?,
        resume: gap(Tool, Model)?,
        writings,
    })
}
