//! Which engine runs a model of this machine: the GPU's, the CPU's, or the one
//! behind the other.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};

use super::args::{Device, ModelArgs, Shared};
use super::face::sink::{DIM, Sink};
use super::face::words;
use super::machine::Machine;
use crate::llama::cuda::{self, Cuda, First};
use crate::llama::portable::Precision;
use crate::llama::{Forward, Gguf, LlamaConfig, Portable, Split};

/// The engine that the command line asks for.
///
/// `auto` takes the first GPU that has room for the model and its context. A
/// model that the CPU keeps in f32, because that takes 512 MiB at most, stays on
/// the CPU: it is quick and exact there, and a GPU would first take longer to
/// start than many of its answers take. `--gpu-layers` asks for a GPU whatever
/// the size. Where there is a GPU and it is not taken, a note says why.
///
/// # Errors
/// The model cannot be run, or with `cuda`, not on that GPU: why, and what to do.
pub fn engine(gguf: &Gguf, shared: &Shared) -> Result<Box<dyn Forward>> {
    let (engine, place) = placed(gguf, shared, shared.model.context)?;
    if shared.face.verbose && !shared.face.json {
        Sink::stderr(shared.face.color).line(DIM, &format!("device: {place}"))?;
    }
    Ok(engine)
}

/// An engine, and where it is.
pub type Placed = (Box<dyn Forward>, String);

/// The engine with room for `context` tokens, or for as many as the model takes,
/// and the name of what it runs on; otherwise as `engine`.
///
/// # Errors
/// As there.
pub fn placed(gguf: &Gguf, shared: &Shared, context: Option<usize>) -> Result<Placed> {
    let args = &ModelArgs { context, ..shared.model.clone() };
    match args.device {
        Device::Cuda(ordinal) => on_gpu(gguf, args, ordinal),
        Device::Auto if args.gpu_layers.is_some() || Precision::of(gguf) != Precision::Float => {
            match any_gpu(gguf, args) {
                Ok(found) => Ok(found),
                Err(None) => on_cpu(gguf, args),
                Err(Some(why)) => {
                    let note = format!("note: this model runs on the CPU: {why:#}");
                    Sink::stderr(shared.face.color).line(DIM, &note)?;
                    on_cpu(gguf, args)
                }
            }
        }
        Device::Auto | Device::Cpu => on_cpu(gguf, args),
    }
}

fn on_cpu(gguf: &Gguf, args: &ModelArgs) -> Result<Placed> {
    let Machine { processor, cores, .. } = Machine::this();
    let place = format!("CPU ({processor}, {})", words::plural(cores, "core"));
    Ok((Box::new(kept(Portable::new(gguf, args.context)?, args)), place))
}

/// The engine with the cache that is asked for.
fn kept(engine: Portable, args: &ModelArgs) -> Portable {
    match args.cache_type.asked() {
        Some(kind) => engine.with_cache(kind),
        None => engine,
    }
}

/// The first GPU that takes the model; else why the first one does not, None
/// where there is none and none was asked for.
fn any_gpu(gguf: &Gguf, args: &ModelArgs) -> Result<Placed, Option<anyhow::Error>> {
    let mut why = None;
    for ordinal in 0..cuda::devices() {
        match on_gpu(gguf, args, ordinal) {
            Ok(placed) => return Ok(placed),
            Err(error) => why = why.or(Some(error)),
        }
    }
    let none = || {
        args.gpu_layers
            .map(|_| anyhow::anyhow!("--gpu-layers asks for an NVIDIA GPU, and there is none"))
    };
    Err(why.or_else(none))
}

fn on_gpu(gguf: &Gguf, args: &ModelArgs, ordinal: usize) -> Result<Placed> {
    let layers = LlamaConfig::from_gguf(gguf)?.layers;
    let first = args.gpu_layers.unwrap_or(layers).min(layers);
    let cache = args.cache_type.asked();
    let mut progress = Progress { of: first, shown: None };
    let mut tell = |loaded| progress.show(loaded);
    if first == layers {
        let engine = Cuda::open(gguf, args.context, cache, ordinal, &mut tell)?;
        let place = engine.device().to_string();
        return Ok((Box::new(engine), place));
    }
    let front = First::open(gguf, args.context, cache, first, ordinal, &mut tell)?;
    let place = format!("{} for {first} of {layers} layers, then CPU", front.device());
    let back = Portable::part(gguf, args.context, Precision::of(gguf), first..layers)
        .context("the layers that are left for the CPU")?;
    Ok((Box::new(Split::new(Box::new(front), kept(back, args))), place))
}

/// How much of a model is on the GPU: a line that is rewritten on a terminal.
struct Progress {
    of: usize,
    shown: Option<usize>,
}

impl Progress {
    fn show(&mut self, loaded: usize) {
        let percent = loaded * 100 / self.of.max(1);
        if io::stderr().is_terminal() && self.shown != Some(percent) {
            self.shown = Some(percent);
            // A terminal that is gone is no reason not to go on.
            let _ = write!(io::stderr(), "\rloading the model onto the GPU: {percent}%\u{1b}[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
