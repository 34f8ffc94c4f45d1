//! The forward pass on an NVIDIA GPU, at the speed of its memory.
//!
//! Weights stay in the bits of the file; activations are quantized to 8 bits, a
//! scale for each 32; the cache is f16. Passes are graphs of launches over static
//! buffers, up to 16 tokens each. A token's row does not depend on the tokens
//! processed with it, bit for bit. Embeddings stay in the computer's memory.

mod driver;
mod kernels;
pub mod layout;
pub mod memory;
mod plan;
mod weights;

use anyhow::{Context, Result, ensure};
use candle_core::quantized::QTensor;
use candle_core::{Device as Host, Tensor};
use sha2::{Digest, Sha256};

pub use self::layout::Format;
pub use self::memory::Needs;

pub use self::driver::devices;

use self::driver::{Buffer, Device, Graph, Pinned};
use self::kernels::{FATBIN, HEAD_DIMS, MOST_COLUMNS, compiled_columns};
use self::memory::{STATE, Sizes};
use self::plan::{Addresses, Plan, Weights};
use self::weights::{Loader, Source};
use super::portable::turns;
use super::{CacheRows, Forward, Gguf, LlamaConfig, ModelError, Want};
use crate::chat::Cancel;

/// Tokens that `forward` should be given at a time: the wish to stop is looked
/// at every 16 anyway.
const CHUNK: usize = 256;

/// A Llama on a GPU.
pub struct Cuda {
    config: LlamaConfig,
    embedding: Embedding,
    length: usize,
    at: Addresses,
    needs: Needs,
    fingerprint: Option<String>,
    /// For 1, 8 and 16 columns: layers, then logits.
    graphs: [(Graph, Graph); 3],
    /// State and hidden states of a pass, on their way.
    input: Pinned,
    _buffers: Vec<Buffer>,
    // Last, because dropping the others needs its context.
    device: Device,
}

enum Embedding {
    Rows(QTensor),
    Random,
}

impl Cuda {
    /// Loads a model onto a GPU. `context` may be less than the file's, to save
    /// memory; `tell` hears how many layers are there.
    ///
    /// # Errors
    /// There is no such GPU, the model is of a shape or format that the kernels
    /// do not have, or it does not fit; nothing is loaded then.
    pub fn open(
        gguf: &Gguf,
        context: Option<usize>,
        ordinal: usize,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let mut config = LlamaConfig::from_gguf(gguf)?;
        config.context = context.unwrap_or(config.context).clamp(1, config.context);
        let embedding = gguf.tensor("token_embd.weight", &[config.vocab, config.dim])?;
        let factors = if config.rope.factors {
            let factors = gguf.tensor("rope_freqs.weight", &[config.rope.dims / 2])?;
            let factors = factors.dequantize(&Host::Cpu).and_then(|factors| factors.to_vec1());
            Some(factors.map_err(ModelError::from)?)
        } else {
            None
        };
        let mut kernels = Sha256::new();
        kernels.update(FATBIN);
        let identity = gguf.identity();
        let mut engine = Self::load(
            Source::File(gguf),
            config,
            Embedding::Rows(embedding),
            factors,
            ordinal,
            tell,
        )?;
        let Device { name, capability, .. } = &engine.device;
        engine.fingerprint = Some(format!(
            "cuda {:x?}, cache f16, on {name} {capability:?}, of {identity:x?}",
            kernels.finalize()
        ));
        Ok(engine)
    }

    /// A model of this shape with random weights, for measuring.
    ///
    /// # Errors
    /// As for `open`.
    pub fn random(config: LlamaConfig, format: Format, ordinal: usize) -> Result<Self> {
        let source = Source::Random(format);
        Self::load(source, config, Embedding::Random, None, ordinal, &mut |_| {})
    }

