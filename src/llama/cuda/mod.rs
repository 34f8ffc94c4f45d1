//! The forward pass on an NVIDIA GPU, at the speed of its memory.
//!
//! Weights stay in the bits of the file; activations have 16 bits, the cache f16 or q8_0. Passes
//! are graphs of launches over static buffers: of up to 16 tokens, whose rows do not
//! depend on the tokens processed with them, bit for bit, and of up to 512 for long
//! prompts, whose rows do not depend on them either but differ from the others' in
//! their last bits. Embeddings stay in the computer's memory.

mod choose;
mod driver;
mod first;
mod kernels;
pub mod layout;
pub mod memory;
mod pass;
mod plan;
mod weights;

use std::ops::Range;

use anyhow::{Context, Result};
use candle_core::Device as Host;
use candle_core::quantized::QTensor;
use sha2::{Digest, Sha256};

pub use self::driver::{Gpu, devices, gpus};
pub use self::first::First;
pub use self::layout::Format;
pub use self::memory::Needs;

use self::driver::{Buffer, Device, Graph, Pinned};
use self::kernels::{FATBIN, HEAD_DIMS, Width};
use self::memory::{STATE, Sizes};
use self::plan::{Addresses, Plan};
use self::weights::Loader;
use super::{CacheType, Gguf, LlamaConfig, ModelError};

/// A Llama on a GPU.
pub struct Cuda {
    config: LlamaConfig,
    cache: CacheType,
    embedding: QTensor,
    length: usize,
    at: Addresses,
    needs: Needs,
    fingerprint: Option<String>,
    /// From hidden states on, for up to 4 tokens, 8, 16, and more.
    layers: [Graph; 4],
    /// To logits, of up to 4 tokens, 8 and 16.
    logits: [Graph; 3],
    /// From them to an id.
    choosing: Graph,
    /// Rows of the logits' buffer that ids can be chosen from.
    kept: Range<usize>,
    /// State and hidden states of a pass, on their way.
    input: Pinned,
    /// A question for the kernel that chooses, on its way.
    ask: Pinned,
    _buffers: Vec<Buffer>,
    // Last, because dropping the others needs its context.
    device: Device,
}

impl Cuda {
    /// Loads a model onto a GPU. `context` may be less than the file's, to save
    /// memory, and so may `cache`, which is f16 where nothing is said; `tell` hears
    /// how many layers are there.
    ///
    /// # Errors
    /// There is no such GPU, the model is of a shape or format that the kernels
    /// do not have, or it does not fit; nothing is loaded then.
    pub fn open(
        gguf: &Gguf,
        context: Option<usize>,
        cache: Option<CacheType>,
        ordinal: usize,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        Self::part(gguf, (context, cache), usize::MAX, ordinal, tell)
    }

    /// Loads the first `layers` layers, with the output matrix if that is all.
    fn part(
        gguf: &Gguf,
        asked: (Option<usize>, Option<CacheType>),
        layers: usize,
        ordinal: usize,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let mut kernels = Sha256::new();
        kernels.update(FATBIN);
        let identity = gguf.identity();
        let (config, cache) = in_force(gguf, asked)?;
        let mut engine = Self::load(gguf, config, cache, layers, ordinal, tell)?;
        let Device { name, capability, .. } = &engine.device;
        engine.fingerprint = Some(format!(
            "cuda {:x?}, cache {cache}, {} layers, on {name} {capability:?}, of {identity:x?}",
            kernels.finalize(),
            engine.config.layers
        ));
        Ok(engine)
    }

