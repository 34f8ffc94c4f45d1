//! `agent models`: what is in the box, what was pulled, what is known.

pub mod pulled;

use std::io;
use std::path::Path;

use super::args::Shared;
use super::exit::Exit;
use super::face::sink::{DIM, STRONG, Sink};
use super::face::words;
use super::fit::{Fit, Need, Shape, fit, fit_gpu, halving};
use super::machine::{Gpus, Memory};
use super::{Failure, kept, model};
use crate::hub::{Cache, DEFAULT, KNOWN, Settings};
use crate::llama::cuda::{self, Gpu};
use crate::llama::portable::Precision;
use crate::llama::{CacheType, Gguf, LlamaConfig};
use pulled::Pulled;

/// Lists them all, each with its size, its quantization and whether it fits.
///
/// # Errors
/// The environment names no folder of models, or standard output cannot be
/// written to.
pub fn run(shared: &Shared) -> Result<Exit, Failure> {
    let mut list = List {
        out: Sink::stdout(shared.face.color),
        memory: Memory::this(),
        gpu: Gpus::this().roomiest().cloned(),
        context: shared.model.context,
        cache: shared.model.cache_type.asked(),
    };
    list.out.line(STRONG, "In the box")?;
    match model::in_the_box()? {
        Some(gguf) => {
            let name = gguf.text("general.name").unwrap_or("a model".into()).into_owned();
            list.file(&name, gguf.size().0 as u64, &gguf)?;
        }
        None => list.out.line(DIM, "  nothing: this build has no model in it")?,
    }
    list.out.line(STRONG, "Pulled")?;
    let cache = Cache::new(Settings::from_env()?.cache);
    list.files(&pulled::list(&cache), cache.folder())?;
    let quantized = pulled::quantized();
    if let Some(folder) = kept::folder().filter(|_| !quantized.is_empty()) {
        list.out.line(STRONG, "Quantized here")?;
        list.files(&quantized, &folder)?;
    }
    list.out.line(STRONG, "Known by a short name")?;
    for model in KNOWN {
        let bytes = model.bytes(DEFAULT[0]).unwrap_or_default();
        let shape = Shape::from(model).kept(list.cache);
        let gpu = |gpu: &Gpu| fit_gpu(bytes, shape, list.context, gpu.free);
        let fit = list.gpu.as_ref().and_then(|on| gpu(on).said(" the GPU"));
        let fit = fit.unwrap_or_else(|| list.fit(bytes, shape));
        list.row(model.name, bytes, DEFAULT[0], &fit)?;
    }
    let available = words::bytes(list.memory.available);
    list.out.line(DIM, &format!("Fits: in the {available} of memory that are available now"))?;
    if let Some(gpu) = &list.gpu {
        let free = words::bytes(gpu.free);
        list.out
            .line(DIM, &format!("Fits the GPU: in the {free} that are free on {}", gpu.name))?;
    }
    Ok(Exit::Answered)
}

struct List {
    out: Sink,
    memory: Memory,
    /// The one with the most free memory.
    gpu: Option<Gpu>,
    context: Option<usize>,
    cache: Option<CacheType>,
}

impl List {
    /// Models of a folder, and how many they are.
    fn files(&mut self, models: &[Pulled], folder: &Path) -> io::Result<()> {
        for model in models {
            match Gguf::open(&model.path) {
                Ok(gguf) => self.file(&model.name, model.bytes, &gguf)?,
                Err(error) => self.row(&model.name, model.bytes, "", &error.to_string())?,
            }
        }
        let count = words::plural(models.len(), "model");
        self.out.line(DIM, &format!("  {count} in {}", folder.display()))
    }

    fn file(&mut self, name: &str, bytes: u64, gguf: &Gguf) -> io::Result<()> {
        let fit = match LlamaConfig::from_gguf(gguf) {
            Ok(config) => {
                let gpu = self.fit_gpu(gguf, &config).said(" the GPU");
                let shape = Shape::from(&config).kept(self.cache);
                gpu.unwrap_or_else(|| self.fit(gguf.size().0 as u64, shape))
            }
            Err(error) => error.to_string(),
        };
        self.row(name, bytes, &quantization(gguf), &fit)
    }

    /// Whether a file fits the GPU; one that would not be taken there unless
    /// told does not.
    fn fit_gpu(&self, gguf: &Gguf, config: &LlamaConfig) -> Fit {
        let Some(gpu) = &self.gpu else { return Fit::No };
        if Precision::of(gguf) == Precision::Float {
            return Fit::No;
        }
        let wanted = self.context.map_or(config.context, |context| context.min(config.context));
        halving(wanted, self.cache, |context, cache| {
            cuda::needs(gguf, Some(context), cache)
                .is_ok_and(|needs| needs.total() as u64 <= gpu.free)
        })
    }

    fn fit(&self, weights: u64, shape: Shape) -> String {
        fit(weights, shape, self.context, self.memory.available).said("").unwrap_or_else(|| {
            let need = Need::of(weights, shape, self.context).total();
            format!("does not fit: it needs {}", words::bytes(need))
        })
    }

    fn row(&mut self, name: &str, bytes: u64, kind: &str, what: &str) -> io::Result<()> {
        self.out.text(&format!("  {name:<24} {:>9}  {kind:<8}  {what}\n", words::bytes(bytes)))
    }
}

/// What a file says of its quantization, or the bits that a weight takes in it.
/// Numbers: `enum llama_ftype` of llama.cpp's `include/llama.h`.
fn quantization(gguf: &Gguf) -> String {
    let name = match gguf.uint("general.file_type") {
        Some(0) => "F32",
        Some(1) => "F16",
        Some(2) => "Q4_0",
        Some(3) => "Q4_1",
        Some(7) => "Q8_0",
        Some(8) => "Q5_0",
        Some(9) => "Q5_1",
        Some(10) => "Q2_K",
        Some(11) => "Q3_K_S",
        Some(12) => "Q3_K_M",
        Some(13) => "Q3_K_L",
        Some(14) => "Q4_K_S",
        Some(15) => "Q4_K_M",
        Some(16) => "Q5_K_S",
        Some(17) => "Q5_K_M",
        Some(18) => "Q6_K",
        Some(32) => "BF16",
        _ => {
            let (bytes, elements) = gguf.size();
            return format!("{:.1} bits", bytes as f64 * 8.0 / elements.max(1) as f64);
        }
    };
    name.into()
}
