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

/// Bytes of a record of activations, of 4 columns and 64 elements, and of what formats
/// without a minimum read of it.
pub(super) const RECORD: usize = 576;
const QUANTS: usize = 544;

/// From this many tokens on, a pass takes the kernels for many columns. They take as
/// long for 128 columns as for one: on an H200, as long as 11 passes of 16.
pub(super) const WIDE_FROM: usize = 161;

/// The most columns of one pass.
pub(super) const MOST_COLUMNS: usize = 512;

/// Columns of one block of a wide product, and of `attend_wide`.
pub(super) const WIDE_COLUMNS: (usize, usize) = (128, 64);

/// Positions that one block of `attend` looks at.
pub(super) const SPLIT: usize = 64;

/// Threads of `join` for each element of a head.
pub(super) const JOINERS: usize = 8;

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

    /// Rows that a narrow product makes something of together.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Heads | Self::Logits => 16,
            Self::Residual => 32,
            Self::Inner => 64,
        }
    }
}

/// What the kernels of a pass are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Four,
    Eight,
    Sixteen,
    Wide,
}

impl Width {
    /// For so many tokens.
    pub(super) fn of(columns: usize) -> Self {
        match columns {
            0..=4 => Self::Four,
            5..=8 => Self::Eight,
            9..=NARROW => Self::Sixteen,
            _ => Self::Wide,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Four => "4",
            Self::Eight => "8",
            Self::Sixteen => "16",
            Self::Wide => "wide",
        }
    }

    pub(super) fn columns(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
            Self::Sixteen => NARROW,
            Self::Wide => MOST_COLUMNS,
        }
    }
}

/// A block of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) threads: usize,
    /// Rows that it takes at once.
    pub(super) rows: usize,
    /// Bytes of its shared memory.
    pub(super) shared: usize,
}

impl Block {
    /// As in `wide.cuh`, and in `Shape` in `product.cuh`.
    pub(super) fn of(role: Role, width: Width, format: Format, hopper: bool) -> Self {
        let chunk = format.chunk_bytes();
        if width == Width::Wide {
            // Three blocks of activations and, for each warp, two chunks of its two tiles.
            let shared = 3 * WIDE_COLUMNS.0 * 32 * 2 + 4 * 4 * chunk;
            return Self { threads: 4 * 32, rows: 128, shared };
        }
        let few = width == Width::Four;
        let large = chunk > if few { 2816 } else { 2304 };
        // Tiles of a warp, groups of rows, warps along the columns, pairs of blocks of
        // activations.
        let (tiles, groups, warps, pairs) = match (hopper, width) {
            (false, _) => (1, 1, 4, 3),
            (true, Width::Four) if large => (1, 2, 8, 5),
            (true, Width::Four) => (2, 1, 8, if chunk == 2816 { 3 } else { 5 }),
            (true, _) => {
                let pairs = if width == Width::Eight { 5 } else { 3 };
                let groups = if role.rows() == 16 && !large { 1 } else { 2 };
                (if large { 1 } else { 2 }, groups, 8, pairs)
            }
        };
        let columns = width.columns();
        let record = if format.minimum() { RECORD } else { QUANTS };
        let team = groups * 2 * tiles * chunk + pairs * columns / 4 * record;
        // Sums of each warp's tiles, or of one after the other, 24 floats a column.
        let sums = columns * if few { tiles } else { 1 } * groups * warps * 24 * size_of::<f32>();
        Self {
            threads: groups * warps * 32,
            rows: groups * tiles * 16,
            shared: warps * team + sums,
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
        // Capability": 99 KB for a block on 8.6, 227 KB on 9.0. Arrays of fixed size come
        // on top.
        for format in Format::ALL {
            for width in [Width::Four, Width::Eight, Width::Sixteen, Width::Wide] {
                for role in [Role::Heads, Role::Residual, Role::Inner, Role::Logits] {
                    for (hopper, most) in [(false, 99 << 10), (true, 227 << 10)] {
                        let block = Block::of(role, width, format, hopper);
                        assert!(block.shared + (5 << 10) <= most, "{format:?} {width:?} {block:?}");
                    }
                }
            }
        }
    }
}
