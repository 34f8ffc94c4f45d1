//! Models of Llama-2's shapes with random weights, for measuring: an engine
//! takes as long with them as with any other weights of the shape.
//!
//! The blocks of all matrices are windows of one stretch of random blocks, a
//! little longer than the largest matrix needs, so that a model that is made in
//! memory takes hardly more than an engine's own copy of it. As a file it is
//! written out in full.

mod blocks;
mod vocabulary;

use std::path::Path;

use candle_core::quantized::GgmlDType;

use super::convert::ConvertError;
use super::convert::writer::{Entry, Metadata, Value, Writer, header};
use super::cuda::Format;
use super::error::ModelError;
use super::gguf::Gguf;
use crate::chat::Cancel;

/// Pieces of the vocabulary, Llama-2's number.
const VOCAB: usize = 32_000;
/// Tokens the models are made for, Llama-2's number.
const CONTEXT: usize = 4096;
const NORM_EPS: f32 = 1e-5;

/// Two neighbouring blocks are what windows begin at, so that the numbers in
/// them stay aligned; and so many of these pairs are there to begin at.
const PAIRS: u64 = 1 << 13;

/// Bytes that are written between two looks at the wish to stop.
const PIECE: usize = 16 << 20;

/// The size of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub name: &'static str,
    layers: usize,
    dim: usize,
    heads: usize,
    kv_heads: usize,
    ffn: usize,
}

impl Shape {
    /// Llama-2's (Touvron et al. 2023, arXiv:2307.09288), and one for trying
    /// things out that runs in a blink.
    pub const ALL: [Self; 4] = [
        Self { name: "70b", layers: 80, dim: 8192, heads: 64, kv_heads: 8, ffn: 28_672 },
        Self { name: "13b", layers: 40, dim: 5120, heads: 40, kv_heads: 40, ffn: 13_824 },
        Self { name: "7b", layers: 32, dim: 4096, heads: 32, kv_heads: 32, ffn: 11_008 },
        Self { name: "tiny", layers: 2, dim: 256, heads: 4, kv_heads: 2, ffn: 512 },
    ];

    /// Every tensor, all matrices of one kind, in the order in which a file has them.
    fn entries(&self, kind: GgmlDType) -> Vec<Entry> {
        let Self { layers, dim, kv_heads, heads, ffn, .. } = *self;
        let kv = dim / heads * kv_heads;
        let matrix = |name: String, rows, columns| Entry { name, shape: vec![rows, columns], kind };
        let norm = |name| Entry { name, shape: vec![dim], kind: GgmlDType::F32 };
        let mut entries = vec![matrix("token_embd.weight".into(), VOCAB, dim)];
        for layer in 0..layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            entries.push(norm(name("attn_norm")));
            for (part, rows, columns) in [
                ("attn_q", dim, dim),
                ("attn_k", kv, dim),
                ("attn_v", kv, dim),
                ("attn_output", dim, dim),
                ("ffn_gate", ffn, dim),
                ("ffn_up", ffn, dim),
                ("ffn_down", dim, ffn),
            ] {
                entries.push(matrix(name(part), rows, columns));
            }
            entries.push(norm(name("ffn_norm")));
        }
        entries.push(norm("output_norm.weight".into()));
        entries.push(matrix("output.weight".into(), VOCAB, dim));
        entries
    }

    fn metadata(&self) -> Metadata {
        let size = |value: usize| Value::U32(value as u32);
        let mut metadata: Metadata = [
            ("general.architecture", Value::Text("llama".into())),
            ("general.name", Value::Text(format!("random weights of the shape {}", self.name))),
            ("general.quantization_version", Value::U32(2)),
            ("llama.block_count", size(self.layers)),
            ("llama.context_length", size(CONTEXT)),
            ("llama.embedding_length", size(self.dim)),
            ("llama.feed_forward_length", size(self.ffn)),
            ("llama.attention.head_count", size(self.heads)),
            ("llama.attention.head_count_kv", size(self.kv_heads)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(NORM_EPS)),
            ("llama.rope.dimension_count", size(self.dim / self.heads)),
            ("llama.rope.freq_base", Value::F32(10_000.0)),
            ("llama.vocab_size", size(VOCAB)),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into();
        metadata.extend(vocabulary::metadata(VOCAB));
        metadata
    }
}

/// A model of random weights.
pub struct Synthetic {
    metadata: Metadata,
    entries: Vec<Entry>,
    gguf: Gguf,
}

