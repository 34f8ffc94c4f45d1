//! `config.json`: the constants of a Llama as Hugging Face writes them.

use std::f64::consts::TAU;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;

use super::error::ConvertError;
use super::json;
use super::writer::{Metadata, Value};

/// The file's name.
const FILE: &str = "config.json";
/// Larger than any size of a real model, and small enough that products of
/// three of them cannot overflow.
const MAX_SIZE: usize = 1 << 20;

/// A Llama's constants.
#[derive(Clone, Debug)]
pub struct Config {
    pub layers: usize,
    pub dim: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ffn: usize,
    pub vocab: usize,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// Ids of the tokens that begin and end a sequence, where it names them.
    pub bos: Option<u64>,
    pub eos: Option<u64>,
    /// What each pair's rotation frequency is divided by, if anything.
    pub rope_factors: Option<Vec<f32>>,
    /// Tokens it was made for.
    pub context: usize,
    norm_eps: f64,
    rope_base: f64,
    rope_scale: Option<f64>,
}

/// As it stands in the file; defaults are those of transformers' LlamaConfig.
#[derive(Deserialize)]
struct Raw {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    bos_token_id: Option<Json>,
    eos_token_id: Option<Json>,
    quantization_config: Option<Json>,
}

/// How positions are scaled; transformers 5 keeps the base here too.
#[derive(Clone, Default, Deserialize)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

impl Config {
    /// Reads the folder's `config.json`.
    ///
    /// # Errors
    /// It is not there, is damaged, or is that of another kind of model.
    pub fn read(folder: &Path) -> Result<Self, ConvertError> {
        let Some(file) = json::read(folder, FILE)? else {
            return Err(ConvertError::Missing { folder: folder.into(), name: FILE.into() });
        };
        let damaged = |why: String| ConvertError::damaged(&folder.join(FILE), why);
        architecture(&file)?;
        let raw: Raw = serde_json::from_value(file).map_err(|error| damaged(error.to_string()))?;
        supported(&raw)?;
        let size = |name: &str, value: usize| match value {
            1..=MAX_SIZE => Ok(value),
            _ => Err(damaged(format!("{name} is {value}"))),
        };
        let dim = size("hidden_size", raw.hidden_size)?;
        let heads = size("num_attention_heads", raw.num_attention_heads)?;
        let kv_heads = size("num_key_value_heads", raw.num_key_value_heads.unwrap_or(heads))?;
        let head_dim = size("head_dim", raw.head_dim.unwrap_or(dim / heads))?;
        if !heads.is_multiple_of(kv_heads) || !head_dim.is_multiple_of(2) {
            return Err(damaged(format!(
                "{heads} heads of {head_dim} and {kv_heads} key-value heads do not go together"
            )));
        }
        let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(value),
            false => Err(damaged(format!("{name} is {value}"))),
        };
        let rope = raw.rope_parameters.or(raw.rope_scaling).unwrap_or_default();
        let base = rope.rope_theta.or(raw.rope_theta).unwrap_or(10_000.0);
        let base = positive("rope_theta", base)?;
        let mut this = Self {
            layers: size("num_hidden_layers", raw.num_hidden_layers)?,
            dim,
            heads,
            kv_heads,
            head_dim,
            ffn: size("intermediate_size", raw.intermediate_size)?,
            vocab: size("vocab_size", raw.vocab_size)?,
            tied: raw.tie_word_embeddings.unwrap_or(false),
            bos: first_id(raw.bos_token_id.as_ref()),
            eos: first_id(raw.eos_token_id.as_ref()),
            rope_factors: None,
            context: raw.max_position_embeddings.unwrap_or(2048),
            norm_eps: positive("rms_norm_eps", raw.rms_norm_eps.unwrap_or(1e-6))?,
            rope_base: base,
            rope_scale: None,
        };
        size("max_position_embeddings", this.context.div_ceil(16))?;
        let needed = |name: &str, value: Option<f64>| match value {
            Some(value) => positive(name, value),
            None => Err(damaged(format!("its position scaling lacks {name}"))),
        };
        match rope.rope_type.as_deref() {
            None | Some("default") => {}
            Some("linear") => this.rope_scale = Some(needed("factor", rope.factor)?),
            Some("llama3") => {
                this.rope_factors = Some(llama3_factors(
                    base,
                    head_dim,
                    needed("factor", rope.factor)?,
                    needed("low_freq_factor", rope.low_freq_factor)?,
                    needed("high_freq_factor", rope.high_freq_factor)?,
                    needed(
                        "original_max_position_embeddings",
                        rope.original_max_position_embeddings,
                    )?,
                ));
            }
            Some(other) => {
                return Err(ConvertError::Unsupported(format!(
                    "its position scaling {other:?} is not supported: \
                     use a model with linear or llama3 scaling or none"
                )));
            }
        }
        Ok(this)
    }

    /// The constants as GGUF names them.
    pub(super) fn metadata(&self) -> Metadata {
        let u32 = |value: usize| Value::U32(value as u32);
        let mut metadata: Metadata = [
            ("llama.block_count", u32(self.layers)),
            ("llama.context_length", u32(self.context)),
            ("llama.embedding_length", u32(self.dim)),
            ("llama.feed_forward_length", u32(self.ffn)),
            ("llama.attention.head_count", u32(self.heads)),
            ("llama.attention.head_count_kv", u32(self.kv_heads)),
            ("llama.attention.key_length", u32(self.head_dim)),
            ("llama.attention.value_length", u32(self.head_dim)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(self.norm_eps as f32)),
            ("llama.rope.dimension_count", u32(self.head_dim)),
            ("llama.rope.freq_base", Value::F32(self.rope_base as f32)),
            ("llama.vocab_size", u32(self.vocab)),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into();
        if let Some(scale) = self.rope_scale {
            metadata.push(("llama.rope.scaling.type".into(), Value::Text("linear".into())));
            metadata.push(("llama.rope.scaling.factor".into(), Value::F32(scale as f32)));
        }
        metadata
    }
}

