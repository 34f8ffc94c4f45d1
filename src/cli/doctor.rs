//! `agent doctor`: what this machine has, what is kept on it, and what it can run.

use super::args::Shared;
use super::config::Config;
use super::exit::Exit;
use super::face::sink::{STRONG, Sink};
use super::face::words;
use super::fit::{Fit, Need, fit, tokens_a_second};
use super::machine::{Machine, Memory, bandwidth, free_disk};
use super::models::known::{self, KNOWN};
use super::models::pulled;
use super::{Failure, cache};

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
    let (models, disk) = models();
    let key = std::env::var_os("AGENT_API_KEY").is_some_and(|key| !key.is_empty());
    for (name, what) in [
        ("Processor", format!("{}, {cores}: {}", machine.processor, machine.features.join(" "))),
        ("GPU", gpus),
        ("Memory", memory),
        ("Disk", disk),
        ("Models", models),
        ("Snapshots", snapshots(shared)),
        ("Settings", config.file()),
        ("Hub token", pulled::token().unwrap_or_else(|| "none".into())),
        ("API key", if key { "in AGENT_API_KEY".into() } else { "none".into() }),
        ("Llama-2", llama(available, shared.model.context, rate)),
    ] {
        out.styled(STRONG, &format!("{name:<10}"))?;
        out.text(&format!(" {what}\n"))?;
    }
    Ok(Exit::Answered)
}

/// What was pulled, and the disk that is free for more.
fn models() -> (String, String) {
    let Some(folder) = pulled::folder() else {
        return ("this user has no home folder".into(), "unknown".into());
    };
    let models = pulled::list(&folder);
    let bytes = words::bytes(models.iter().map(|model| model.bytes).sum());
    let count = words::plural(models.len(), "file");
    let disk = match free_disk(&folder) {
        Ok(free) => format!("{} free for models", words::bytes(free)),
        Err(error) => format!("unknown: {error}"),
    };
    (format!("{count}, {bytes}, in {}", folder.display()), disk)
}

fn snapshots(shared: &Shared) -> String {
    let Some(store) = cache::store(&shared.model) else {
        return "this user has no cache folder".into();
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
    let largest = KNOWN.iter().rev().find_map(|model| {
        let how = match fit(model.weights, model.shape, context, memory) {
            Fit::Whole => "fits".to_string(),
            Fit::With(tokens) => format!("fits with --context {tokens}"),
            Fit::No => return None,
        };
        let speed = tokens_a_second(rate, model.weights);
        let kind = known::QUANTIZATION;
        Some(format!("{} in {kind} {how}: at most {speed:.1} tokens a second", model.name))
    });
    largest.unwrap_or_else(|| {
        let [least, ..] = &KNOWN;
        let need = Need::of(least.weights, least.shape, Some(1024)).total();
        format!("none fits: {} needs {} at least", least.name, words::bytes(need))
    })
}