impl Synthetic {
    /// Makes a model; the same shape, format and seed give the same one.
    ///
    /// # Errors
    /// `Unsupported` where blocks of the format do not divide the shape's rows.
    pub fn new(shape: &Shape, format: Format, seed: u64) -> Result<Self, ModelError> {
        let kind = blocks::kind(format);
        let block = kind.block_size();
        if !shape.dim.is_multiple_of(block) || !shape.ffn.is_multiple_of(block) {
            return Err(ModelError::Unsupported(format!(
                "rows of the shape {} cannot be divided into the blocks of {}",
                shape.name,
                format.name()
            )));
        }
        let (metadata, entries) = (shape.metadata(), shape.entries(kind));
        let mut bytes = header(&metadata, &[]);
        let ones = bytes.len();
        bytes.extend((0..shape.dim).flat_map(|_| 1f32.to_le_bytes()));
        let pool = bytes.len().next_multiple_of(32);
        let largest = entries.iter().map(Entry::bytes).max().unwrap_or(0) as usize;
        let pair = 2 * kind.type_size();
        bytes.resize(pool + largest + PAIRS as usize * pair, 0);
        // A product of a normalized row has about the same size as the row.
        let deviation = 1.0 / (shape.dim as f32).sqrt();
        blocks::fill(format, deviation, seed, &mut bytes[pool..]);
        let start = |(i, entry): (usize, &Entry)| match entry.shape.len() {
            1 => ones,
            _ => pool + (blocks::mix(seed ^ (i as u64) << 32) % PAIRS) as usize * pair,
        };
        let starts: Vec<usize> = entries.iter().enumerate().map(start).collect();
        let tensors = entries.iter().zip(starts).map(|(entry, start)| {
            let bytes = start..start + entry.bytes() as usize;
            (entry.name.clone(), entry.kind, entry.shape.clone(), bytes)
        });
        let gguf = Gguf::from_parts(bytes, tensors)?;
        Ok(Self { metadata, entries, gguf })
    }

    /// The model as if it had been read.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// Writes the model as a file that must not be there yet. `tell` hears how
    /// many of all bytes are written.
    ///
    /// # Errors
    /// `Exists`, `Unwritable` or, if `cancel` was set, `Cancelled`: nothing of
    /// the file is left then.
    pub fn write(
        &self,
        path: &Path,
        cancel: &Cancel,
        tell: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ConvertError> {
        let total = self.entries.iter().map(Entry::bytes).sum();
        let mut done = 0;
        let mut writer = Writer::create(path, &self.metadata, &self.entries)?;
        for Entry { name, shape, .. } in &self.entries {
            let blocks = self.gguf.blocks(name, shape);
            let (_, bytes) = blocks.map_err(|error| ConvertError::damaged(path, error))?;
            for piece in bytes.chunks(PIECE) {
                if cancel.is_set() {
                    return Err(ConvertError::Cancelled);
                }
                writer.append(piece)?;
                done += piece.len() as u64;
                tell(done, total);
            }
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama::{Forward, LlamaConfig, Portable, Tokenizer, Want};

    fn tiny(format: Format, seed: u64) -> Synthetic {
        Synthetic::new(&Shape::ALL[3], format, seed).expect("a model")
    }

    #[test]
    fn every_format_makes_a_model_whose_logits_are_of_one_size() {
        for format in Format::ALL {
            let synthetic = tiny(format, 0);
            let mut engine = Portable::new(synthetic.gguf(), Some(64)).expect("an engine");
            let logits = engine.forward(&[1, 500, 31_999], Want::All, &Cancel::new());
            let logits = logits.expect("a pass").expect("not cancelled");
            let square: f32 = logits.iter().map(|logit| logit * logit).sum();
            let size = (square / logits.len() as f32).sqrt();
            assert!((0.7..1.4).contains(&size), "{format:?}: {size}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_model() {
        let matrix = |seed| {
            let synthetic = tiny(Format::Q4_0, seed);
            let (_, bytes) = synthetic.gguf().blocks("output.weight", &[VOCAB, 256]).expect("one");
            bytes.to_vec()
        };
        assert!(matrix(1) == matrix(1) && matrix(1) != matrix(2));
    }

    #[test]
    fn a_file_is_what_is_in_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiny.gguf");
        let synthetic = tiny(Format::Q4K, 5);
        let mut told = (0, 1);
        let tell = &mut |done, total| told = (done, total);
        synthetic.write(&path, &Cancel::new(), tell).expect("a file");
        assert_eq!(told.0, told.1);
        let read = Gguf::open(&path).expect("a file");
        for Entry { name, shape, .. } in &synthetic.entries {
            let (ours, theirs) = (synthetic.gguf().blocks(name, shape), read.blocks(name, shape));
            assert!(ours.expect("a tensor") == theirs.expect("a tensor"), "{name}");
        }
        let config = |gguf: &Gguf| LlamaConfig::from_gguf(gguf).expect("a Llama");
        assert_eq!(config(synthetic.gguf()), config(&read));
        assert_eq!(Tokenizer::from_gguf(&read).expect("a vocabulary").vocab_len(), VOCAB);
        let again = synthetic.write(&path, &Cancel::new(), &mut |_, _| {});
        assert!(matches!(again, Err(ConvertError::Exists(_))));
        let stopped = Cancel::new();
        stopped.ask();
        let other = folder.path().join("other.gguf");
        let stopped = synthetic.write(&other, &stopped, &mut |_, _| {});
        assert!(matches!(stopped, Err(ConvertError::Cancelled)));
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 1);
    }
}
