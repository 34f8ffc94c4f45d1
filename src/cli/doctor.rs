//! `agent doctor`: what this machine has, what is kept on it, and what it can run.

use std::path::Path;

use super::args::Shared;
use super::config::Config;
use super::exit::Exit;
use super::face::sink::{STRONG, Sink};
use super::face::words;
use super::fit::{Fit, Need, Shape, fit, fit_gpu, tokens_a_second};
use super::machine::{Machine, Memory, bandwidth, free_disk};
use super::models::pulled::{self, Pulled};
use super::{Failure, cache, kept};
use crate::hub::{Cache, DEFAULT, HubError, KNOWN, Known, Settings};
use crate::llama::CacheType;

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
    let memory = format!(
        "{}, {} available, read at {:.1} GB/s",
        words::bytes(total),
        words::bytes(available),
        rate / 1e9
    );
    let hub = Settings::from_env();
    let (models, disk) = models(&hub);
    let key = std::env::var_os("AGENT_API_KEY").is_some_and(|key| !key.is_empty());
    let gpu = machine.gpus.roomiest().map(|gpu| ("On the GPU", on_gpu(gpu.free, shared)));
    for (name, what) in [
        ("Processor", format!("{}, {cores}: {}", machine.processor, machine.features.join(" "))),
        ("GPU", machine.gpus.described()),
        ("Memory", memory),
        ("Disk", disk),
        ("Models", models),
        ("Quantized", quantized()),
        ("Snapshots", snapshots(shared)),
        ("Settings", config.file()),
        ("Hub token", token(&hub)),
        ("API key", if key { "in AGENT_API_KEY".into() } else { "none".into() }),
        ("Llama-2", llama(available, shared, rate)),
    ]
    .into_iter()
    .chain(gpu)
    {
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
fn llama(memory: u64, shared: &Shared, rate: f64) -> String {
    let (context, cache) = (shared.model.context, shared.model.cache_type.asked());
    let shape = |model: &Known| Shape::from(model).kept(cache);
    let largest = largest(|model, bytes| fit(bytes, shape(model), context, memory));
    let largest = largest.map(|(said, bytes)| {
        format!("{said}: at most {:.1} tokens a second", tokens_a_second(rate, bytes))
    });
    largest.unwrap_or_else(|| none_fits(cache, Need::of))
}

/// The largest Llama-2 chat model that fits a GPU.
fn on_gpu(free: u64, shared: &Shared) -> String {
    let (context, cache) = (shared.model.context, shared.model.cache_type.asked());
    let shape = |model: &Known| Shape::from(model).kept(cache);
    let largest = largest(|model, bytes| fit_gpu(bytes, shape(model), context, free));
    largest.map_or_else(|| none_fits(cache, Need::on_gpu), |(said, _)| said)
}

/// The largest model with a short name that fits, as a sentence, and its bytes.
fn largest(fit: impl Fn(&Known, u64) -> Fit) -> Option<(String, u64)> {
    KNOWN.iter().rev().find_map(|model| {
        let bytes = model.bytes(DEFAULT[0])?;
        let fits = fit(model, bytes).said("")?;
        Some((format!("{} in {} {fits}", model.name, DEFAULT[0]), bytes))
    })
}

/// What the smallest of them needs.
fn none_fits(cache: Option<CacheType>, need: impl Fn(u64, Shape, Option<usize>) -> Need) -> String {
    let sized = KNOWN.iter().find_map(|model| Some((model, model.bytes(DEFAULT[0])?)));
    let Some((model, bytes)) = sized else { return String::new() };
    let need = need(bytes, Shape::from(model).kept(cache), Some(1024)).total();
    format!("none fits: {} needs {} at least", model.name, words::bytes(need))
}
