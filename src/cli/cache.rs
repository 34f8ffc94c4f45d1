//! `agent cache`: what is kept between runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::Failure;
use super::args::{CacheCommand, ModelArgs, Shared};
use super::exit::Exit;
use super::face::sink::{DIM, Sink};
use super::face::words;
use crate::decode::snapshot::{Entry, LIMIT, Store};

/// What this program keeps for its user between runs; None where the user has
/// no folder for such things.
pub fn folder() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("llama-agent"))
}

/// The snapshots that the command line asks for: those of a folder that is
/// named, or of the user's cache folder. None where there is no such place.
pub fn store(args: &ModelArgs) -> Option<Store> {
    let folder = match &args.snapshots {
        Some(folder) => folder.clone(),
        None => folder()?.join("snapshots"),
    };
    Some(Store::new(folder, LIMIT))
}

/// Lists or clears.
///
/// # Errors
/// The folder cannot be read, or a snapshot cannot be removed.
pub fn run(shared: &Shared, command: CacheCommand) -> Result<Exit, Failure> {
    let mut out = Sink::stdout(shared.face.color);
    let Some(store) = store(&shared.model) else {
        return Err(
            anyhow::anyhow!("this user has no cache folder: name one, --snapshots DIR").into()
        );
    };
    let folder = store.folder().display();
    match command {
        CacheCommand::List => {
            let entries = store.list().with_context(|| format!("cannot read {folder}"))?;
            for entry in &entries {
                out.text(&format!("{}\n", line(entry)))?;
            }
            let total = words::bytes(entries.iter().map(|entry| entry.bytes).sum());
            let count = words::plural(entries.len(), "snapshot");
            out.line(
                DIM,
                &format!("{count}, {total} of at most {}, in {folder}", words::bytes(LIMIT)),
            )?;
        }
        CacheCommand::Clear => {
            let cleared = store.clear().with_context(|| format!("cannot clear {folder}"))?;
            let (count, bytes) = (words::plural(cleared.0, "file"), words::bytes(cleared.1));
            out.line(DIM, &format!("removed {count}, {bytes}, from {folder}"))?;
        }
    }
    Ok(Exit::Answered)
}

/// Size, tokens, age, and as much of the name as tells it apart.
fn line(entry: &Entry) -> String {
    let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
    let tokens = match entry.tokens {
        Some(tokens) => format!("{tokens} tokens"),
        None => "damaged".into(),
    };
    let used = age(entry.used.elapsed().unwrap_or_default());
    format!("{:>9}  {tokens:>12}  used {used} ago  {:.12}", words::bytes(entry.bytes), name)
}

/// In the largest unit of which there is at least one.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => words::plural(seconds as usize, "second"),
        60..3600 => words::plural((seconds / 60) as usize, "minute"),
        3600..86_400 => words::plural((seconds / 3600) as usize, "hour"),
        _ => words::plural((seconds / 86_400) as usize, "day"),
    }
}
