//! The form of one reply while it is made: which tokens may come next, and
//! which must.
//!
//! A reply always closes. `Form` knows how many tokens each kind of input can
//! need at most to come to its end from anywhere inside it, a token for every
//! byte; once no more than these are left, the shortest way to the end is the
//! only one. What is allowed is a function of the tokens so far and of the
//! room, so it does not matter how those tokens were come by.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{InferenceCapabilities, SimpleVob, TokEnv};
use llguidance::{Matcher, ParserFactory};

use super::grammar::{self, DEPTH, Frame};
use super::vocabulary::Vocabulary;
use crate::chat::reply::FINAL_ANSWER;
use crate::chat::{InputForm, ReplyForm, ToolForm};
use crate::llama::Tokenizer;

/// What most of a JSON string may be made of: tokens of it are looked up at
/// once wherever all of them are allowed.
const SLICE: &str = r#"[^"\\\x00-\x1F\x7F]+"#;

/// The longest expression that is begun to be closed, in bytes: half of what
/// the calculator reads, and more than any room of the usual size holds.
const LONGEST_EXPRESSION: usize = 2048;

/// Characters that lead out of an input, the shortest way first: the end of
/// the string, of a bracket, an argument more, an operand, the bracket of a
/// call; and the name that needs no tool.
const WAY_OUT: [&str; 6] = ["\"", ")", ",", "1", "(", "F"];

/// Forms of replies for one vocabulary.
pub struct Forms {
    factory: ParserFactory,
    environment: TokEnv,
    /// Those that were asked for, at their beginnings.
    built: Vec<Built>,
}

/// A form that was asked for before.
struct Built {
    lead: &'static str,
    tools: Vec<ToolForm>,
    frame: Arc<Frame>,
    matcher: Matcher,
}

impl Forms {
    /// # Errors
    /// A vocabulary that grammars cannot work with.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let environment: TokEnv = Arc::new(Vocabulary::new(tokenizer)?);
        let capabilities = InferenceCapabilities { ff_tokens: true, ..Default::default() };
        let mut factory = ParserFactory::new(&environment, capabilities, &[SLICE.to_string()])?;
        factory.quiet();
        Ok(Self { factory, environment, built: Vec::new() })
    }

    /// The form of a reply that calls one of the form's tools or is the final
    /// answer, in at most `room` tokens. The first time it is built, later only
    /// copied.
    ///
    /// # Errors
    /// A grammar that cannot be built.
    pub fn form(&mut self, form: &ReplyForm, room: usize) -> Result<Form> {
        let known = |built: &Built| built.lead == form.lead && built.tools == form.tools;
        let at = match self.built.iter().position(known) {
            Some(at) => at,
            None => {
                let built = self.build(form).context("the form of replies cannot be built")?;
                self.built.push(built);
                self.built.len() - 1
            }
        };
        let Built { tools, frame, matcher, .. } = &self.built[at];
        let mut inputs: Vec<(String, InputForm)> =
            tools.iter().map(|tool| (grammar::escaped(&tool.name), tool.input)).collect();
        inputs.push((FINAL_ANSWER.into(), InputForm::Text));
        Ok(Form {
            matcher: matcher.clone(),
            environment: self.environment.clone(),
            frame: frame.clone(),
            inputs,
            queue: VecDeque::new(),
            asked: false,
            text: Vec::new(),
            input: None,
            left: room,
        })
    }

    fn build(&self, form: &ReplyForm) -> Result<Built> {
        let grammar = TopLevelGrammar::from_lark(grammar::lark(form));
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        // The first mask finds what is wrong, and warms what later ones share.
        matcher.compute_mask()?;
        let frame = Arc::new(Frame::after(form.lead));
        Ok(Built { lead: form.lead, tools: form.tools.clone(), frame, matcher })
    }
}

/// The form of a reply in the making.
pub struct Form {
    matcher: Matcher,
    environment: TokEnv,
    frame: Arc<Frame>,
    /// Every name, as it is written, with the kind of its input.
    inputs: Vec<(String, InputForm)>,
    /// Tokens that must come next, and whether they were asked for already.
    queue: VecDeque<u32>,
    asked: bool,
    /// The bytes so far, and where in them the input starts.
    text: Vec<u8>,
    input: Option<(usize, InputForm)>,
    /// Tokens that still fit.
    left: usize,
}

/// The tokens that a place allows: a bit for each, 32 to a word from the lowest on.
pub struct Allowed(Vec<u32>);

