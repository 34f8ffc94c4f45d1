//! The compiled kernels, and what the host has to know of them. Sources, and how
//! to compile them, are in `kernels/`.

use super::layout::Format;

/// Aligned as the driver reads it.
#[repr(align(16))]
struct Aligned<T: ?Sized>(T);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../kernels/llama.fatbin"));

/// Machine code for compute capability 8.0 and 9.0, and PTX for later ones.
pub(super) static FATBIN: &[u8] = &ALIGNED.0;

/// The most columns of one pass.
pub(super) const MOST_COLUMNS: usize = 16;

/// Positions that one block of `attend` looks at.
pub(super) const SPLIT: usize = 64;

/// Sizes of heads that `attend` and `join` are compiled for.
pub const HEAD_DIMS: [usize; 3] = [32, 64, 128];

/// What a product's kernel does with its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Heads,
    Residual,
    Inner,
    Logits,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Residual => "residual",
            Self::Inner => "inner",
            Self::Logits => "logits",
        }
    }

    /// Warps and rows of a block, as in `llama.cu`.
    pub(super) const fn block(self) -> (usize, usize) {
        match self {
            Self::Inner => (4, 64),
            _ => (8, 32),
        }
    }

    /// Bytes of shared memory: on Hopper a ring of two stages for each warp,
    /// which the warps' sums use afterwards; elsewhere the sums alone.
    pub(super) fn shared(self, format: Format, columns: usize, hopper: bool) -> usize {
        let (warps, rows) = self.block();
        let sums = columns * 20 * size_of::<f32>() * warps;
        let ring = warps * 2 * (rows / 16) * format.chunk_bytes();
        if hopper { ring.max(sums) } else { sums }
    }
}

/// The number of columns that a kernel for `columns` is compiled for.
pub(super) fn compiled_columns(columns: usize) -> usize {
    match columns {
        0..=1 => 1,
        2..=8 => 8,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::fs;
    use std::path::Path;

    /// The kernels were compiled from the sources that are here.
    #[test]
    fn the_manifest_names_these_sources_and_this_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let manifest = fs::read_to_string(folder.join("manifest")).unwrap();
        let mut named: Vec<String> = Vec::new();
        for line in manifest.lines() {
            let (hash, name) = line.split_once("  ").unwrap();
            let bytes = fs::read(folder.join(name)).unwrap();
            let actual: String =
                Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(actual, hash, "{name} changed: run kernels/build.sh");
            named.push(name.into());
        }
        assert!(named.contains(&"llama.fatbin".into()));
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let source = name.ends_with(".cuh") || name == "llama.cu";
            assert!(!source || named.contains(&name), "{name} is not in kernels/manifest");
        }
    }

    #[test]
    fn rings_fit_the_shared_memory_of_a_multiprocessor() {
        // CUDA C++ Programming Guide, "Technical Specifications per Compute
        // Capability": 227 KB for a block on 9.0, 99 KB on 8.6.
        for format in Format::ALL {
            for role in [Role::Heads, Role::Residual, Role::Inner, Role::Logits] {
                assert!(role.shared(format, MOST_COLUMNS, true) + (8 << 10) <= 227 << 10);
                assert!(role.shared(format, MOST_COLUMNS, false) + (8 << 10) <= 99 << 10);
            }
        }
    }
}
