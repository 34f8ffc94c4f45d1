//! Where flags get their values: the command line, the environment, a file, or
//! their defaults, in this order; and `agent config`, which shows it.
//!
//! What the environment and the file say becomes the default of a flag before
//! clap reads the command line, so that it is checked and explained as if it
//! had been typed. `--config` and `--script` are for the command line alone: a
//! file cannot name itself, and a script replaces the model for one run.

mod file;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};

use super::args::{self, Cli, Color};
use super::exit::Exit;
use super::face::sink::Sink;
use super::{Failure, closest};

/// Flags that are not settings.
const ONLY_TYPED: [&str; 2] = ["config", "script"];

/// What is in force, and from where.
#[derive(Default)]
pub struct Config {
    /// The file that is read if it is there.
    path: Option<PathBuf>,
    given: HashMap<String, Given>,
    matches: ArgMatches,
}

/// A default that is not the program's own.
struct Given {
    value: OsString,
    from: String,
}

/// Reads the command line on top of the environment and the file.
///
/// # Errors
/// What clap reports, help and version included, and a file or a variable that
/// cannot be used.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Cli, Config), clap::Error> {
    let args: Vec<_> = args.into_iter().map(args::expression).collect();
    let command = args::command();
    let typed = command.clone().try_get_matches_from(&args);
    let typed = typed.map_err(|error| args::hint(error, &command, &args))?;
    let mut config = match typed.subcommand_name() {
        // A shell asks for these when it starts, whatever the file says.
        Some("completions" | "man") => Config::default(),
        _ => Config::read(&command, typed.get_one::<PathBuf>("config"))
            .map_err(|why| clap::Error::raw(ErrorKind::InvalidValue, format!("{why}\n")))?,
    };
    let mut command =
        command.mut_args(|arg| match arg.get_long().and_then(|l| config.given.get(l)) {
            Some(given) => arg.default_value(given.value.clone()).hide_default_value(true),
            None => arg,
        });
    config.matches = command.try_get_matches_from_mut(&args)?;
    let cli = Cli::from_arg_matches(&config.matches).map_err(|error| error.format(&mut command))?;
    Ok((cli, config))
}

impl Config {
    /// Reads the file that is named, or the user's own, and the environment.
    fn read(command: &Command, named: Option<&PathBuf>) -> Result<Self, String> {
        let variable = || env::var_os("AGENT_CONFIG").map(PathBuf::from);
        let named = named.cloned().or_else(variable);
        let path = match &named {
            // An empty name is no file at all.
            Some(path) => Some(path.clone()).filter(|path| !path.as_os_str().is_empty()),
            None => dirs::config_dir().map(|folder| folder.join("agent").join("config.toml")),
        };
        let mut config = Self { path, ..Self::default() };
        if let Some(path) = &config.path {
            let text = match fs::read_to_string(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                    String::new()
                }
                read => read.map_err(|error| {
                    format!("cannot read the configuration file {}: {error}", path.display())
                })?,
            };
            config.given = from_file(command, path, &text)?;
        }
        for arg in settings(command) {
            let flag = arg.get_long().unwrap_or_default();
            let name = variable_of(flag);
            if let Some(value) = env::var_os(&name).filter(|value| !value.is_empty()) {
                check(command, flag, &value).map_err(|why| format!("{name}: {why}"))?;
                let from = format!("environment, {name}");
                config.given.insert(flag.into(), Given { value, from });
            }
        }
        Ok(config)
    }

    /// The configuration file, and whether it is there.
    pub fn file(&self) -> String {
        match &self.path {
            Some(path) if path.exists() => path.display().to_string(),
            Some(path) => format!("{} (not there)", path.display()),
            None => "no file".into(),
        }
    }

    /// Prints every setting and where it comes from, as a configuration file.
    pub fn show(&self, color: Color) -> Result<Exit, Failure> {
        let mut out = Sink::stdout(color);
        out.text(&format!("# {}\n", self.file()))?;
        for arg in settings(&args::command()) {
            let (id, flag) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
            let line = match self.matches.get_raw(id).and_then(|mut values| values.next()) {
                Some(value) => format!("{flag} = {}", file::value(&value.to_string_lossy())),
                None => format!("# {flag} is not set"),
            };
            let typed = self.matches.value_source(id) == Some(ValueSource::CommandLine);
            let from = match self.given.get(flag) {
                _ if typed => "flag",
                Some(given) => &given.from,
                None => "default",
            };
            out.text(&format!("{line:<28} # {from}\n"))?;
        }
        Ok(Exit::Answered)
    }
}

/// The flags that have a place in the environment and the file.
fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_setting = |flag: &str| !ONLY_TYPED.contains(&flag);
    command.get_arguments().filter(move |arg| arg.get_long().is_some_and(is_setting))
}

/// The environment's name for a flag.
fn variable_of(flag: &str) -> String {
    format!("AGENT_{}", flag.to_uppercase().replace('-', "_"))
}

/// What a file says of flags that there are, with values that they take.
fn from_file(command: &Command, path: &Path, text: &str) -> Result<HashMap<String, Given>, String> {
    let path = path.display();
    let entries = file::parse(text).map_err(|why| format!("{path}: {why}"))?;
    let mut given = HashMap::new();
    for file::Entry { flag, value, line } in entries {
        let known = || settings(command).filter_map(Arg::get_long);
        let wrong = |why: String| format!("{path}, line {line}: {why}");
        if !known().any(|name| name == flag) {
            let hint = match closest(&flag, known()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "`agent config` lists all".into(),
            };
            return Err(wrong(format!("there is no setting {flag}; {hint}")));
        }
        check(command, &flag, OsStr::new(&value)).map_err(wrong)?;
        given.insert(flag, Given { value: value.into(), from: format!("file, line {line}") });
    }
    Ok(given)
}

/// Lets clap judge a value; what it says of it, if it is wrong.
fn check(command: &Command, flag: &str, value: &OsStr) -> Result<(), String> {
    let mut typed = OsString::from(format!("--{flag}="));
    typed.push(value);
    match command.clone().try_get_matches_from([OsStr::new("agent"), &typed]) {
        // What a flag needs beside it may come from elsewhere.
        Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
            let text = error.render().to_string();
            let text = text.split("\n\nFor more").next().unwrap_or_default();
            Err(text.trim_start_matches("error: ").trim().into())
        }
        _ => Ok(()),
    }
}
