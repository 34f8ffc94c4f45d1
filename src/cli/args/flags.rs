//! Flags that every command takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::value::{Device, at_least_one, device, repeat_penalty, temperature, time, top_p};
use crate::agent::Options;
use crate::chat::Sampling;
use crate::decode::Switches;
use crate::llama::CacheType;

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
    /// Take the flags' defaults from this file instead of the user's own
    /// (`agent config` names it). AGENT_CONFIG in the environment does the same,
    /// and AGENT_MAX_STEPS, say, sets the default of --max-steps.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// A Llama model file (GGUF); a model that was pulled, by its short name or
    /// OWNER/REPO[:FILE]; or the address of an engine elsewhere
    /// (http://host:port/v1). Without it, the model built into the program.
    #[arg(long, global = true, value_name = "PATH.gguf|NAME|URL")]
    pub model: Option<PathBuf>,
    /// The quantization of a model of the hub (default: Q4_0, or another of 4 bits).
    #[arg(long, global = true, value_name = "Q")]
    pub quant: Option<String>,
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
    /// Where a model of this machine runs: `cpu`; `cuda`, the first NVIDIA GPU;
    /// `cuda:N`, another, from 0; or `auto`, a GPU that has the memory for the
    /// model and its context, if the model is not so small that it is quick anyway.
    #[arg(long, global = true, value_name = "auto|cpu|cuda[:N]", value_parser = device, default_value_t = Device::Auto)]
    pub device: Device,
    /// Layers on the GPU, the first so many; the rest run on the CPU, and so does
    /// all with --device cpu (default: all of them).
    #[arg(long, global = true, value_name = "N", value_parser = at_least_one)]
    pub gpu_layers: Option<usize>,
    /// How keys and values are kept: `q8_0` takes 53% of the memory of `f16`, which
    /// takes half of that of `f32`; `auto` is f16 on a GPU and for models of more
    /// than 512 MiB in f32, else f32.
    #[arg(long, global = true, value_name = "auto|f32|f16|q8_0", hide_possible_values = true,
          value_enum, default_value_t = CacheName::Auto)]
    pub cache_type: CacheName,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CacheName {
    /// What each engine takes by itself.
    Auto,
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
}

impl CacheName {
    /// The type that is asked for; None leaves it to the engine.
    pub fn asked(self) -> Option<CacheType> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(CacheType::F32),
            Self::F16 => Some(CacheType::F16),
            Self::Q8_0 => Some(CacheType::Q8_0),
        }
    }
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
    /// Exchanges to remember.
    #[arg(long, global = true, value_name = "EXCHANGES", default_value_t = Options::default().memory)]
    pub memory: usize,
    /// Replies in a turn before the model must answer.
    #[arg(long, global = true, value_name = "STEPS", value_parser = at_least_one, default_value_t = Options::default().max_steps)]
    pub max_steps: usize,
    /// Time for a turn before the model must answer: 30, 1.5, 90s, 2m (default: no limit).
    #[arg(long, global = true, value_name = "SECONDS", value_parser = time)]
    pub max_time: Option<Duration>,
    /// Tokens in a reply.
    #[arg(long, global = true, value_name = "TOKENS", value_parser = at_least_one, default_value_t = Options::default().max_new_tokens)]
    pub max_new_tokens: usize,
    /// Read replies strictly: repair nothing.
    #[arg(long, global = true)]
    pub strict: bool,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 chooses the most probable token.
    #[arg(long, global = true, value_name = "T", value_parser = temperature, allow_negative_numbers = true, default_value_t = Sampling::default().temperature)]
    pub temperature: f64,
    /// Choose among the most probable tokens that reach this probability; 1 is all.
    #[arg(long, global = true, value_name = "P", value_parser = top_p, allow_negative_numbers = true, default_value_t = Sampling::default().top_p)]
    pub top_p: f64,
    /// Choose among this many of the most probable tokens; 0 is all.
    #[arg(long, global = true, value_name = "K", default_value_t = Sampling::default().top_k)]
    pub top_k: usize,
    /// Make words that were used less probable; 1 is off.
    #[arg(long, global = true, value_name = "X", value_parser = repeat_penalty, allow_negative_numbers = true, default_value_t = Sampling::default().repeat_penalty)]
    pub repeat_penalty: f32,
    /// The seed of the randomness.
    #[arg(long, global = true, value_name = "N", default_value_t = Sampling::default().seed)]
    pub seed: u64,
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
    /// Tokens to guess ahead and have confirmed at once, at most; 0 is off.
    #[arg(long, global = true, value_name = "N", default_value_t = Switches::default().draft)]
    pub draft: usize,
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
        let (limits, sampling) = (&self.limits, &self.sampling);
        Options {
            max_steps: limits.max_steps,
            max_time: limits.max_time,
            max_new_tokens: limits.max_new_tokens,
            memory: limits.memory,
            strict: limits.strict,
            sampling: Sampling {
                temperature: sampling.temperature,
                top_p: sampling.top_p,
                top_k: sampling.top_k,
                repeat_penalty: sampling.repeat_penalty,
                seed: sampling.seed,
            },
        }
    }
}

impl DecodeArgs {
    /// How a model on this machine decodes.
    pub fn switches(&self) -> Switches {
        Switches {
            form: !self.no_grammar,
            force: !self.no_force,
            draft: self.draft,
            cache: !self.no_cache,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command, command};

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
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
            ("--device", &["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"]),
            ("--gpu-layers", &["0", "all"]),
            ("--cache-type", &["", "q4_0", "Q8_0", "8"]),
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
