//! The types that keys and values can be kept in.

use std::fmt;

use half::f16;

use crate::llama::lanes::BLOCK;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    F32,
    /// Half the size: rounded once, when a token is processed.
    F16,
    /// About half of that: of each head at one token, 32 values in 8 bits share
    /// a scale in f16. As weights in Q8_0 are (`block_q8_0` of ggml's
    /// `ggml-common.h`); what is left of a head is a block too.
    Q8_0,
}

impl CacheType {
    /// Bytes of a head's keys, or values, at one token.
    pub fn bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 => head_dim * size_of::<f32>(),
            Self::F16 => head_dim * size_of::<f16>(),
            Self::Q8_0 => head_dim + head_dim.div_ceil(BLOCK) * size_of::<f16>(),
        }
    }
}

impl fmt::Display for CacheType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        })
    }
}
