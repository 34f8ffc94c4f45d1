//! The constants of a Llama: its shape and its position encoding.

use super::error::ModelError;
use super::gguf::{Header, Value};

/// The shape of a model, and the constants of its layers.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Transformer blocks.
    pub layers: usize,
    /// Length of a token's hidden state.
    pub dim: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads` (grouped-query attention).
    pub kv_heads: usize,
    /// Length of a head's vectors.
    pub head_dim: usize,
    /// Length of the feed-forward network's inner state.
    pub ffn: usize,
    /// Rows of the embedding, and logits in a row.
    pub vocab: usize,
    /// Tokens the model was made for, prompt and reply together.
    pub context: usize,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f64,
    /// How positions are turned into rotations.
    pub rope: Rope,
    /// The output matrix is the embedding.
    pub tied: bool,
}

/// Rotary position encoding (Su et al. 2021, arXiv:2104.09864), on adjacent
/// pairs of a head's first `dims` elements, as GGUF stores Llama's weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Elements of a head that are rotated.
    pub dims: usize,
    /// Base of the frequencies: pair i turns by `base^(-2i/dims)` a position.
    pub base: f32,
    /// Linear scaling: positions are divided by this.
    pub scale: f32,
    /// The file has a `rope_freqs` tensor: pair i's frequency is divided by
    /// its element i.
    pub factors: bool,
}

impl LlamaConfig {
    /// Reads the constants from a file's metadata.
    ///
    /// # Errors
    /// `Unsupported` for anything but a dense Llama, `Damaged` for constants
    /// that are missing or contradict each other.
    pub fn from_gguf(gguf: &Header) -> Result<Self, ModelError> {
        match gguf.text("general.architecture").as_deref() {
            Some("llama") => {}
            Some(other) => {
                return Err(ModelError::Unsupported(format!(
                    "its architecture is {other:?}, only \"llama\" is supported: \
                     use a Llama model such as Llama-2 chat"
                )));
            }
            None => return Err(ModelError::damaged("general.architecture is missing")),
        }
        if gguf.uint("llama.expert_count").unwrap_or(0) > 0 {
            return Err(ModelError::Unsupported(
                "it is a mixture of experts: use a dense Llama model".into(),
            ));
        }
        let layers = size(gguf, "llama.block_count")?;
        let dim = size(gguf, "llama.embedding_length")?;
        let ffn = size(gguf, "llama.feed_forward_length")?;
        let context = size(gguf, "llama.context_length")?;
        let heads = size(gguf, "llama.attention.head_count")?;
        let kv_heads = size_or(gguf, "llama.attention.head_count_kv", heads)?;
        let head_dim = size_or(gguf, "llama.attention.key_length", dim / heads)?;
        let value_dim = size_or(gguf, "llama.attention.value_length", head_dim)?;
        if !heads.is_multiple_of(kv_heads) || head_dim != value_dim || !head_dim.is_multiple_of(2) {
            return Err(ModelError::damaged(format!(
                "{heads} heads of {head_dim} and {kv_heads} key-value heads of {value_dim} \
                 do not go together"
            )));
        }
        let vocab = match gguf.shape("token_embd.weight") {
            Some([vocab, _]) => *vocab,
            _ => return Err(ModelError::damaged("the tensor token_embd.weight is missing")),
        };
        let norm_eps = gguf
            .float("llama.attention.layer_norm_rms_epsilon")
            .filter(|eps| *eps >= 0.0 && *eps < 1.0)
            .ok_or_else(|| {
                ModelError::damaged("llama.attention.layer_norm_rms_epsilon is missing or absurd")
            })?;
        let rope = Rope::from_gguf(gguf, head_dim)?;
        let tied = gguf.shape("output.weight").is_none();
        Ok(Self {
            layers,
            dim,
            heads,
            kv_heads,
            head_dim,
            ffn,
            vocab,
            context,
            norm_eps,
            rope,
            tied,
        })
    }
}

impl Rope {
    fn from_gguf(gguf: &Header, head_dim: usize) -> Result<Self, ModelError> {
        let dims = size_or(gguf, "llama.rope.dimension_count", head_dim)?;
        if dims > head_dim || !dims.is_multiple_of(2) {
            return Err(ModelError::damaged(format!("{dims} of {head_dim} elements are rotated")));
        }
        match gguf.text("llama.rope.scaling.type").as_deref() {
            None | Some("none" | "linear") => {}
            Some(other) => {
                return Err(ModelError::Unsupported(format!(
                    "its position scaling {other:?} is not supported: \
                     use a model with linear scaling or none"
                )));
            }
        }
        let none = gguf.text("llama.rope.scaling.type").as_deref() == Some("none");
        let scale = positive(gguf, "llama.rope.scaling.factor")?
            // What older converters wrote.
            .or(positive(gguf, "llama.rope.scale_linear")?)
            .filter(|_| !none)
            .unwrap_or(1.0);
        let base = positive(gguf, "llama.rope.freq_base")?.unwrap_or(10_000.0);
        let factors = gguf.shape("rope_freqs.weight").is_some();
        Ok(Self { dims, base, scale, factors })
    }

    /// Cosines and sines, `(n, pairs)`, of the angles by which `n` positions
    /// from `start` turn a head's pairs; `factors` divide their frequencies.
    pub(super) fn turns(
        &self,
        factors: Option<&[f32]>,
        start: usize,
        n: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let frequencies: Vec<f64> = (0..self.dims / 2)
            .map(|i| {
                let factor = factors.map_or(1.0, |factors| f64::from(factors[i]));
                let exponent = -2.0 * i as f64 / self.dims as f64;
                f64::from(self.base).powf(exponent) / (factor * f64::from(self.scale))
            })
            .collect();
        (start..start + n)
            .flat_map(|position| frequencies.iter().map(move |f| position as f64 * f))
            .map(|angle| {
                let (sin, cos) = angle.sin_cos();
                (cos as f32, sin as f32)
            })
            .unzip()
    }
}

/// A size that has to be there: at least 1, and small enough that products of
/// three of them cannot overflow.
fn size(gguf: &Header, key: &str) -> Result<usize, ModelError> {
    size_of(gguf, key)?.ok_or_else(|| ModelError::damaged(format!("{key} is missing")))
}

fn size_or(gguf: &Header, key: &str, default: usize) -> Result<usize, ModelError> {
    let size = size_of(gguf, key)?.unwrap_or(default);
    if size == 0 { Err(ModelError::damaged(format!("{key} is 0"))) } else { Ok(size) }
}

fn size_of(gguf: &Header, key: &str) -> Result<Option<usize>, ModelError> {
    let value = match gguf.value(key) {
        None => return Ok(None),
        // One number a layer: a Llama has the same in all of them.
        Some(Value::Ints(all)) if all.windows(2).all(|pair| pair[0] == pair[1]) => {
            all.first().copied()
        }
        Some(Value::Int(value)) => Some(*value),
        Some(_) => None,
    };
    match value {
        Some(value) if (1..=1 << 20).contains(&value) => Ok(Some(value as usize)),
        _ => Err(ModelError::damaged(format!("{key} is absurd"))),
    }
}

fn positive(gguf: &Header, key: &str) -> Result<Option<f32>, ModelError> {
    match gguf.float(key) {
        None => Ok(None),
        Some(value) if value.is_finite() && value > 0.0 => Ok(Some(value as f32)),
        Some(value) => Err(ModelError::damaged(format!("{key} is {value}"))),
    }
}