impl Allowed {
    /// llguidance may keep notes of its own in bits past the last token's.
    fn new(tokens: SimpleVob) -> Self {
        let size = tokens.len();
        let mut words = Vec::from(tokens);
        words.truncate(size.div_ceil(32));
        if let (Some(last), bits @ 1..) = (words.last_mut(), size % 32) {
            *last &= (1 << bits) - 1;
        }
        Self(words)
    }

    /// The words of bits.
    pub fn words(&self) -> &[u32] {
        &self.0
    }

    /// Whether it allows `id`.
    pub fn has(&self, id: u32) -> bool {
        self.0.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
    }
}

impl Form {
    /// The token that must come next, if only one can: part of what the form
    /// leaves no choice about, split as the tokenizer splits it.
    pub fn forced(&mut self) -> Option<u32> {
        if self.queue.is_empty() && !self.asked {
            self.asked = true;
            self.queue = self.matcher.compute_ff_tokens().into();
        }
        self.queue.front().copied()
    }

    /// The tokens that may come next.
    ///
    /// # Errors
    /// The grammar failed.
    pub fn allowed(&mut self) -> Result<Allowed> {
        let forced = self.forced();
        let trie = self.environment.tok_trie();
        if let Some(id) = forced {
            return Ok(Allowed::new(trie.singleton_token_set(id)));
        }
        let allowed = self.matcher.compute_mask().map_err(|error| first_line(&error))?;
        if !self.closing() {
            return Ok(Allowed::new(allowed));
        }
        let out = WAY_OUT.iter().filter_map(|way| trie.token_id_at_bytes(way.as_bytes()));
        let single = || allowed.iter().find(|id| trie.token_len(*id) == 1);
        let out = out.into_iter().find(|id| allowed.is_allowed(*id)).or_else(single);
        Ok(Allowed::new(out.map_or(allowed, |id| trie.singleton_token_set(id))))
    }

    /// Goes on with a token that is allowed.
    ///
    /// # Errors
    /// The token is not allowed.
    pub fn push(&mut self, id: u32) -> Result<()> {
        self.matcher.consume_token(id).map_err(|error| first_line(&error))?;
        if self.queue.front() == Some(&id) {
            self.queue.pop_front();
        } else {
            self.queue.clear();
        }
        self.asked = false;
        self.text.extend_from_slice(self.environment.tok_trie().token(id));
        self.left = self.left.saturating_sub(1);
        if self.input.is_none() {
            self.input = self.find_input();
        }
        Ok(())
    }

    /// Cuts a guess at the next tokens where the form does not allow them.
    ///
    /// # Errors
    /// The grammar failed.
    pub fn cut(&mut self, guess: &mut Vec<u32>) -> Result<()> {
        let trie = self.environment.tok_trie();
        let text = guess
            .iter()
            .take_while(|id| (**id as usize) < trie.vocab_size() && !trie.token(**id).is_empty());
        guess.truncate(text.count());
        let valid = self.matcher.validate_tokens(guess).map_err(|error| first_line(&error))?;
        guess.truncate(valid);
        Ok(())
    }

    /// Where the input starts, once its name and what follows it is written.
    fn find_input(&self) -> Option<(usize, InputForm)> {
        let name = self.frame.open.len();
        let text = self.text.get(name..)?;
        self.inputs.iter().find_map(|(written, input)| {
            let rest = text.strip_prefix(written.as_bytes())?;
            rest.starts_with(self.frame.between.as_bytes())
                .then_some((name + written.len() + self.frame.between.len(), *input))
        })
    }

    /// No more is left than the way to the end may need.
    fn closing(&self) -> bool {
        match self.input {
            Some((start, input)) => {
                let long =
                    input == InputForm::Arithmetic && self.text.len() - start > LONGEST_EXPRESSION;
                long || self.left <= self.way_out(input)
            }
            None => {
                let way = |(name, input): &(String, InputForm)| {
                    name.len() + self.frame.between.len() + self.way_out(*input)
                };
                self.left <= self.inputs.iter().map(way).max().unwrap_or(0)
            }
        }
    }

    /// The most bytes from anywhere in an input to the end of the reply.
    fn way_out(&self, input: InputForm) -> usize {
        let inside = match input {
            // The rest of a character of four bytes, or a letter after `\`.
            InputForm::Text => 3,
            // The rest of a name with its bracket, an operand, and in every
            // bracket an argument more.
            InputForm::Arithmetic => "factorial(".len() + 2 + ",1)".len() * DEPTH,
        };
        inside + self.frame.close.len()
    }
}

/// An error without the state of the parser, which llguidance adds to it.
fn first_line(error: &anyhow::Error) -> anyhow::Error {
    let text = error.to_string();
    anyhow!("the form of the reply failed: {}", text.lines().next().unwrap_or_default())
}
