//! The options at the top of a conversation file.

use std::time::Duration;

use clap::ValueEnum;

use crate::agent::Options;
use crate::cli::args::{self, DialectName};
use crate::cli::face::words;

/// Options that a file sets; what it does not name is as the command line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub memory: Option<usize>,
    pub max_steps: Option<usize>,
    pub max_time: Option<Duration>,
    pub max_new_tokens: Option<usize>,
    pub context: Option<Room>,
    pub dialect: Option<DialectName>,
    pub system: Option<String>,
    pub strict: Option<bool>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<usize>,
    pub repeat_penalty: Option<f32>,
    pub seed: Option<u64>,
}

/// How many tokens fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Prompt and reply together.
    Total(usize),
    /// What is left beside the system message.
    BesideSystem(usize),
}

/// The names of the options.
pub const NAMES: [&str; 13] = [
    "memory",
    "max-steps",
    "max-time",
    "max-new-tokens",
    "context",
    "dialect",
    "system",
    "strict",
    "temperature",
    "top-p",
    "top-k",
    "repeat-penalty",
    "seed",
];

impl Settings {
    /// Sets one option.
    ///
    /// # Errors
    /// A name that is no option, or a value it cannot have: what is wrong.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "memory" => self.memory = Some(whole(value)?),
            "max-steps" => self.max_steps = Some(args::at_least_one(value)?),
            "max-time" => self.max_time = Some(args::time(value)?),
            "max-new-tokens" => self.max_new_tokens = Some(args::at_least_one(value)?),
            "context" => {
                self.context = Some(match value.strip_prefix('+') {
                    Some(more) => Room::BesideSystem(args::at_least_one(more)?),
                    None => Room::Total(args::at_least_one(value)?),
                });
            }
            "dialect" => {
                let name = DialectName::from_str(value, false)
                    .map_err(|_| "it must be react, llama-2 or template".to_string())?;
                self.dialect = Some(name);
            }
            "system" => self.system = Some(value.into()),
            "strict" => {
                self.strict = Some(match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err("it must be yes or no".into()),
                });
            }
            "temperature" => self.temperature = Some(args::temperature(value)?),
            "top-p" => self.top_p = Some(args::top_p(value)?),
            "top-k" => self.top_k = Some(whole(value)?),
            "repeat-penalty" => self.repeat_penalty = Some(args::repeat_penalty(value)?),
            "seed" => self.seed = Some(whole(value)?),
            _ => return Err("there is no such option".into()),
        }
        Ok(())
    }

    /// `options` with what the file sets.
    pub fn over(&self, mut options: Options) -> Options {
        fn put<T: Clone>(into: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                *into = value.clone();
            }
        }
        put(&mut options.memory, &self.memory);
        put(&mut options.max_steps, &self.max_steps);
        put(&mut options.max_new_tokens, &self.max_new_tokens);
        put(&mut options.strict, &self.strict);
        options.max_time = self.max_time.or(options.max_time);
        let sampling = &mut options.sampling;
        put(&mut sampling.temperature, &self.temperature);
        put(&mut sampling.top_p, &self.top_p);
        put(&mut sampling.top_k, &self.top_k);
        put(&mut sampling.repeat_penalty, &self.repeat_penalty);
        put(&mut sampling.seed, &self.seed);
        options
    }

    /// The lines that set these options.
    pub fn lines(&self) -> Vec<String> {
        fn line<T: ToString>(name: &str, value: Option<T>) -> Option<String> {
            value.map(|value| format!("{name}: {}", value.to_string().replace('\n', " ")))
        }
        let context = self.context.map(|room| match room {
            Room::Total(tokens) => tokens.to_string(),
            Room::BesideSystem(tokens) => format!("+{tokens}"),
        });
        let dialect = self.dialect.map(words::dialect);
        [
            line("memory", self.memory),
            line("max-steps", self.max_steps),
            line("max-time", self.max_time.map(|time| time.as_secs_f64())),
            line("max-new-tokens", self.max_new_tokens),
            line("context", context),
            line("dialect", dialect),
            line("system", self.system.as_ref()),
            line("strict", self.strict.map(|strict| if strict { "yes" } else { "no" })),
            line("temperature", self.temperature),
            line("top-p", self.top_p),
            line("top-k", self.top_k),
            line("repeat-penalty", self.repeat_penalty),
            line("seed", self.seed),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn whole<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "it must be a whole number".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_as_they_are_read() {
        let lines = [
            "memory: 0",
            "max-steps: 3",
            "max-time: 1.5",
            "max-new-tokens: 64",
            "context: +600",
            "dialect: llama-2",
            "system: you are a pirate",
            "strict: yes",
            "temperature: 0.5",
            "top-p: 0.9",
            "top-k: 40",
            "repeat-penalty: 1.2",
            "seed: 7",
        ];
        let mut settings = Settings::default();
        for (line, name) in lines.iter().zip(NAMES) {
            let (key, value) = line.split_once(": ").expect("a key and a value");
            assert_eq!(key, name);
            settings.set(key, value).expect("a valid option");
        }
        assert_eq!(settings.lines(), lines);
        let options = settings.over(Options::default());
        assert_eq!((options.memory, options.max_steps, options.strict), (0, 3, true));
        assert_eq!((options.sampling.seed, options.sampling.top_k), (7, 40));
    }
}
