//! The Llama-2 chat models, which have short names.

use crate::cli::fit::Shape;

/// A model that has a short name.
pub struct Known {
    pub name: &'static str,
    /// Bytes of its tensors in `QUANTIZATION`.
    pub weights: u64,
    pub shape: Shape,
}

/// What the sizes are for.
pub const QUANTIZATION: &str = "Q4_0";

/// From small to large. Shapes: Touvron et al. 2023 (arXiv:2307.09288) and the
/// models' own config.json. Sizes: matrices at 4.5 bits a weight, the output
/// matrix at 6.5625 (Q6_K) as llama.cpp quantizes it, norms in f32.
pub const KNOWN: [Known; 3] = [
    Known {
        name: "llama-2-7b-chat",
        weights: 3_825_065_984,
        shape: Shape { layers: 32, kv_heads: 32, head_dim: 128, context: 4096 },
    },
    Known {
        name: "llama-2-13b-chat",
        weights: 7_365_089_280,
        shape: Shape { layers: 40, kv_heads: 40, head_dim: 128, context: 4096 },
    },
    Known {
        name: "llama-2-70b-chat",
        weights: 38_871_482_368,
        shape: Shape { layers: 80, kv_heads: 8, head_dim: 128, context: 4096 },
    },
];
