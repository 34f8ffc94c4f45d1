//! Where the bits of a quantized matrix go in device memory: chunks of 16 rows
//! by 256 columns, in the order in which tensor cores read them. The table of
//! the layout is in `kernels/chunk.cuh`, the formats of files in ggml's
//! `ggml-common.h`.

use candle_core::quantized::GgmlDType;

/// Rows and columns of a chunk.
pub const ROWS: usize = 16;
pub const COLUMNS: usize = 256;

/// A quantization that the kernels multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Q4_0,
    Q4K,
    Q5K,
    Q6K,
    Q8_0,
}

impl Format {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Q4_0, Self::Q4K, Self::Q5K, Self::Q6K, Self::Q8_0];

    /// The format of a file's tensor; None if the kernels do not have it.
    pub fn of(kind: GgmlDType) -> Option<Self> {
        Some(match kind {
            GgmlDType::Q4_0 => Self::Q4_0,
            GgmlDType::Q4K => Self::Q4K,
            GgmlDType::Q5K => Self::Q5K,
            GgmlDType::Q6K => Self::Q6K,
            GgmlDType::Q8_0 => Self::Q8_0,
            _ => return None,
        })
    }

    /// As the kernels are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// Weights are scaled quants less a minimum.
    pub(super) const fn minimum(self) -> bool {
        matches!(self, Self::Q4K | Self::Q5K)
    }

    /// Bytes of a chunk: as many as its blocks have in the file.
    pub const fn chunk_bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4K => 2304,
            Self::Q5K => 2816,
            Self::Q6K => 3360,
            Self::Q8_0 => 4352,
        }
    }

    /// Bytes of a block in the file, and the columns it holds.
    const fn block(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (18, 32),
            Self::Q8_0 => (34, 32),
            Self::Q4K => (144, 256),
            Self::Q5K => (176, 256),
            Self::Q6K => (210, 256),
        }
    }

    /// Bytes of a row in the file.
    pub fn row_bytes(self, columns: usize) -> usize {
        let (bytes, of) = self.block();
        columns.div_ceil(of) * bytes
    }

    /// Lays 16 rows, as they are in the file, into whole chunks. Rows that are
    /// not there are empty; they and columns past the end become zeros.
    pub fn lay(self, rows: &[&[u8]; ROWS], out: &mut [u8]) {
        out.fill(0);
        let (bytes, of) = self.block();
        for (chunk, out) in out.chunks_exact_mut(self.chunk_bytes()).enumerate() {
            for (row, source) in rows.iter().enumerate() {
                let blocks = source.chunks_exact(bytes).skip(chunk * COLUMNS / of);
                for (at, block) in blocks.take(COLUMNS / of).enumerate() {
                    match self {
                        Self::Q4_0 => q4_0(out, row, at, block),
                        Self::Q8_0 => q8_0(out, row, at, block),
                        Self::Q4K => {
                            nibbles(out, row, &block[16..144]);
                            factors(&mut out[2048 + row * 16..][..16], &block[..16]);
                        }
                        Self::Q5K => {
                            nibbles(out, row, &block[48..176]);
                            fifth_bits(out, row, &block[16..48]);
                            factors(&mut out[2560 + row * 16..][..16], &block[..16]);
                        }
                        Self::Q6K => q6k(out, row, block),
                    }
                }
            }
        }
    }
}

/// The lane that reads a row's word of four columns, in bytes of a load.
fn lane(row: usize, word: usize) -> usize {
    (row % 8 * 4 + word % 4) * 16
}

/// Where a word of a pair of blocks goes: rows g and g + 8 after each other.
fn pair_place(row: usize, word: usize) -> usize {
    lane(row, word) + row / 8 * 8 + word / 4 * 4
}

/// The scale of a block of 32, of rows g and g + 8 side by side.
fn scale_place(row: usize, block: usize) -> usize {
    row % 8 * 32 + block * 4 + row / 8 * 2
}

