//! Tries every question of a family, and whether the form of replies lets the
//! model write what it is to learn.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use llama_agent::chat::{Dialect, InputForm, ToolForm};
use llama_agent::decode::Forms;
use llama_agent::llama::{Gguf, Tokenizer};

use super::conversation::conversation;
use super::family::Family;
use super::hand::Hand;
use super::noise;
use super::phrases::Phrases;
use super::rng::Rng;
use super::slot::{Slots, Value, fill};
use super::system::System;
use super::turn::{Turn, turn};
use super::wording::ask;

/// Tokens that a reply has room for by default.
const LONGEST: usize = 512;

/// Asks every question of a family, and the ways to ask again, `show` times
/// each on paper and a few times unseen.
pub fn check(
    family: &Family,
    phrases: &Phrases,
    form: &mut Form,
    show: usize,
    out: &mut impl std::io::Write,
) -> Result<()> {
    const TRIES: usize = 20;
    let mut rng = Rng::at(7, family.name.len() as u64);
    let mut known = Slots::new();
    if family.follows {
        known.insert("last".into(), Value::plain("37.5"));
        known.insert("before".into(), Value::plain("12"));
        known.insert("expression".into(), Value::plain("25*1.5"));
    }
    if show > 0 {
        writeln!(out, "## {}", family.name)?;
    }
    for round in 0..TRIES.max(show) {
        let hand = Hand::choose(&mut rng);
        if family.follows && round > show {
            known.insert(
                "last".into(),
                Value::plain(rng.pick(&["64", "9", "100", "2.5"]).to_string()),
            );
        }
        let Some(slots) = fill(family, phrases, &known, hand, &mut rng)? else {
            if round < 3 {
                continue;
            }
            if family.follows {
                break;
            }
            bail!("its needs are hardly ever met");
        };
        for part in &family.parts {
            for (which, pattern) in part.asks.iter().enumerate() {
                let question = ask(pattern, &slots, &mut rng)?;
                let question = noise::typed(&question, family, phrases, &mut rng)?;
                let turn = turn(family, part, question, which, &mut slots.clone(), hand)?;
                if let (Some(turn), true) = (&turn, round < 4) {
                    form.admits(turn)?;
                }
                if let (Some(turn), true) = (turn, round < show) {
                    writeln!(out, "{}", turn.question)?;
                    for call in &turn.calls {
                        writeln!(out, "    {}: {} -> {}", call.tool, call.input, call.observation)?;
                    }
                    writeln!(out, "    {}", turn.answer)?;
                }
            }
        }
    }
    Ok(())
}

/// Draws conversations and sees that all their replies keep to the form.
///
/// # Errors
/// The first that does not.
pub fn drawn(phrases: &Phrases, form: &mut Form) -> Result<()> {
    const COUNT: u64 = 2000;
    let tools = System::shipped().tools;
    for index in 0..COUNT {
        for turn in &conversation(phrases, &tools, &mut Rng::at(11, index))?.turns {
            form.admits(turn)?;
        }
    }
    Ok(())
}

/// The form that replies are held to.
pub struct Form {
    tokenizer: Arc<Tokenizer>,
    forms: Forms,
}

impl Form {
    /// For the vocabulary of a GGUF file.
    ///
    /// # Errors
    /// A file that holds none.
    pub fn open(vocabulary: &Path) -> Result<Self> {
        let gguf = Gguf::open(vocabulary)
            .with_context(|| format!("cannot read the vocabulary {}", vocabulary.display()))?;
        let tokenizer = Arc::new(Tokenizer::from_gguf(&gguf)?);
        Ok(Self { forms: Forms::new(tokenizer.clone())?, tokenizer })
    }

    /// Whether every reply of the turn can be written.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn admits(&mut self, turn: &Turn) -> Result<()> {
        let mut tools = vec![ToolForm { name: "Calculator".into(), input: InputForm::Arithmetic }];
        for call in &turn.calls {
            if tools.iter().all(|tool| tool.name != call.tool) {
                tools.push(ToolForm { name: call.tool.clone(), input: InputForm::Text });
            }
        }
        let form = Dialect::React.form(tools);
        for reply in turn.replies() {
            let ids = self.tokenizer.encode(&reply, false, false);
            ensure!(ids.len() <= LONGEST, "too long a reply to \"{}\": {reply}", turn.question);
            let mut guess = ids.clone();
            self.forms.form(&form, LONGEST)?.cut(&mut guess)?;
            if guess.len() < ids.len() {
                let written = self.tokenizer.decode(&guess);
                let written = String::from_utf8_lossy(&written);
                bail!("the form stops \"{}\" after {written}", turn.question);
            }
        }
        Ok(())
    }
}
