//! The command line, as clap reads it.

mod value;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::value::{at_least_one, repeat_penalty, temperature, time, top_p};
use super::quantize::QuantizeArgs;
use super::{conversation, exit};
use crate::agent::Options;
use crate::chat::Sampling;
use crate::decode::Switches;

/// An agent that runs a chat model on this machine and uses tools.
///
/// Without a command it chats: questions are typed at a prompt, or read from
/// standard input, one a line.
#[derive(Debug, Parser)]
#[command(name = "agent", version, after_help = exit::HELP)]
pub struct Cli {
    #[command(flatten)]
    pub shared: Shared,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Chat: type questions at a prompt, or pipe them in, one a line (the default).
    #[command(after_help = exit::HELP)]
    Chat,
    /// Answer one question; the answer alone is printed on standard output.
    #[command(after_help = exit::HELP)]
    Ask {
        /// The question; several words are joined by spaces, `-` reads standard input.
        #[arg(required = true, value_name = "QUESTION", allow_negative_numbers = true)]
        question: Vec<String>,
    },
    /// Run conversation files and check what is expected in them.
    #[command(after_help = exit::HELP, after_long_help = format!("{}\n\n{}", conversation::HELP, exit::HELP))]
    Test {
        /// The conversation files, one case each.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write a JUnit report here as well.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Turn a Hugging Face folder of a Llama into one quantized model file.
    Quantize(QuantizeArgs),
    /// Look at or clear what is kept between runs: snapshots of what models
    /// made of the system message, so that they need not read it again.
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
}

/// What `agent cache` does.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum CacheCommand {
    /// List the snapshots, the last used first.
    List,
    /// Remove every snapshot.
    Clear,
}

