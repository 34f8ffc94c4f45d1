//! The command line, as clap reads it.

mod flags;
mod hint;
mod value;

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub use self::flags::{Color, DecodeArgs, DialectName, FaceArgs, ModelArgs, Shared};
pub use self::hint::{expression, hint};
pub use self::value::{at_least_one, repeat_penalty, temperature, time, top_p};
use super::quantize::QuantizeArgs;
use super::{conversation, exit};

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
    /// Download a model of the Hugging Face hub and print where it is. Goes on
    /// where an earlier download stopped.
    Pull {
        /// llama-2-7b-chat, llama-2-13b-chat, llama-2-70b-chat, or
        /// OWNER/REPO[:FILE] of the hub.
        #[arg(value_name = "NAME")]
        name: String,
        /// Of a model in half precision, which is quantized here, remove the
        /// downloaded weights afterwards.
        #[arg(long)]
        remove_source: bool,
    },
    /// Look at or clear what is kept between runs: snapshots of what models
    /// made of the system message, so that they need not read it again.
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// List models, in the box, pulled and known by a short name, and say which
    /// fit this machine.
    Models,
    /// Say what this machine has, what is kept on it, and which Llama-2 chat
    /// model it can run.
    Doctor,
    /// Show the flags that are in force and where each comes from: the command
    /// line, the environment, the configuration file, or its default. What is
    /// shown is a configuration file itself.
    Config,
    /// Print a completion script for a shell.
    Completions { shell: Shell },
    /// Print the manual page, or write those of all commands into a folder.
    Man {
        /// The folder.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
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

/// The command line as clap knows it. Switches can be turned off too
/// (`--strict=false`): the environment or a file may have turned them on.
pub fn command() -> clap::Command {
    Cli::command().mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("false")
            .value_parser(BoolishValueParser::new())
            .default_missing_value("true")
            .default_value("false")
            .hide_possible_values(true)
            .hide_default_value(true),
        _ => arg,
    })
}
