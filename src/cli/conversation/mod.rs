//! Conversation files: plain text, one case each, that say what is asked and
//! what is expected, and may say what the model replies.

mod check;
mod expect;
pub mod junit;
mod parse;
mod record;
pub mod run;
pub mod save;
pub mod settings;

pub use parse::parse;
pub use record::Record;
pub use settings::Settings;

use expect::Expected;

/// The format, in short, for `agent test --help`; `examples/README.md` has it
/// at length.
pub const HELP: &str = "\
Conversation files are plain text, one case each:

  # The first comment is the case's title.
  memory: 5                        options come first: memory, max-steps, max-time,
                                   max-new-tokens, context, dialect, system, strict,
                                   temperature, top-p, top-k, repeat-penalty, seed
  > what is 4 to the power of 2.1? a question begins a turn
  < {\"action\": \"Calculator\",       replies, if the model is to be scripted; a blank
  <  \"action_input\": \"4**2.1\"}     line separates two of them

  < {\"action\": \"Final Answer\", \"action_input\": \"It is 18.37917367995256.\"}
  call: Calculator 4**2.1          then what is expected of the turn, in any order

  call: TOOL [INPUT]    the next call: any input, this text (spaces aside), /a pattern/,
                        or ~ 4**2.1 for any expression of the same value; `call: none`
  observation: TEXT     what the next call gave: this text or /a pattern/
  error: TEXT           the same, and it was an error
  answer: TEXT          the answer is this text, or matches /a pattern/ (`not answer:`)
  number: N [± T]       a number in the answer is N, give or take T
  steps: N | A-B        how many replies the turn took
  repairs: NAME, … | none
  unreadable: NAME, … | none
  stopping: steps | time | repeated | none
  forgot: QUESTION      the next exchange that left memory; `forgot: none`
  outcome: answered (the default) | no answer [steps|time|repeated|unreadable]
           | does not fit
  prompt: /PATTERN/     what the model will have read before the next question
                        (`not prompt:`)

`context: +600` is 600 tokens more than the system message takes. With scripted
replies a byte counts as a token.";

/// One case.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The first comment, if there is one.
    pub title: String,
    pub settings: Settings,
    pub turns: Vec<Turn>,
}

/// One question and what is expected of its turn.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// The line of the question, from 1.
    pub line: usize,
    pub question: String,
    /// What the model replies, if it is scripted.
    pub replies: Vec<String>,
    pub expected: Vec<Expected>,
}

impl Conversation {
    /// Replies are written in the file: no model is needed.
    pub fn is_scripted(&self) -> bool {
        self.turns.iter().any(|turn| !turn.replies.is_empty())
    }
}
