use std::slice;

use super::*;

/// Numbers of normal size in [-1, 1), times a factor that differs by block.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|i| next() * [1.0, 30.0, 0.03][i / BLOCK % 3]).collect()
}

/// Panels of `tokens` tokens of one head, and where each block of them begins.
fn head(
    side: Side,
    head_dim: usize,
    tokens: usize,
) -> (usize, impl Fn(usize, usize) -> [usize; 2]) {
    let panels = match side {
        Side::Tokens { .. } => tokens.div_ceil(WIDTH) * head_dim,
        Side::Dimensions => head_dim.div_ceil(WIDTH) * tokens,
    };
    let place = move |token: usize, first: usize| match side {
        Side::Tokens { .. } => [token / WIDTH * head_dim + first, token % WIDTH],
        Side::Dimensions => [first / WIDTH * tokens + token, 0],
    };
    (panels, place)
}

#[test]
fn a_value_comes_back_within_half_of_its_blocks_scale() {
    let tokens = 37;
    for head_dim in [16, 32, 48, 64, 80, 128] {
        for side in [Side::Tokens { head_dim }, Side::Dimensions] {
            let (count, place) = head(side, head_dim, tokens);
            let mut panels = Panels::new(CacheType::Q8_0, side, count);
            let values = numbers(tokens * head_dim);
            for (token, row) in values.chunks(head_dim).enumerate() {
                for (i, block) in row.chunks(BLOCK).enumerate() {
                    let [panel, lane] = place(token, i * BLOCK);
                    panels.put(panel, lane, block);
                }
            }
            let found = panels.get(0..count);
            let found = found.as_flattened().as_flattened();
            for (token, row) in values.chunks(head_dim).enumerate() {
                for (i, block) in row.chunks(BLOCK).enumerate() {
                    let [panel, lane] = place(token, i * BLOCK);
                    let largest = block.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                    // Half a quant; the scale, and with it the largest value, is
                    // rounded to 11 bits.
                    let bound = largest / MOST * 0.5 * (1.0 + 2f32.powi(-11)) + largest * 1e-6;
                    for (d, value) in block.iter().enumerate() {
                        let back = found[panel * WIDTH + lane + d * side.step()];
                        let off = (back - value).abs();
                        assert!(off <= bound, "{side:?} {token} {d}: {value} became {back}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_no_block_can_hold_becomes_finite() {
    let mut panels = Panels::new(CacheType::Q8_0, Side::Dimensions, 3);
    panels.put(0, 0, &[f32::INFINITY, -1e30, 1.0, f32::NAN]);
    panels.put(1, 0, &[0.0; BLOCK]);
    panels.put(2, 0, &[1e-9, -1e-9]);
    let found = panels.get(0..3);
    let most = MOST * f16::MAX.to_f32();
    assert_eq!(found[0][0][..4], [most, -most, 0.0, 0.0]);
    assert!(found[1..].as_flattened().as_flattened().iter().all(|value| *value == 0.0));
}

#[test]
fn a_head_takes_as_many_bytes_as_are_written() {
    for kind in [CacheType::F32, CacheType::F16, CacheType::Q8_0] {
        for head_dim in [32, 48, 128] {
            for side in [Side::Tokens { head_dim }, Side::Dimensions] {
                let (count, _) = head(side, head_dim, 2 * WIDTH);
                let panels = Panels::new(kind, side, count);
                let mut bytes = Vec::new();
                panels.write(slice::from_ref(&(0..count)), 0, &mut bytes);
                assert_eq!(bytes.len(), side.bytes(kind, count), "{kind:?} {side:?}");
                // Dimensions are padded to whole panels.
                let padded = matches!(side, Side::Dimensions) && head_dim % WIDTH > 0;
                let tokens = 2 * WIDTH * kind.bytes(head_dim);
                assert!(bytes.len() == tokens || padded && bytes.len() > tokens);
            }
        }
    }
}

#[test]
fn lanes_that_do_not_count_are_written_as_zeros() {
    for kind in [CacheType::F32, CacheType::F16, CacheType::Q8_0] {
        let side = Side::Tokens { head_dim: 48 };
        let all = slice::from_ref(&(0..96));
        let write = |stale: f32| {
            let mut panels = Panels::new(kind, side, 96);
            for lane in 0..WIDTH {
                for first in [0, 32, 48, 80] {
                    let counts = first < 48 || lane < 5;
                    let value = if counts { 0.5 + lane as f32 } else { stale };
                    panels.put(first, lane, &vec![value; if first % 48 == 0 { 32 } else { 16 }]);
                }
            }
            let mut bytes = Vec::new();
            panels.write(all, 5, &mut bytes);
            let mut again = Panels::new(kind, side, 96);
            assert!(again.read(all, &bytes).is_empty());
            (bytes, again.get(0..96).into_owned())
        };
        let (bytes, values) = write(7.0);
        assert!(bytes == write(-3.0).0, "{kind:?}");
        // What counts is there, and what does not is zero.
        assert!((values[47][0][6] - 6.5).abs() < 0.03 && (values[95][0][4] - 4.5).abs() < 0.02);
        assert_eq!(values[48][0][5], 0.0);
    }
}