/// In the file a byte holds columns 16 apart of one block; here, as in the other
/// formats, the same column of two neighbouring blocks.
fn q4_0(out: &mut [u8], row: usize, at: usize, block: &[u8]) {
    out[2048 + scale_place(row, at)..][..2].copy_from_slice(&block[..2]);
    for word in 0..8 {
        let to = at / 2 * 512 + pair_place(row, word);
        let quants = &block[2 + word % 4 * 4..][..4];
        for (out, quants) in out[to..to + 4].iter_mut().zip(quants) {
            let quant = if word < 4 { quants & 0x0f } else { quants >> 4 };
            *out |= quant << (at % 2 * 4);
        }
    }
}

fn q8_0(out: &mut [u8], row: usize, at: usize, block: &[u8]) {
    out[4096 + scale_place(row, at)..][..2].copy_from_slice(&block[..2]);
    for (word, quants) in block[2..].chunks_exact(4).enumerate() {
        let to = at * 512 + pair_place(row, word);
        for (out, quant) in out[to..to + 4].iter_mut().zip(quants) {
            *out = quant ^ 0x80;
        }
    }
}

fn nibbles(out: &mut [u8], row: usize, quants: &[u8]) {
    for (pair, quants) in quants.chunks_exact(32).enumerate() {
        for (word, quants) in quants.chunks_exact(4).enumerate() {
            out[pair * 512 + pair_place(row, word)..][..4].copy_from_slice(quants);
        }
    }
}

/// Ors a number to 16 bits.
fn add_bits(out: &mut [u8], at: usize, bits: u16) {
    for (out, byte) in out[at..at + 2].iter_mut().zip(bits.to_le_bytes()) {
        *out |= byte;
    }
}

/// Here as in the file bit b of a column's byte is block b's.
fn fifth_bits(out: &mut [u8], row: usize, bytes: &[u8]) {
    for (column, byte) in bytes.iter().enumerate() {
        out[2048 + pair_place(row, column / 4) + column % 4] = *byte;
    }
}

/// The factors of a row's scales and minima, and those, 6 bits each
/// (`get_scale_min_k4` in ggml-quants.c), in the order of `six_bits` in
/// `kernels/chunk.cuh`.
fn factors(out: &mut [u8], block: &[u8]) {
    out[..4].copy_from_slice(&block[..4]);
    let six = &block[4..16];
    for at in 0..8 {
        let (scale, minimum) = match at {
            0..4 => (six[at] & 63, six[at + 4] & 63),
            _ => (six[at + 4] & 15 | six[at - 4] >> 6 << 4, six[at + 4] >> 4 | six[at] >> 6 << 4),
        };
        for (half, value) in [scale, minimum].map(u16::from).into_iter().enumerate() {
            let mut add = |word: usize, bits: u16| add_bits(out, 4 + word * 4 + half * 2, bits);
            match at {
                6 => {
                    add(0, value << 12);
                    add(1, value >> 4 << 12);
                }
                7 => {
                    add(1, value << 14);
                    add(2, value >> 2 << 12);
                }
                _ => add(at / 2, value << (at % 2 * 6)),
            }
        }
    }
}

/// In the file a byte holds columns 64 apart; here neighbouring blocks share
/// one, as in the other formats.
fn q6k(out: &mut [u8], row: usize, block: &[u8]) {
    for half in 0..2 {
        for column in 0..32 {
            let to = pair_place(row, column / 4);
            let (a, b) = (block[half * 64 + column], block[half * 64 + 32 + column]);
            let byte = to + column % 4;
            out[half * 1024 + byte] = a & 0x0f | b << 4;
            out[half * 1024 + 512 + byte] = a >> 4 | b & 0xf0;
            out[2048 + half * 512 + byte] = block[128 + half * 32 + column];
        }
    }
    for (out, scale) in out[3072 + row * 16..][..16].iter_mut().zip(&block[192..208]) {
        *out = scale ^ 0x80;
    }
    out[3328 + row % 8 * 4 + row / 8 * 2..][..2].copy_from_slice(&block[208..210]);
}

#[cfg(test)]
mod tests;