    fn load(
        source: Source,
        config: LlamaConfig,
        embedding: Embedding,
        factors: Option<Vec<f32>>,
        ordinal: usize,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        supported(&config)?;
        let needs = Needs::new(&config, weights::bytes(source, &config)?);
        let mut device = Device::open(ordinal)?;
        needs.check(&config, device.free()?).map_err(anyhow::Error::msg)?;
        let mut loader = Loader::new(source, &device)?;
        let weights = loader.load(&config, tell)?;
        let mut buffers = std::mem::take(&mut loader.buffers);
        drop(loader);
        let at = addresses(&device, &config, &mut buffers)?;
        let (cos, sin) = turns(&config.rope, factors.as_deref(), 0, config.context);
        let turns: Vec<[f32; 2]> = cos.into_iter().zip(sin).map(|(c, s)| [c, s]).collect();
        device.write(at.turns, &turns)?;
        let graphs = [
            graphs(&mut device, &config, &weights, &at, 1)?,
            graphs(&mut device, &config, &weights, &at, 8)?,
            graphs(&mut device, &config, &weights, &at, 16)?,
        ];
        let input = device.pinned(Sizes::new(&config).input)?;
        Ok(Self {
            config,
            embedding,
            length: 0,
            at,
            needs,
            fingerprint: None,
            graphs,
            input,
            _buffers: buffers,
            device,
        })
    }

    /// The model's constants; `context` is the one in force.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Device memory that the engine took, the driver's own apart.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// The GPU's name.
    pub fn device(&self) -> &str {
        &self.device.name
    }

    /// At most 16 tokens at `start`; returns the logits after the last `rows`.
    fn piece(&mut self, tokens: &[u32], start: usize, rows: usize) -> Result<Vec<f32>> {
        let n = tokens.len();
        let hidden = self.embeddings(tokens)?;
        self.device.synchronize(self.device.stream)?;
        let state = [start as u32, n as u32];
        let input = self.input.bytes();
        let mut write = |at: usize, bytes: &mut dyn Iterator<Item = [u8; 4]>| {
            for (to, from) in input[at..].chunks_exact_mut(4).zip(bytes) {
                to.copy_from_slice(&from);
            }
        };
        write(0, &mut state.iter().map(|value| value.to_le_bytes()));
        write(STATE, &mut hidden.iter().map(|value| value.to_le_bytes()));
        let bytes = STATE + hidden.len() * size_of::<f32>();
        self.device.upload(self.at.state, &self.input, bytes, self.device.stream)?;
        let (layers, logits) = match compiled_columns(n) {
            1 => &self.graphs[0],
            8 => &self.graphs[1],
            _ => &self.graphs[2],
        };
        self.device.run(layers)?;
        let vocab = self.config.vocab;
        let mut result = vec![0.0; rows * vocab];
        if rows > 0 {
            self.device.run(logits)?;
            let first = ((n - rows) * vocab * size_of::<f32>()) as u64;
            self.device.read(&mut result, self.at.logits + first)?;
        }
        Ok(result)
    }

    fn embeddings(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        Ok(match &self.embedding {
            Embedding::Rows(rows) => {
                let ids = Tensor::new(tokens, &Host::Cpu)?;
                rows.embedding(&ids)?.flatten_all()?.to_vec1()?
            }
            Embedding::Random => {
                let value = |id: u32, i: usize| {
                    let bits =
                        (id + 1).wrapping_mul(0x9e37_79b9) ^ (i as u32).wrapping_mul(0x85eb_ca6b);
                    (bits.wrapping_mul(0xc2b2_ae35) >> 8) as f32 / (1 << 23) as f32 - 1.0
                };
                let dim = self.config.dim;
                tokens.iter().flat_map(|&id| (0..dim).map(move |i| value(id, i))).collect()
            }
        })
    }

    /// Where each layer's and head's cached rows begin, keys before values.
    fn cached(&self) -> impl Iterator<Item = u64> + use<> {
        let LlamaConfig { layers, kv_heads, head_dim, context, .. } = self.config;
        let head = (context * head_dim * 2) as u64;
        [self.at.keys, self.at.values]
            .into_iter()
            .flat_map(move |at| (0..(layers * kv_heads) as u64).map(move |i| at + i * head))
    }
}

