//! Hugging Face folders of small Llamas, written by the tests.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use llama_agent::chat::Cancel;
use llama_agent::llama::convert::{Conversion, ConvertError, Report, Target};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::support::{Random, vocabulary};

pub type Pieces = Vec<(String, f32, i32)>;

/// A model, and the folder it is written to.
pub struct Folder {
    pub place: TempDir,
    pub config: Json,
    pub tensors: BTreeMap<String, Tensor>,
    pub pieces: Pieces,
}

impl Folder {
    /// Two layers of random weights in bf16; all rows are multiples of 256.
    pub fn random() -> Self {
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 512,
            "max_position_embeddings": 256,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "bos_token_id": 1,
            "eos_token_id": 2,
            "tie_word_embeddings": false,
        });
        Self::of(config, vocabulary(512))
    }

    /// Random weights for a configuration.
    pub fn of(config: Json, pieces: Pieces) -> Self {
        let size = |name: &str| config[name].as_u64().expect("a size") as usize;
        let (dim, ffn, vocab) =
            (size("hidden_size"), size("intermediate_size"), size("vocab_size"));
        let keys = dim / size("num_attention_heads") * size("num_key_value_heads");
        let mut random = Random(7);
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[usize]| {
            let norm = shape.len() == 1;
            let (mean, scale) = if norm { (1.0, 0.1) } else { (0.0, 0.1) };
            let count = shape.iter().product();
            let data: Vec<f32> = (0..count).map(|_| mean + scale * random.normal()).collect();
            let tensor = Tensor::from_vec(data, shape, &Device::Cpu).unwrap();
            tensors.insert(name, tensor.to_dtype(DType::BF16).unwrap());
        };
        add("model.embed_tokens.weight".into(), &[vocab, dim]);
        add("model.norm.weight".into(), &[dim]);
        if config["tie_word_embeddings"] == false {
            add("lm_head.weight".into(), &[vocab, dim]);
        }
        for layer in 0..size("num_hidden_layers") {
            for (name, shape) in [
                ("input_layernorm", &[dim][..]),
                ("self_attn.q_proj", &[dim, dim]),
                ("self_attn.k_proj", &[keys, dim]),
                ("self_attn.v_proj", &[keys, dim]),
                ("self_attn.o_proj", &[dim, dim]),
                ("post_attention_layernorm", &[dim]),
                ("mlp.gate_proj", &[ffn, dim]),
                ("mlp.up_proj", &[ffn, dim]),
                ("mlp.down_proj", &[dim, ffn]),
            ] {
                add(format!("model.layers.{layer}.{name}.weight"), shape);
            }
        }
        Self { place: tempfile::tempdir().unwrap(), config, tensors, pieces }
    }

    /// A GGUF file's model the way back: rows of heads in Hugging Face's
    /// order, everything in f32.
    pub fn from_gguf(bytes: &[u8]) -> Self {
        let mut file = Cursor::new(bytes);
        let content = Content::read(&mut file).unwrap();
        let get = |key: &str| &content.metadata[key];
        let size = |key: &str| get(key).to_u32().unwrap();
        let (heads, keys) =
            (size("llama.attention.head_count"), size("llama.attention.head_count_kv"));
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": size("llama.embedding_length"),
            "intermediate_size": size("llama.feed_forward_length"),
            "num_hidden_layers": size("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": keys,
            "vocab_size": content.tensor_infos["token_embd.weight"].shape.dims()[0],
            "max_position_embeddings": size("llama.context_length"),
            "rms_norm_eps": get("llama.attention.layer_norm_rms_epsilon").to_f32().unwrap(),
            "rope_theta": get("llama.rope.freq_base").to_f32().unwrap(),
            "bos_token_id": size("tokenizer.ggml.bos_token_id"),
            "eos_token_id": size("tokenizer.ggml.eos_token_id"),
            "tie_word_embeddings": !content.tensor_infos.contains_key("output.weight"),
        });
        let list = |key: &str| get(key).to_vec().unwrap();
        let pieces = list("tokenizer.ggml.tokens")
            .iter()
            .zip(list("tokenizer.ggml.scores"))
            .zip(list("tokenizer.ggml.token_type"))
            .map(|((text, score), kind)| {
                let text = text.to_string().unwrap().clone();
                (text, score.to_f32().unwrap(), kind.to_i32().unwrap())
            })
            .collect();
        let mut tensors = BTreeMap::new();
        for name in content.tensor_infos.keys() {
            let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap();
            let tensor = tensor.dequantize(&Device::Cpu).unwrap();
            let tensor = match name.split('.').nth(2) {
                Some("attn_q") => reorder(&tensor, heads as usize, false),
                Some("attn_k") => reorder(&tensor, keys as usize, false),
                _ => tensor,
            };
            tensors.insert(their_name(name), tensor);
        }
        Self { place: tempfile::tempdir().unwrap(), config, tensors, pieces }
    }

    /// The same weights as q8_0 rounds them, in f32: those become q8_0 again
    /// without any loss.
    pub fn rounded(mut self) -> Self {
        for tensor in self.tensors.values_mut() {
            let float = tensor.to_dtype(DType::F32).unwrap();
            *tensor = match float.rank() {
                1 => float,
                _ => QTensor::quantize(&float, GgmlDType::Q8_0)
                    .and_then(|blocks| blocks.dequantize(&Device::Cpu))
                    .unwrap(),
            };
        }
        self
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// Writes everything, the weights into so many files.
    pub fn write(&self, shards: usize) -> &Self {
        self.file("config.json", self.config.to_string());
        self.file("tokenizer.model", sentencepiece(&self.pieces));
        if shards == 1 {
            let all: HashMap<_, _> = self.tensors.clone().into_iter().collect();
            candle_core::safetensors::save(&all, self.path().join("model.safetensors")).unwrap();
            return self;
        }
        let mut index = HashMap::new();
        let mut files = vec![HashMap::new(); shards];
        for (i, (name, tensor)) in self.tensors.iter().enumerate() {
            files[i % shards].insert(name.clone(), tensor.clone());
            index.insert(name, shard(i % shards, shards));
        }
        for (i, tensors) in files.iter().enumerate() {
            candle_core::safetensors::save(tensors, self.path().join(shard(i, shards))).unwrap();
        }
        self.file(
            "model.safetensors.index.json",
            json!({ "metadata": {}, "weight_map": index }).to_string(),
        );
        self
    }

    /// Quantizes what was written to a file beside it; its name and the report.
    pub fn quantized(&self, target: Target) -> (PathBuf, Report) {
        let output = self.path().join(format!("{target}.gguf"));
        let conversion = Conversion::plan(self.path(), target).unwrap();
        let bytes = conversion.bytes();
        let report = conversion.write(&output, &Cancel::new(), &mut |_| {}).unwrap();
        // What it will take on the disk is known before.
        assert_eq!(fs::metadata(&output).unwrap().len(), bytes);
        (output, report)
    }

    /// Why what was written cannot be quantized; nothing is left of the try.
    pub fn refused(&self) -> ConvertError {
        let output = self.path().join("refused.gguf");
        let result = Conversion::plan(self.path(), Target::Q8_0)
            .and_then(|conversion| conversion.write(&output, &Cancel::new(), &mut |_| {}));
        assert!(self.leftovers().is_empty(), "{:?}", self.leftovers());
        result.expect_err("a refusal")
    }

    /// Files that a conversion left.
    pub fn leftovers(&self) -> Vec<String> {
        let names = fs::read_dir(self.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".part") || name.ends_with(".gguf")).collect()
    }
}