/// Flags that every command takes, before or after its name.
#[derive(Clone, Debug, Args)]
pub struct Shared {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub prompt: PromptArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub decode: DecodeArgs,
    #[command(flatten)]
    pub face: FaceArgs,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// A Llama model file (GGUF), or the address of an engine elsewhere
    /// (http://host:port/v1); without it, the model built into the program.
    #[arg(long, global = true, value_name = "PATH.gguf|URL")]
    pub model: Option<PathBuf>,
    /// Which model of an engine elsewhere (default: the only one it has). The key
    /// that such an engine may ask for is read from AGENT_API_KEY.
    #[arg(long, global = true, value_name = "NAME")]
    pub remote_model: Option<String>,
    /// A tokenizer.json to use instead of the tokenizer in the model file.
    #[arg(long, global = true, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens that fit, prompt and reply together (default: what the model was made for).
    #[arg(long, global = true, value_name = "TOKENS", value_parser = at_least_one)]
    pub context: Option<usize>,
    /// Replay replies from a file instead of running a model, for scripts and
    /// tests: replies separated by lines `---`, or a conversation file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "model",
        hide_short_help = true
    )]
    pub script: Option<PathBuf>,
    /// Neither use nor write snapshots: read the system message every time.
    #[arg(long, global = true)]
    pub no_snapshot: bool,
    /// Keep snapshots in this folder instead of the user's cache folder.
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub snapshots: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Prompt")]
pub struct PromptArgs {
    /// How the conversation is written down for the model (default: as its
    /// file says, react where it says nothing).
    #[arg(long, global = true, value_enum)]
    pub dialect: Option<DialectName>,
    /// Use the prompts in this folder instead of those built in.
    #[arg(long, global = true, value_name = "DIR")]
    pub prompts: Option<PathBuf>,
    /// Add a persona to the system message ("you are a pirate").
    #[arg(long, global = true, value_name = "TEXT")]
    pub system: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DialectName {
    /// `User:`, `Assistant:` and `Observation:` lines.
    React,
    /// Meta's Llama-2 chat template.
    #[value(name = "llama-2")]
    Llama2,
    /// The chat template in the model's own file.
    Template,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Turn")]
pub struct LimitArgs {
    /// Exchanges to remember (default: 5).
    #[arg(long, global = true, value_name = "EXCHANGES")]
    pub memory: Option<usize>,
    /// Replies in a turn before the model must answer (default: 15).
    #[arg(long, global = true, value_name = "STEPS", value_parser = at_least_one)]
    pub max_steps: Option<usize>,
    /// Time for a turn before the model must answer: 30, 1.5, 90s, 2m (default: no limit).
    #[arg(long, global = true, value_name = "SECONDS", value_parser = time)]
    pub max_time: Option<Duration>,
    /// Tokens in a reply (default: 512).
    #[arg(long, global = true, value_name = "TOKENS", value_parser = at_least_one)]
    pub max_new_tokens: Option<usize>,
    /// Read replies strictly: repair nothing.
    #[arg(long, global = true)]
    pub strict: bool,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 chooses the most probable token (default: 0).
    #[arg(long, global = true, value_name = "T", value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: Option<f64>,
    /// Choose among the most probable tokens that reach this probability (default: 1, all).
    #[arg(long, global = true, value_name = "P", value_parser = top_p, allow_negative_numbers = true)]
    pub top_p: Option<f64>,
    /// Choose among this many of the most probable tokens (default: 0, all).
    #[arg(long, global = true, value_name = "K")]
    pub top_k: Option<usize>,
    /// Make words that were used less probable (default: 1.1; 1 is off).
    #[arg(long, global = true, value_name = "X", value_parser = repeat_penalty, allow_negative_numbers = true)]
    pub repeat_penalty: Option<f32>,
    /// The seed of the randomness (default: 0).
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Decoding")]
pub struct DecodeArgs {
    /// Let the model write what it likes, not only replies that can be read.
    #[arg(long, global = true)]
    pub no_grammar: bool,
    /// Ask the model for every token, also where its form leaves one alone.
    #[arg(long, global = true)]
    pub no_force: bool,
    /// Tokens to guess ahead and have confirmed at once, at most (default: 8; 0 is off).
    #[arg(long, global = true, value_name = "N")]
    pub draft: Option<usize>,
    /// Process the whole prompt anew for every reply.
    #[arg(long, global = true)]
    pub no_cache: bool,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct FaceArgs {
    /// Show steps, replies, calls and observations on standard error.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print one event a line, as JSON (ask and chat).
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colour; `auto` looks for a terminal and at NO_COLOR.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

impl Shared {
    /// The agent's options: the defaults, changed by the flags that were given.
    pub fn options(&self) -> Options {
        let default = Options::default();
        let (limits, sampling) = (&self.limits, &self.sampling);
        Options {
            max_steps: limits.max_steps.unwrap_or(default.max_steps),
            max_time: limits.max_time.or(default.max_time),
            max_new_tokens: limits.max_new_tokens.unwrap_or(default.max_new_tokens),
            memory: limits.memory.unwrap_or(default.memory),
            strict: limits.strict || default.strict,
            sampling: Sampling {
                temperature: sampling.temperature.unwrap_or(default.sampling.temperature),
                top_p: sampling.top_p.unwrap_or(default.sampling.top_p),
                top_k: sampling.top_k.unwrap_or(default.sampling.top_k),
                repeat_penalty: sampling.repeat_penalty.unwrap_or(default.sampling.repeat_penalty),
                seed: sampling.seed.unwrap_or(default.sampling.seed),
            },
        }
    }
}

impl DecodeArgs {
    /// How a model on this machine decodes.
    pub fn switches(&self) -> Switches {
        let default = Switches::default();
        Switches {
            form: !self.no_grammar,
            force: !self.no_force,
            draft: self.draft.unwrap_or(default.draft),
            cache: !self.no_cache,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (flag, values) in [
            ("--max-steps", &["0", "-1", "x", ""][..]),
            ("--max-time", &["0", "-1", "inf", "NaN", "1e300", "s", "1h", "1mm"]),
            ("--temperature", &["-0.1", "NaN", "inf"]),
            ("--top-p", &["0", "1.1", "-1", "NaN"]),
            ("--repeat-penalty", &["0", "-1", "NaN", "1e-60", "1e60"]),
            ("--context", &["0"]),
            ("--seed", &["x"]),
        ] {
            for value in values {
                let given = format!("{flag}={value}");
                let error = Cli::try_parse_from(["agent", "chat", given.as_str()]);
                assert_eq!(error.err().map(|e| e.exit_code()), Some(2), "{given}");
            }
        }
    }

    #[test]
    fn values_in_range_reach_the_options() {
        let line = "agent --max-time 2m ask -v --temperature 0.5 --top-p 1 why --strict -2";
        let cli = Cli::try_parse_from(line.split(' ')).expect("a valid command line");
        let options = cli.shared.options();
        assert_eq!(options.max_time, Some(Duration::from_secs(120)));
        assert_eq!((options.sampling.temperature, options.sampling.repeat_penalty), (0.5, 1.1));
        assert!(options.strict && cli.shared.face.verbose);
        let Some(Command::Ask { question }) = cli.command else { panic!("not ask") };
        assert_eq!(question, ["why", "-2"]);
    }
}
