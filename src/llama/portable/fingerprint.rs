//! What tells a cache of this engine from any other.

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::llama::Gguf;
use crate::llama::linear::Precision;

/// The sources that decide what the cache holds, so that rows computed by
/// other sources are never taken for these.
const SOURCES: [&str; 18] = [
    include_str!("../attention.rs"),
    include_str!("../blocks.rs"),
    include_str!("../cache.rs"),
    include_str!("../cache/kind.rs"),
    include_str!("../cache/panels.rs"),
    include_str!("../lanes.rs"),
    include_str!("../lanes/dots.rs"),
    include_str!("../lanes/unpack.rs"),
    include_str!("../lanes/unpack/k.rs"),
    include_str!("../lanes/unpack/plain.rs"),
    include_str!("../lanes/vector.rs"),
    include_str!("../linear.rs"),
    include_str!("../matrix.rs"),
    include_str!("../ops.rs"),
    include_str!("../portable.rs"),
    include_str!("fingerprint.rs"),
    include_str!("front.rs"),
    include_str!("layer.rs"),
];

/// All that decides what the cache of these layers holds besides the tokens and
/// the type of the cache.
pub(super) fn identity(gguf: &Gguf, precision: Precision, layers: Range<usize>) -> String {
    // The vector instructions decide the order of additions.
    #[cfg(target_arch = "x86_64")]
    let processor = [
        is_x86_feature_detected!("avx2"),
        is_x86_feature_detected!("fma"),
        is_x86_feature_detected!("avx512f"),
        is_x86_feature_detected!("f16c"),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let processor = std::env::consts::ARCH;
    let mut sources = Sha256::new();
    SOURCES.iter().for_each(|source| sources.update(source));
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "portable {version} {:x?}, weights {precision:?}, layers {layers:?}, on {processor:?}, of \
         {:x?}",
        sources.finalize(),
        gguf.identity()
    )
}
