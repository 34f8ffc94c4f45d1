//! The compiled kernels, and what the host has to know of them. Sources, and how
//! to compile them, are in `kernels/`.

use super::layout::Format;

/// Aligned as the driver reads it.
#[repr(align(16))]
struct Aligned<T: ?Sized>(T);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../kernels/llama.fatbin"));

/// Machine code for compute capability 8.0 and 9.0, and PTX for later ones.
pub(super) static FATBIN: &[u8] = &ALIGNED.0;

/// The most columns of a pass whose rows do not depend on how many there are.
pub(super) const NARROW: usize = 16;

/// From this many tokens on, a pass takes the kernels for many columns. They take as
/// long for 128 columns as for one: on an H200, as long as 11 passes of 16.
pub(super) const WIDE_FROM: usize = 161;

/// The most columns of one pass.
pub(super) const MOST_COLUMNS: usize = 512;

/// Columns of one block of a wide product, and of `attend_wide`.
pub(super) const WIDE_COLUMNS: (usize, usize) = (128, 64);

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
}

/// What the kernels of a pass are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Eight,
    Sixteen,
    Wide,
}

impl Width {
    /// For so many tokens.
    pub(super) fn of(columns: usize) -> Self {
        match columns {
            0..=8 => Self::Eight,
            9..=NARROW => Self::Sixteen,
            _ => Self::Wide,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Eight => "8",
            Self::Sixteen => "16",
            Self::Wide => "wide",
        }
    }

    pub(super) fn columns(self) -> usize {
        match self {
            Self::Eight => 8,
            Self::Sixteen => NARROW,
            Self::Wide => MOST_COLUMNS,
        }
    }

    /// Warps and rows of a product's block, as in `llama.cu` and `wide.cuh`.
    pub(super) const fn block(self) -> (usize, usize) {
        match self {
            Self::Wide => (4, 128),
            _ => (8, 32),
        }
    }

    /// Bytes of a product's shared memory: the warps' sums, or three blocks of
    /// activations and, for each warp, two chunks of its two tiles.
    pub(super) fn shared(self, format: Format) -> usize {
        let (warps, _) = self.block();
        match self {
            Self::Wide => 3 * WIDE_COLUMNS.0 * 32 * 2 + warps * 4 * format.chunk_bytes(),
            _ => self.columns() * 20 * size_of::<f32>() * warps,
        }
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
    fn stages_fit_the_shared_memory_of_a_multiprocessor() {
        // CUDA C++ Programming Guide, "Technical Specifications per Compute
        // Capability": 99 KB for a block on 8.6, more on 8.0 and 9.0. Arrays of
        // fixed size come on top.
        for format in Format::ALL {
            for width in [Width::Eight, Width::Sixteen, Width::Wide] {
                assert!(width.shared(format) + (2 << 10) <= 99 << 10, "{format:?} {width:?}");
            }
        }
    }
}
