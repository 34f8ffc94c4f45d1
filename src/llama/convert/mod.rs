//! A Hugging Face folder of a Llama to one quantized GGUF file.
//!
//! The folder holds `config.json`, safetensors in one file or in shards with
//! an index, in f32, f16, bf16 or bitsandbytes' 4 bits, and a tokenizer. No
//! more than a slice of a tensor is in memory at a time, whatever the model,
//! and the file gets its name when it is whole. Refuses what is no plain
//! Llama, and matrices that others have quantized in other ways.

mod bitsandbytes;
mod blocks;
mod checkpoint;
mod config;
mod error;
mod json;
mod plan;
mod rows;
mod tokenizer;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;

use self::blocks::Loss;
pub use self::checkpoint::Checkpoint;
pub use self::config::Config;
pub use self::error::ConvertError;
use self::plan::Planned;
use self::writer::{Entry, Metadata, Value, Writer};
use crate::chat::Cancel;

/// Elements that are read at a time: 16 MiB of f32, a fraction of a second.
const SLICE: usize = 4 << 20;

/// How matrices are kept. Vectors stay in f32; the matrix that the logits come
/// from is in q6_k, or q8_0 where everything is. A matrix whose rows are no
/// multiple of 256 goes from q4_k to q4_0 and from q6_k to q8_0, and one whose
/// rows are no multiple of 32 to f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// 4.5 bits a weight, the quickest to compute with.
    Q4_0,
    /// 4.5 bits a weight, nearer to the original.
    Q4K,
    /// 6.6 bits a weight.
    Q6K,
    /// 8.5 bits a weight, hardly any loss.
    Q8_0,
}

impl Target {
    fn kind(self) -> GgmlDType {
        match self {
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q6K => GgmlDType::Q6K,
            Self::Q8_0 => GgmlDType::Q8_0,
        }
    }

    /// `general.file_type` (`enum llama_ftype` in llama.h).
    fn file_type(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4K => 14,
            Self::Q6K => 18,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Q4_0 => "q4_0",
            Self::Q4K => "q4_k",
            Self::Q6K => "q6_k",
            Self::Q8_0 => "q8_0",
        })
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor that is being written, by its name in the file.
    pub tensor: &'a str,
    /// Elements that are written, and all of them.
    pub done: u64,
    pub total: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    pub tensors: usize,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Size of all tensors in the file.
    pub bytes: u64,
    /// Root mean square of what quantizing changed in the matrices, relative
    /// to their own. Of a source in 4 bits, that comes on top of the loss that
    /// the source itself had.
    pub loss: f64,
    /// Matrices of the source were in 4 bits.
    pub requantized: bool,
    /// What is not as it was asked for, a sentence each.
    pub notices: Vec<String>,
}

/// A conversion that is understood, and not yet begun.
pub struct Conversion {
    folder: PathBuf,
    checkpoint: Checkpoint,
    planned: Vec<Planned>,
    /// What pairs' rotation frequencies are divided by, where the file says so.
    factors: Option<Vec<f32>>,
    metadata: Metadata,
    entries: Vec<Entry>,
    notices: Vec<String>,
}

impl Conversion {
    /// Reads everything but the weights of the Llama in `folder`.
    ///
    /// # Errors
    /// The folder is not one of a Llama, or damaged.
    pub fn plan(folder: &Path, target: Target) -> Result<Self, ConvertError> {
        let config = Config::read(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        let (planned, mut notices) = plan::plan(&config, &checkpoint, target)?;
        let mut metadata = vec![
            ("general.architecture".to_string(), Value::Text("llama".into())),
            ("general.name".into(), Value::Text(name(folder))),
            ("general.file_type".into(), Value::U32(target.file_type())),
            // The blocks are those of ggml since 2023-05.
            ("general.quantization_version".into(), Value::U32(2)),
        ];
        metadata.extend(config.metadata());
        metadata.extend(tokenizer::metadata(folder, &config, &mut notices)?);
        let mut entries: Vec<_> = planned.iter().map(Planned::entry).collect();
        let factors = config.rope_factors;
        if let Some(factors) = &factors {
            let (name, shape) = ("rope_freqs.weight".into(), vec![factors.len()]);
            entries.push(Entry { name, shape, kind: GgmlDType::F32 });
        }
        let folder = folder.into();
        Ok(Self { folder, checkpoint, planned, factors, metadata, entries, notices })
    }

    /// Size of the file, to the byte.
    pub fn bytes(&self) -> u64 {
        writer::size(&self.metadata, &self.entries)
    }

    /// Writes the file `output`, and reports after every slice. It is whole or
    /// not there.
    ///
    /// # Errors
    /// The weights are damaged; the file is there already or cannot be
    /// written; `cancel` was set meanwhile.
    pub fn write(
        self,
        output: &Path,
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, ConvertError> {
        let mut writer = Writer::create(output, &self.metadata, &self.entries)?;
        let total = self.planned.iter().map(Planned::elements).sum();
        let (mut done, mut loss) = (0, Loss::default());
        for planned in &self.planned {
            let reader = self.checkpoint.reader(&planned.source)?;
            for (first, count) in Slices::of(planned) {
                if cancel.is_set() {
                    return Err(ConvertError::Cancelled);
                }
                progress(Progress { tensor: &planned.name, done, total });
                let rows = reader.rows(first, count)?;
                let blocks = blocks::quantize(planned, &rows, first, count).map_err(|error| {
                    ConvertError::damaged(&self.folder, format!("{}: {error}", planned.source))
                })?;
                writer.append(&blocks.bytes)?;
                loss.add(blocks.loss);
                done += (count * planned.columns()) as u64;
            }
        }
        if let Some(factors) = &self.factors {
            let bytes: Vec<_> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
            writer.append(&bytes)?;
        }
        writer.finish()?;
        Ok(Report {
            tensors: self.entries.len(),
            parameters: total,
            bytes: self.entries.iter().map(Entry::bytes).sum(),
            loss: loss.relative(),
            requantized: self.checkpoint.has_four_bits(),
            notices: self.notices,
        })
    }
}

/// The folder's own name.
fn name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.into());
    whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Planned {
    fn entry(&self) -> Entry {
        Entry { name: self.name.clone(), shape: self.shape.clone(), kind: self.kind }
    }

    fn elements(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }

    fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// The rows of a tensor in slices that keep heads whole: first row and count.
struct Slices {
    rows: usize,
    step: usize,
    at: usize,
}

impl Slices {
    fn of(planned: &Planned) -> Self {
        let columns = planned.columns();
        let rows = planned.shape.iter().product::<usize>() / columns;
        let unit = planned.head.unwrap_or(1);
        let step = (SLICE / columns / unit).max(1) * unit;
        Self { rows, step, at: 0 }
    }
}

impl Iterator for Slices {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.at;
        let count = self.step.min(self.rows - first);
        self.at += count;
        (count > 0).then_some((first, count))
    }
}
