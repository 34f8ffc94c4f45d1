//! The command line: the only module that knows clap, rustyline and exit
//! codes. It puts the parts together, feeds questions to an agent, and shows
//! what the agent reports.

pub mod args;
mod ask;
mod cache;
mod chat;
mod config;
pub mod conversation;
mod disk;
mod doctor;
pub mod exit;
pub mod face;
pub mod fit;
mod interrupt;
mod kept;
pub mod machine;
mod model;
mod models;
mod pull;
mod quantize;
mod remote;
mod repl;
mod session;
mod shell;
mod source;
mod template;
mod test;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use args::{Cli, Command};
use exit::Exit;

/// An error that ends the program, and its exit code.
struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Failed, error: error.into() }
    }
}

impl Failure {
    fn usage(what: impl std::fmt::Display) -> Self {
        Self { exit: Exit::Usage, error: anyhow::anyhow!("{what}") }
    }

    fn no_model(error: anyhow::Error) -> Self {
        Self { exit: Exit::NoModel, error }
    }

    /// Whoever read the output has seen enough: no error.
    fn is_closed_pipe(&self) -> bool {
        let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(closed))
    }
}

/// The program: parses the command line, runs it, and says how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (cli, config) = match config::parse(args) {
        Ok(parsed) => parsed,
        // Help and version are not errors, but clap reports them like one.
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Answered }.into();
        }
    };
    let Cli { shared, command } = cli;
    let result = match command.unwrap_or(Command::Chat) {
        Command::Chat => chat::run(&shared),
        Command::Ask { question } => ask::run(&shared, &question),
        Command::Cache { command } => cache::run(&shared, command),
        Command::Quantize(args) => quantize::run(&shared, &args),
        Command::Completions { shell } => shell::completions(shell),
        Command::Config => config.show(shared.face.color),
        Command::Doctor => doctor::run(&shared, &config),
        Command::Man { out } => shell::man(out.as_deref()),
        Command::Models => models::run(&shared),
        Command::Pull { name, remove_source } => pull::run(&shared, &name, remove_source),
        Command::Test { files, junit } => test::run(&shared, &files, junit.as_deref()),
    };
    match result {
        Ok(exit) => exit,
        Err(failure) if failure.is_closed_pipe() => Exit::Answered,
        Err(Failure { exit, error }) => {
            // Nowhere to report to is no reason to fail differently.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            exit
        }
    }
    .into()
}

/// The name that was probably meant: most of it is the same.
fn closest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// A path with `~/` at its start is in the home folder.
fn home(file: &str) -> PathBuf {
    match (file.strip_prefix("~/"), dirs::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => file.into(),
    }
}
