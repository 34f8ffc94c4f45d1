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
    let scale = |at: usize| half_at(&chunk[at + row % 8 * 32 + block * 4 + high_row * 2..]);
    let byte_of = chunk[pair * 512 + paired];
    let nibble = i32::from(if e == 1 { byte_of >> 4 } else { byte_of & 15 });
    let high = |load: usize| i32::from(chunk[2048 + load * 512 + paired]);
    match format {
        Format::Q4_0 => scale(2048) * (nibble - 8) as f32,
        Format::Q8_0 => scale(4096) * (f32::from(chunk[block * 512 + paired]) - 128.0),
        Format::Q4K | Format::Q5K => {
            let mut value = nibble;
            let mut scales = &chunk[2048 + row * 16..];
            if format == Format::Q5K {
                value |= (high(0) >> block & 1) << 4;
                scales = &chunk[2560 + row * 16..];
            }
            let six = |of: usize| {
                let words = [0, 1, 2].map(|i| {
                    let at = 4 + i * 4 + of * 2;
                    u16::from_le_bytes([scales[at], scales[at + 1]])
                });
                f32::from(match block {
                    6 => words[0] >> 12 | (words[1] >> 12 & 3) << 4,
                    7 => words[1] >> 14 | words[2] >> 12 << 2,
                    _ => words[block / 2] >> (block % 2 * 6) & 63,
                })
            };
            half_at(scales) * six(0) * value as f32 - half_at(&scales[2..]) * six(1)
        }
        Format::Q6K => {
            let value = nibble | (high(pair / 2) >> (block % 4 * 2) & 3) << 4;
            let scale = f32::from(chunk[3072 + row * 16 + column / 16]) - 128.0;
            let factor = half_at(&chunk[3328 + row % 8 * 4 + high_row * 2..]);
            factor * scale * (value - 32) as f32
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
