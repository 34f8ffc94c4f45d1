//! Small Llama models with random weights, written as real GGUF files.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod byte_level;

use std::io::Cursor;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

/// What to write. `Tiny::default()` runs in a blink; change what matters.
#[derive(Clone, Debug)]
pub struct Tiny {
    pub layers: usize,
    pub dim: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub ffn: usize,
    /// The vocabulary is padded up to this many pieces.
    pub vocab: usize,
    pub context: usize,
    pub kind: GgmlDType,
    pub tied: bool,
    pub rope_base: f32,
    /// What each pair's frequency is divided by; empty leaves the tensor out.
    pub rope_factors: Vec<f32>,
    /// Scale of the weights: larger makes the distribution less flat.
    pub scale: f32,
    pub seed: u64,
    /// Added to the metadata; replaces what is there under the same key.
    pub extra: Vec<(String, Value)>,
}

impl Default for Tiny {
    fn default() -> Self {
        Self {
            layers: 2,
            dim: 64,
            heads: 4,
            kv_heads: 2,
            ffn: 96,
            vocab: 512,
            context: 256,
            kind: GgmlDType::F32,
            tied: false,
            rope_base: 10_000.0,
            rope_factors: Vec::new(),
            scale: 0.2,
            seed: 1,
            extra: Vec::new(),
        }
    }
}

/// Words that are pieces of the small vocabulary besides all single
/// characters of ASCII, with and without a space before them.
const WORDS: [&str; 24] = [
    "th", "the", "an", "and", "in", "ing", "er", "is", "wh", "at", "what", "on", "no", "to", "ac",
    "act", "action", "Fin", "al", "json", "out", "ex", "/s", "lo",
];

/// The id of a piece that is a closing brace and more.
pub const BRACED: u32 = 259;

/// The pieces of the small vocabulary: text, score and type.
pub fn vocabulary(length: usize) -> Vec<(String, f32, i32)> {
    let mut pieces = vec![
        ("<unk>".to_string(), 0.0, 2),
        ("<s>".to_string(), 0.0, 3),
        ("</s>".to_string(), 0.0, 3),
    ];
    pieces.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    let mut add = |text: String| {
        if !pieces.iter().any(|(known, ..)| *known == text) && pieces.len() < length {
            let score = 259.0 - pieces.len() as f32;
            pieces.push((text, score, 1));
        }
    };
    add("}th".into());
    add("▁".into());
    (b'!'..=b'~').for_each(|letter| add(char::from(letter).into()));
    add("é".into());
    add("→".into());
    for word in WORDS {
        add(word.into());
        add(format!("▁{word}"));
    }
    // Every beginning of a word is a piece too, or merges could not reach it.
    for word in WORDS {
        for end in 2..word.len() {
            add(word[..end].into());
            add(format!("▁{}", &word[..end]));
        }
        add(format!("▁{}", &word[..1]));
    }
    for first in 'a'..='z' {
        for second in 'a'..='z' {
            add(format!("{first}{second}"));
        }
    }
    for i in pieces.len()..length {
        pieces.push((format!("▁pad{i}"), -1e6 - i as f32, 1));
    }
    pieces
}

impl Tiny {
    /// The shape of the model in the box.
    pub fn box_shape() -> Self {
        Self {
            layers: 8,
            dim: 384,
            heads: 6,
            kv_heads: 2,
            ffn: 1024,
            vocab: 2048,
            context: 4096,
            kind: GgmlDType::Q8_0,
            tied: true,
            scale: 0.05,
            ..Self::default()
        }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.written(self.tensors())
    }