    fn load(
        gguf: &Gguf,
        mut config: LlamaConfig,
        cache: CacheType,
        layers: usize,
        ordinal: usize,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let embedding = gguf.tensor("token_embd.weight", &[config.vocab, config.dim])?;
        let factors = if config.rope.factors {
            let factors = gguf.tensor("rope_freqs.weight", &[config.rope.dims / 2])?;
            let factors = factors.dequantize(&Host::Cpu).and_then(|factors| factors.to_vec1());
            Some(factors.map_err(ModelError::from)?)
        } else {
            None
        };
        let stored = weights::stored(gguf, &config)?;
        let mut device = Device::open(ordinal)?;
        let needs = Needs::within(&config, cache, &stored, layers, device.memory()?.0);
        let needs = needs.map_err(anyhow::Error::msg)?;
        let whole = layers >= config.layers;
        config.layers = layers.min(config.layers);
        let mut loader = Loader::new(gguf, &device)?;
        let weights = loader.load(&config, whole, tell)?;
        let mut buffers = std::mem::take(&mut loader.buffers);
        drop(loader);
        let at = addresses(&device, &config, cache, &mut buffers)?;
        let (cos, sin) = config.rope.turns(factors.as_deref(), 0, config.context);
        let turns: Vec<[f32; 2]> = cos.into_iter().zip(sin).map(|(c, s)| [c, s]).collect();
        device.write(at.turns, &turns)?;
        let hopper = device.hopper();
        let plan =
            |width| Plan { config: &config, cache, weights: &weights, at: &at, width, hopper };
        let widths = [Width::Four, Width::Eight, Width::Sixteen, Width::Wide];
        let [four, eight, sixteen, wide] = widths.map(plan);
        let layers = [
            device.record(&four.layers())?,
            device.record(&eight.layers())?,
            device.record(&sixteen.layers())?,
            device.record(&wide.layers())?,
        ];
        let logits = [
            device.record(&four.logits())?,
            device.record(&eight.logits())?,
            device.record(&sixteen.logits())?,
        ];
        let choosing = device.record(&[four.choose()])?;
        let input = device.pinned(Sizes::new(&config, cache).input)?;
        let ask = device.pinned(Sizes::new(&config, cache).ask)?;
        Ok(Self {
            config,
            cache,
            embedding,
            length: 0,
            at,
            needs,
            fingerprint: None,
            layers,
            logits,
            choosing,
            kept: 0..0,
            input,
            ask,
            _buffers: buffers,
            device,
        })
    }

    /// The model's constants; `context` and `layers` are those in force.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Device memory that the engine took, the driver's own apart.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// Bytes of device memory that are neither free nor the engine's: the
    /// driver's context, and other programs'.
    fn elsewhere(&self) -> Result<u64> {
        self.device.bind()?;
        let (free, total) = self.device.memory()?;
        Ok(total.saturating_sub(free + self.needs.total()) as u64)
    }

    /// The GPU's name.
    pub fn device(&self) -> &str {
        &self.device.name
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // The buffers are freed in the device's context; without it they are gone.
        let _ = self.device.bind();
    }
}

/// What a whole model needs, wherever there is a GPU; `context` and `cache` as for
/// `open`.
///
/// # Errors
/// It is of a shape or a format that the kernels do not have: what to do.
pub fn needs(gguf: &Gguf, context: Option<usize>, cache: Option<CacheType>) -> Result<Needs> {
    let (config, cache) = in_force(gguf, (context, cache))?;
    let stored = weights::stored(gguf, &config)?;
    Ok(Needs::new(&config, cache, &stored, config.layers))
}

/// A model's constants with the context that is asked for, and the type of the
/// cache.
///
/// # Errors
/// The kernels are not compiled for this shape or this type.
fn in_force(
    gguf: &Gguf,
    (context, cache): (Option<usize>, Option<CacheType>),
) -> Result<(LlamaConfig, CacheType), ModelError> {
    let mut config = LlamaConfig::from_gguf(gguf)?;
    config.context = context.unwrap_or(config.context).clamp(1, config.context);
    supported(&config)?;
    match cache.unwrap_or(CacheType::F16) {
        CacheType::F32 => Err(ModelError::Unsupported(
            "the GPU engine keeps keys and values in f16 or q8_0, not in f32: use --cache-type f16, \
             or --device cpu"
                .into(),
        )),
        kind => Ok((config, kind)),
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
    cache: CacheType,
    buffers: &mut Vec<Buffer>,
) -> Result<Addresses> {
    let sizes = Sizes::new(config, cache);
    let mut take = |bytes: usize| -> Result<u64> {
        let buffer = device.zeroed(bytes).context("buffers of a pass")?;
        let at = buffer.at;
        buffers.push(buffer);
        Ok(at)
    };
    let state = take(sizes.input)?;
    Ok(Addresses {
        state,
        hidden: state + STATE as u64,
        squares: take(sizes.squares)?,
        model: take(sizes.model)?,
        mixed: take(sizes.mixed)?,
        inner: take(sizes.inner)?,
        queries: take(sizes.queries)?,
        fresh: if sizes.fresh > 0 { take(sizes.fresh)? } else { 0 },
        keys: take(memory::cache(config, cache))?,
        values: take(memory::cache(config, cache))?,
        sums: take(sizes.sums)?,
        tops: take(sizes.tops)?,
        turns: take(sizes.turns)?,
        logits: take(sizes.logits)?,
        ask: take(sizes.ask)?,
        weighed: take(sizes.weighed)?,
        answer: take(sizes.answer)?,
    })
}