impl Forward for Cuda {
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        let (n, vocab) = (tokens.len(), self.config.vocab);
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            anyhow::bail!("the token {id} is outside the vocabulary of {vocab}");
        }
        ensure!(n > 0 || want == Want::Nothing, "logits of no tokens");
        let (needed, context) = (self.length + n, self.config.context);
        ensure!(needed <= context, "{needed} tokens do not fit the context of {context}");
        self.device.bind()?;
        let first = n - want.rows(n);
        let mut logits = Vec::new();
        for (i, piece) in tokens.chunks(MOST_COLUMNS).enumerate() {
            if cancel.is_set() {
                return Ok(None);
            }
            let start = i * MOST_COLUMNS;
            let rows = (start + piece.len()).saturating_sub(first.max(start));
            logits.extend(self.piece(piece, self.length + start, rows)?);
        }
        self.device.synchronize(self.device.stream)?;
        self.length = needed;
        Ok(Some(logits))
    }

    fn truncate(&mut self, len: usize) {
        self.length = self.length.min(len);
    }

    fn len(&self) -> usize {
        self.length
    }

    fn context(&self) -> usize {
        self.config.context
    }

    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn chunk(&self) -> usize {
        CHUNK
    }

    fn fingerprint(&self) -> Option<String> {
        self.fingerprint.clone()
    }

    fn export(&self, len: usize) -> Result<CacheRows> {
        ensure!(len <= self.length, "{len} of {} tokens cannot be exported", self.length);
        self.device.bind()?;
        let row = len * self.config.head_dim * 2;
        let places: Vec<u64> = self.cached().collect();
        let mut bytes = vec![0u8; places.len() * row];
        if row > 0 {
            for (at, bytes) in places.into_iter().zip(bytes.chunks_exact_mut(row)) {
                self.device.read(bytes, at)?;
            }
        }
        Ok(CacheRows { tokens: len, bytes })
    }

    fn import(&mut self, rows: &CacheRows) -> Result<()> {
        self.device.bind()?;
        let places: Vec<u64> = self.cached().collect();
        let row = rows.tokens.saturating_mul(self.config.head_dim * 2);
        let fits = rows.tokens <= self.config.context && rows.bytes.len() == places.len() * row;
        ensure!(fits, "{} exported tokens do not fit this cache", rows.tokens);
        // A pass that was cancelled may still be under way.
        self.device.synchronize(self.device.stream)?;
        self.length = 0;
        if row > 0 {
            for (at, bytes) in places.into_iter().zip(rows.bytes.chunks_exact(row)) {
                self.device.write(at, bytes)?;
            }
        }
        self.length = rows.tokens;
        Ok(())
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // The buffers are freed in the device's context; without it they are gone.
        let _ = self.device.bind();
    }
}

/// # Errors
/// The kernels are not compiled for this shape.
fn supported(config: &LlamaConfig) -> Result<(), ModelError> {
    let LlamaConfig { dim, ffn, head_dim, heads, kv_heads, .. } = *config;
    let whole = [dim, ffn, heads * head_dim, kv_heads * head_dim];
    if HEAD_DIMS.contains(&head_dim) && whole.iter().all(|size| size.is_multiple_of(32)) {
        return Ok(());
    }
    Err(ModelError::Unsupported(format!(
        "the GPU engine has no kernels for heads of {head_dim}, width {dim} and {ffn}: use --device \
         cpu"
    )))
}

fn addresses(
    device: &Device,
    config: &LlamaConfig,
    buffers: &mut Vec<Buffer>,
) -> Result<Addresses> {
    let sizes = Sizes::new(config);
    let mut take = |bytes: usize| -> Result<u64> {
        let buffer = device.zeroed(bytes).context("buffers of a pass")?;
        let at = buffer.at;
        buffers.push(buffer);
        Ok(at)
    };
    let mut three = |sizes: [usize; 3]| -> Result<[u64; 3]> {
        Ok([take(sizes[0])?, take(sizes[1])?, take(sizes[2])?])
    };
    let (model, mixed, inner) = (three(sizes.model)?, three(sizes.mixed)?, three(sizes.inner)?);
    let state = take(sizes.input)?;
    Ok(Addresses {
        state,
        hidden: state + STATE as u64,
        squares: take(sizes.squares)?,
        model,
        mixed,
        inner,
        queries: take(sizes.queries)?,
        keys: take(memory::cache(config))?,
        values: take(memory::cache(config))?,
        sums: take(sizes.sums)?,
        tops: take(sizes.tops)?,
        turns: take(sizes.turns)?,
        logits: take(sizes.logits)?,
    })
}

fn graphs(
    device: &mut Device,
    config: &LlamaConfig,
    weights: &Weights,
    at: &Addresses,
    columns: usize,
) -> Result<(Graph, Graph)> {
    let plan = Plan { config, weights, at, columns, hopper: device.hopper() };
    Ok((device.record(&plan.layers())?, device.record(&plan.logits())?))
}
