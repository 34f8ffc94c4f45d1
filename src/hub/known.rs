//! The models that have short names: Meta's Llama-2 chat, as GGUF files that
//! the community made of them.

/// What is known of a model before anything is asked for.
#[derive(Debug, PartialEq)]
pub struct Known {
    /// The short name.
    pub name: &'static str,
    /// The repository of its GGUF files, each `NAME.QUANTIZATION.gguf`.
    pub repo: &'static str,
    /// The repository of its half-precision weights, which is gated.
    pub original: &'static str,
    /// Transformer blocks.
    pub layers: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Length of a head's vectors.
    pub head_dim: usize,
    /// Tokens it was made for.
    pub context: usize,
    /// Quantizations and their files' sizes in units of 10^9 bytes, as the
    /// repository's card gives them; the smallest first. What is there in
    /// parts only is left out.
    pub files: &'static [(&'static str, f64)],
}

impl Known {
    /// Bytes of a quantization's file, to 10 million.
    pub fn bytes(&self, quant: &str) -> Option<u64> {
        let file = self.files.iter().find(|file| file.0.eq_ignore_ascii_case(quant))?;
        Some((file.1 * 1e9) as u64)
    }
}

/// Shapes: Touvron et al. 2023 (arXiv:2307.09288), table 1, and the models'
/// own config.json.
pub const KNOWN: &[Known] = &[
    Known {
        name: "llama-2-7b-chat",
        repo: "TheBloke/Llama-2-7B-Chat-GGUF",
        original: "meta-llama/Llama-2-7b-chat-hf",
        layers: 32,
        kv_heads: 32,
        head_dim: 128,
        context: 4096,
        files: &[
            ("Q2_K", 2.83),
            ("Q3_K_S", 2.95),
            ("Q3_K_M", 3.30),
            ("Q3_K_L", 3.60),
            ("Q4_0", 3.83),
            ("Q4_K_S", 3.86),
            ("Q4_K_M", 4.08),
            ("Q5_0", 4.65),
            ("Q5_K_S", 4.65),
            ("Q5_K_M", 4.78),
            ("Q6_K", 5.53),
            ("Q8_0", 7.16),
        ],
    },
    Known {
        name: "llama-2-13b-chat",
        repo: "TheBloke/Llama-2-13B-chat-GGUF",
        original: "meta-llama/Llama-2-13b-chat-hf",
        layers: 40,
        kv_heads: 40,
        head_dim: 128,
        context: 4096,
        files: &[
            ("Q2_K", 5.43),
            ("Q3_K_S", 5.66),
            ("Q3_K_M", 6.34),
            ("Q3_K_L", 6.93),
            ("Q4_0", 7.37),
            ("Q4_K_S", 7.41),
            ("Q4_K_M", 7.87),
            ("Q5_0", 8.97),
            ("Q5_K_S", 8.97),
            ("Q5_K_M", 9.23),
            ("Q6_K", 10.68),
            ("Q8_0", 13.83),
        ],
    },
    Known {
        name: "llama-2-70b-chat",
        repo: "TheBloke/Llama-2-70B-Chat-GGUF",
        original: "meta-llama/Llama-2-70b-chat-hf",
        layers: 80,
        kv_heads: 8,
        head_dim: 128,
        context: 4096,
        files: &[
            ("Q2_K", 29.28),
            ("Q3_K_S", 29.92),
            ("Q3_K_M", 33.19),
            ("Q3_K_L", 36.15),
            ("Q4_0", 38.87),
            ("Q4_K_S", 39.07),
            ("Q4_K_M", 41.42),
            ("Q5_0", 47.46),
            ("Q5_K_S", 47.46),
            ("Q5_K_M", 48.75),
        ],
    },
];