pub fn shard(i: usize, shards: usize) -> String {
    format!("model-{:05}-of-{shards:05}.safetensors", i + 1)
}

/// The rows of each of `heads` heads from Hugging Face's order to GGUF's, or back.
pub fn reorder(tensor: &Tensor, heads: usize, to_gguf: bool) -> Tensor {
    let (rows, columns) = tensor.dims2().unwrap();
    let half = rows / heads / 2;
    let shape = if to_gguf { (heads, 2, half, columns) } else { (heads, half, 2, columns) };
    let parts = tensor.reshape(shape).unwrap().transpose(1, 2).unwrap();
    parts.contiguous().unwrap().reshape((rows, columns)).unwrap()
}

/// What Hugging Face calls a tensor of a GGUF file.
pub fn their_name(name: &str) -> String {
    match name.split('.').collect::<Vec<_>>()[..] {
        ["token_embd", _] => "model.embed_tokens.weight".into(),
        ["output_norm", _] => "model.norm.weight".into(),
        ["output", _] => "lm_head.weight".into(),
        ["blk", layer, part, _] => {
            let part = match part {
                "attn_norm" => "input_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                other => panic!("{other}"),
            };
            format!("model.layers.{layer}.{part}.weight")
        }
        _ => panic!("{name}"),
    }
}

/// A `tokenizer.model`: pieces, and a trainer that says byte-pair encoding.
pub fn sentencepiece(pieces: &[(String, f32, i32)]) -> Vec<u8> {
    let mut file = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = field(1, text.as_bytes());
        piece.push(0x15);
        piece.extend(score.to_le_bytes());
        piece.extend([0x18, *kind as u8]);
        file.extend(field(1, &piece));
    }
    file.extend(field(2, &[0x18, 2]));
    file.extend(field(3, &[0x18, 1]));
    file
}

/// A protocol buffer's field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend(bytes);
    field
}

/// The texts of a metadata array.
pub fn texts(value: &Value) -> Vec<String> {
    value.to_vec().unwrap().iter().map(|text| text.to_string().unwrap().clone()).collect()
}