/// Refuses whatever does not call itself a Llama.
fn architecture(file: &Json) -> Result<(), ConvertError> {
    let named = file["architectures"][0].as_str();
    match (named, file["model_type"].as_str()) {
        (Some("LlamaForCausalLM"), _) | (None, Some("llama")) => Ok(()),
        (named, kind) => Err(ConvertError::Unsupported(format!(
            "its architecture is {:?}, only \"LlamaForCausalLM\" is supported: \
             use a Llama model such as Llama-2 chat",
            named.or(kind).unwrap_or("unknown")
        ))),
    }
}

/// Refuses variations that a Llama in GGUF does not have.
fn supported(raw: &Raw) -> Result<(), ConvertError> {
    let refuse = |what: &str| {
        Err(ConvertError::Unsupported(format!("{what}: use a model in bf16, f16 or f32")))
    };
    if raw.attention_bias == Some(true) || raw.mlp_bias == Some(true) {
        return refuse("its matrices have biases, which this program's Llama has not");
    }
    if let Some(other) = raw.hidden_act.as_deref().filter(|act| *act != "silu") {
        return refuse(&format!("its activation is {other:?} instead of \"silu\""));
    }
    let Some(quantization) = &raw.quantization_config else { return Ok(()) };
    match quantization["quant_method"].as_str() {
        Some("bitsandbytes") | None if quantization["load_in_8bit"] != Json::Bool(true) => Ok(()),
        Some("bitsandbytes") | None => refuse("it is in bitsandbytes' 8 bits, only 4 are read"),
        Some(other) => refuse(&format!("it is quantized already, by {other:?}")),
    }
}

/// An id, or the first of several.
fn first_id(value: Option<&Json>) -> Option<u64> {
    match value? {
        Json::Array(all) => all.first()?.as_u64(),
        one => one.as_u64(),
    }
}

/// What Llama 3.1 divides the frequency of each pair of a head's elements by:
/// nothing where the wave is short, `factor` where it is long, and a smooth
/// passage between (Dubey et al. 2024, arXiv:2407.21783; the constants are
/// those of transformers' `rope_type: llama3`).
fn llama3_factors(
    base: f64,
    head_dim: usize,
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
) -> Vec<f32> {
    let of = |pair: usize| {
        let frequency = base.powf(-2.0 * pair as f64 / head_dim as f64);
        let wavelength = TAU / frequency;
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..head_dim / 2).map(|pair| of(pair) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_waves_stay_and_long_ones_are_stretched() {
        // Llama 3.1: head_dim 128, base 500000, factor 8, 1 to 4 of 8192.
        let factors = llama3_factors(500_000.0, 128, 8.0, 1.0, 4.0, 8192.0);
        assert_eq!((factors.len(), factors[0], factors[63]), (64, 1.0, 8.0));
        assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(factors.iter().any(|factor| (1.5..7.5).contains(factor)));
    }
}