    fn written(&self, tensors: Vec<(String, QTensor)>) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        self.write_to(&mut file, tensors);
        file.into_inner()
    }

    fn write_to(
        &self,
        file: &mut (impl std::io::Write + std::io::Seek),
        tensors: Vec<(String, QTensor)>,
    ) {
        let tensors: Vec<_> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        let metadata = self.metadata();
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        write(file, &metadata, &tensors).expect("a GGUF file");
    }

    /// The same model with its weights rounded as `kind` rounds them, written
    /// as f32: what a file of that kind stands for.
    pub fn rounded_bytes(&self) -> Vec<u8> {
        let exact = |(name, tensor): (String, QTensor)| {
            let tensor = tensor.dequantize(&Device::Cpu).expect("a tensor");
            (name, QTensor::quantize(&tensor, GgmlDType::F32).expect("a tensor"))
        };
        self.written(self.tensors().into_iter().map(exact).collect())
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        let u32 = |value: usize| Value::U32(value as u32);
        let pieces = vocabulary(self.vocab);
        let array = |values: Vec<Value>| Value::Array(values);
        let mut metadata: Vec<(String, Value)> = [
            ("general.architecture", Value::String("llama".into())),
            ("llama.block_count", u32(self.layers)),
            ("llama.embedding_length", u32(self.dim)),
            ("llama.feed_forward_length", u32(self.ffn)),
            ("llama.context_length", u32(self.context)),
            ("llama.attention.head_count", u32(self.heads)),
            ("llama.attention.head_count_kv", u32(self.kv_heads)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", u32(self.dim / self.heads)),
            ("llama.rope.freq_base", Value::F32(self.rope_base)),
            ("tokenizer.ggml.model", Value::String("llama".into())),
            (
                "tokenizer.ggml.tokens",
                array(pieces.iter().map(|piece| Value::String(piece.0.clone())).collect()),
            ),
            (
                "tokenizer.ggml.scores",
                array(pieces.iter().map(|piece| Value::F32(piece.1)).collect()),
            ),
            (
                "tokenizer.ggml.token_type",
                array(pieces.iter().map(|piece| Value::I32(piece.2)).collect()),
            ),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
            ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into();
        for (key, value) in &self.extra {
            metadata.retain(|(known, _)| known != key);
            metadata.push((key.clone(), value.clone()));
        }
        metadata
    }

    fn tensors(&self) -> Vec<(String, QTensor)> {
        let mut random = Random(self.seed);
        let mut tensors = Vec::new();
        let mut add = |name: String, rows: usize, columns: usize| {
            let data: Vec<f32> =
                (0..rows * columns).map(|_| random.normal() * self.scale).collect();
            let tensor = Tensor::from_vec(data, (rows, columns), &Device::Cpu).expect("a tensor");
            let kind = if columns.is_multiple_of(self.kind.block_size()) {
                self.kind
            } else {
                GgmlDType::F32
            };
            tensors.push((name, QTensor::quantize(&tensor, kind).expect("a quantized tensor")));
        };
        let kv = self.dim / self.heads * self.kv_heads;
        add("token_embd.weight".into(), self.vocab, self.dim);
        for layer in 0..self.layers {
            for (name, rows, columns) in [
                ("attn_q", self.dim, self.dim),
                ("attn_k", kv, self.dim),
                ("attn_v", kv, self.dim),
                ("attn_output", self.dim, self.dim),
                ("ffn_gate", self.ffn, self.dim),
                ("ffn_up", self.ffn, self.dim),
                ("ffn_down", self.dim, self.ffn),
            ] {
                add(format!("blk.{layer}.{name}.weight"), rows, columns);
            }
        }
        if !self.tied {
            add("output.weight".into(), self.vocab, self.dim);
        }
        let mut norm = |name: String| {
            let data: Vec<f32> = (0..self.dim).map(|_| 1.0 + 0.1 * random.normal()).collect();
            let tensor = Tensor::from_vec(data, self.dim, &Device::Cpu).expect("a tensor");
            let tensor = QTensor::quantize(&tensor, GgmlDType::F32).expect("a tensor");
            tensors.push((name, tensor));
        };
        for layer in 0..self.layers {
            norm(format!("blk.{layer}.attn_norm.weight"));
            norm(format!("blk.{layer}.ffn_norm.weight"));
        }
        norm("output_norm.weight".into());
        if !self.rope_factors.is_empty() {
            let factors = Tensor::new(&self.rope_factors[..], &Device::Cpu).expect("a tensor");
            let factors = QTensor::quantize(&factors, GgmlDType::F32).expect("a tensor");
            tensors.push(("rope_freqs.weight".into(), factors));
        }
        tensors
    }
}

/// Numbers that are the same on every run: splitmix64 (Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Near enough to a normal distribution: the sum of twelve uniforms.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}
