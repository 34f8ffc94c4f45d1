//! `agent doctor`: what this machine has, what is kept on it, and what it can run.

use std::path::Path;

use super::args::Shared;
use super::config::Config;
use super::exit::Exit;
use super::face::sink::{STRONG, Sink};
use super::face::words;
use super::fit::{Fit, Need, fit, tokens_a_second};
use super::machine::{Machine, Memory, bandwidth, free_disk};
use super::models::pulled::{self, Pulled};
use super::{Failure, cache, kept};
use crate::hub::{Cache, DEFAULT, HubError, KNOWN, Settings};

/// Where nothing can be kept between runs.
const NO_FOLDER: &str = "this user has no cache folder";

/// Looks, measures and prints.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run(shared: &Shared, config: &Config) -> Result<Exit, Failure> {
    let mut out = Sink::stdout(shared.face.color);
    let machine = Machine::this();
    let rate = bandwidth(machine.memory);
    let Memory { total, available } = machine.memory;
    let cores = words::plural(machine.cores, "core");
    let gpus = match machine.gpus.is_empty() {
        true => "none that an NVIDIA driver runs".into(),
        false => machine.gpus.join(", "),
    };
    let memory = format!(
        "{}, {} available, read at {:.1} GB/s",
        words::bytes(total),
        words::bytes(available),
        rate / 1e9
    );
    let hub = Settings::from_env();
    let (models, disk) = models(&hub);
    let key = std::env::var_os("AGENT_API_KEY").is_some_and(|key| !key.is_empty());
    for (name, what) in [
        ("Processor", format!("{}, {cores}: {}", machine.processor, machine.features.join(" "))),
        ("GPU", gpus),
        ("Memory", memory),
        ("Disk", disk),
        ("Models", models),
        ("Quantized", quantized()),
        ("Snapshots", snapshots(shared)),
        ("Settings", config.file()),
        ("Hub token", token(&hub)),
        ("API key", if key { "in AGENT_API_KEY".into() } else { "none".into() }),
        ("Llama-2", llama(available, shared.model.context, rate)),
    ] {
        out.styled(STRONG, &format!("{name:<10}"))?;
        out.text(&format!(" {what}\n"))?;
    }
    Ok(Exit::Answered)
}

/// What was pulled, and the disk that is free for more.
fn models(hub: &Result<Settings, HubError>) -> (String, String) {
    let cache = match hub {
        Ok(settings) => Cache::new(settings.cache.clone()),
        Err(error) => return (error.to_string(), "unknown".into()),
    };
    let disk = match free_disk(cache.folder()) {
        Ok(free) => format!("{} free for models", words::bytes(free)),
        Err(error) => format!("unknown: {error}"),
    };
    (files(&pulled::list(&cache), cache.folder()), disk)
}

/// What was quantized here.
fn quantized() -> String {
    match kept::folder() {
        Some(folder) => files(&pulled::quantized(), &folder),
        None => NO_FOLDER.into(),
    }
}

/// How many files, and how large they are together.
fn files(models: &[Pulled], folder: &Path) -> String {
    let bytes = words::bytes(models.iter().map(|model| model.bytes).sum());
    let count = words::plural(models.len(), "file");
    format!("{count}, {bytes}, in {}", folder.display())
}

/// Whether there is a token; the token itself is nobody's business.
fn token(hub: &Result<Settings, HubError>) -> String {
    match hub {
        Ok(Settings { token_from: Some(from), .. }) => format!("in {from}"),
        Ok(_) => "none".into(),
        Err(error) => error.to_string(),
    }
}

fn snapshots(shared: &Shared) -> String {
    let Some(store) = cache::store(&shared.model) else {
        return NO_FOLDER.into();
    };
    let folder = store.folder().display();
    match store.list() {
        Ok(entries) => {
            let bytes = words::bytes(entries.iter().map(|entry| entry.bytes).sum());
            format!("{}, {bytes}, in {folder}", words::plural(entries.len(), "snapshot"))
        }
        Err(error) => format!("{folder} cannot be read: {error}"),
    }
}

/// The largest Llama-2 chat model that fits, and how fast it is at most.
fn llama(memory: u64, context: Option<usize>, rate: f64) -> String {
    let sized = || KNOWN.iter().filter_map(|model| Some((model, model.bytes(DEFAULT[0])?)));
    let largest = sized().rev().find_map(|(model, bytes)| {
        let how = match fit(bytes, model.into(), context, memory) {
            Fit::Whole => "fits".to_string(),
            Fit::With(tokens) => format!("fits with --context {tokens}"),
            Fit::No => return None,
        };
        let speed = tokens_a_second(rate, bytes);
        let (name, kind) = (model.name, DEFAULT[0]);
        Some(format!("{name} in {kind} {how}: at most {speed:.1} tokens a second"))
    });
    let least = || {
        let (model, bytes) = sized().next()?;
        let need = Need::of(bytes, model.into(), Some(1024)).total();
        Some(format!("none fits: {} needs {} at least", model.name, words::bytes(need)))
    };
    largest.or_else(least).unwrap_or_default()
}
