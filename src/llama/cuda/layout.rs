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
                            out[2048 + row * 16..][..16].copy_from_slice(&block[..16]);
                        }
                        Self::Q5K => {
                            nibbles(out, row, &block[48..176]);
                            for (word, bits) in block[16..48].chunks_exact(4).enumerate() {
                                out[2048 + pair_place(row, word)..][..4].copy_from_slice(bits);
                            }
                            out[2560 + row * 16..][..16].copy_from_slice(&block[..16]);
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

fn q4_0(out: &mut [u8], row: usize, at: usize, block: &[u8]) {
    out[2048 + scale_place(row, at)..][..2].copy_from_slice(&block[..2]);
    for (word, quants) in block[2..].chunks_exact(4).enumerate() {
        let to = at / 2 * 512 + lane(row, word) + at % 2 * 8 + row / 8 * 4;
        for (out, quants) in out[to..to + 4].iter_mut().zip(quants) {
            *out = quants ^ 0x88;
        }
    }
}

fn q8_0(out: &mut [u8], row: usize, at: usize, block: &[u8]) {
    out[4096 + scale_place(row, at)..][..2].copy_from_slice(&block[..2]);
    for (word, quants) in block[2..].chunks_exact(4).enumerate() {
        let to = at * 512 + lane(row, word) + word / 4 * 8 + row / 8 * 4;
        out[to..to + 4].copy_from_slice(quants);
    }
}

fn nibbles(out: &mut [u8], row: usize, quants: &[u8]) {
    for (pair, quants) in quants.chunks_exact(32).enumerate() {
        for (word, quants) in quants.chunks_exact(4).enumerate() {
            out[pair * 512 + pair_place(row, word)..][..4].copy_from_slice(quants);
        }
    }
}

/// In the file a byte holds columns 64 apart; here neighbouring blocks share
/// one, as in the other formats.
fn q6k(out: &mut [u8], row: usize, block: &[u8]) {
    for half in 0..2 {
        for word in 0..8 {
            let to = pair_place(row, word);
            for byte in 0..4 {
                let at = word * 4 + byte;
                let (a, b) = (block[half * 64 + at], block[half * 64 + 32 + at]);
                out[half * 1024 + to + byte] = a & 0x0f | b << 4;
                out[half * 1024 + 512 + to + byte] = a >> 4 | b & 0xf0;
                out[2048 + half * 512 + to + byte] = block[128 + half * 32 + at] ^ 0xaa;
            }
        }
    }
    out[3072 + row * 16..][..16].copy_from_slice(&block[192..208]);
    out[3328 + row % 8 * 4 + row / 8 * 2..][..2].copy_from_slice(&block[208..210]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};
    use half::f16;

    fn half_at(bytes: &[u8]) -> f32 {
        f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }

    /// The weight in a chunk, read as `kernels/chunk.cuh` says.
    fn weight(format: Format, chunk: &[u8], row: usize, column: usize) -> f32 {
        let (block, k) = (column / 32, column % 32);
        let (pair, e) = (block / 2, block % 2);
        let (high_row, high_half, byte) = (row / 8, k / 16, k % 4);
        let lane = (row % 8 * 4 + k % 16 / 4) * 16;
        let paired = lane + high_row * 8 + high_half * 4 + byte;
        let nibble = |byte: u8| i32::from(if e == 1 { byte >> 4 } else { byte & 15 });
        match format {
            Format::Q4_0 => {
                let byte = chunk[pair * 512 + lane + e * 8 + high_row * 4 + byte];
                let nibble = if high_half == 1 { byte >> 4 } else { byte & 15 };
                let value = i32::from(nibble) - if nibble >= 8 { 16 } else { 0 };
                half_at(&chunk[2048 + row % 8 * 32 + block * 4 + high_row * 2..]) * value as f32
            }
            Format::Q8_0 => {
                let value = chunk[block * 512 + lane + high_half * 8 + high_row * 4 + byte] as i8;
                half_at(&chunk[4096 + row % 8 * 32 + block * 4 + high_row * 2..]) * f32::from(value)
            }
            Format::Q4K | Format::Q5K => {
                let mut value = nibble(chunk[pair * 512 + paired]);
                let mut scales = &chunk[2048 + row * 16..];
                if format == Format::Q5K {
                    value |= i32::from(chunk[2048 + paired] >> block & 1) << 4;
                    scales = &chunk[2560 + row * 16..];
                }
                let six = &scales[4..16];
                let (scale, minimum) = if block < 4 {
                    (six[block] & 63, six[block + 4] & 63)
                } else {
                    (
                        six[block + 4] & 15 | six[block - 4] >> 6 << 4,
                        six[block + 4] >> 4 | six[block] >> 6 << 4,
                    )
                };
                half_at(scales) * f32::from(scale) * value as f32
                    - half_at(&scales[2..]) * f32::from(minimum)
            }
            Format::Q6K => {
                let high = chunk[2048 + block / 4 * 512 + paired] >> (2 * (block % 4)) & 3;
                let value = nibble(chunk[pair * 512 + paired]) | i32::from(high) << 4;
                let value = if value >= 32 { value - 64 } else { value };
                let scale = chunk[3072 + row * 16 + column / 16] as i8;
                half_at(&chunk[3328 + row % 8 * 4 + high_row * 2..])
                    * f32::from(scale)
                    * value as f32
            }
        }
    }

    #[test]
    fn laid_weights_are_the_weights_of_the_file() {
        for (format, kind, columns) in [
            (Format::Q4_0, GgmlDType::Q4_0, 512),
            (Format::Q4_0, GgmlDType::Q4_0, 352),
            (Format::Q8_0, GgmlDType::Q8_0, 512),
            (Format::Q8_0, GgmlDType::Q8_0, 96),
            (Format::Q4K, GgmlDType::Q4K, 512),
            (Format::Q5K, GgmlDType::Q5K, 512),
            (Format::Q6K, GgmlDType::Q6K, 512),
        ] {
            assert_eq!(Format::of(kind), Some(format));
            let source = Tensor::randn(0.1f32, 1.0, (ROWS, columns), &Device::Cpu).unwrap();
            let quantized = QTensor::quantize(&source, kind).unwrap();
            let expected = quantized.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
            let bytes = quantized.data().unwrap();
            let rows: Vec<&[u8]> = bytes.chunks_exact(format.row_bytes(columns)).collect();
            let rows: [&[u8]; ROWS] = rows.try_into().unwrap();
            let size = columns.div_ceil(COLUMNS) * format.chunk_bytes();
            // What was there before does not matter.
            let mut out = vec![0x5a; size];
            format.lay(&rows, &mut out);
            for (row, expected) in expected.iter().enumerate() {
                for (column, expected) in expected.iter().enumerate() {
                    let chunk = &out[column / COLUMNS * format.chunk_bytes()..];
                    let got = weight(format, chunk, row, column % COLUMNS);
                    let near = (got - expected).abs() <= 1e-6 * expected.abs().max(1e-3);
                    assert!(near, "{format:?} {row} {column}: {got}, not {expected}");
                }
            }
            if columns % COLUMNS != 0 {
                let last = &out[size - format.chunk_bytes()..];
                assert_eq!(weight(format, last, 3, COLUMNS - 1), 0.0);
            }
        }
    }

    #[test]
    fn chunks_take_the_bytes_of_the_file() {
        for format in Format::ALL {
            assert_eq!(format.chunk_bytes(), ROWS * format.row_bytes(COLUMNS));
        }
    }
}
