//! Panels of values, in f32, f16 or q8_0.

use std::borrow::Cow;
use std::ops::Range;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::CacheType;
use crate::llama::lanes::{BLOCK, Level, Panel, Quants, WIDTH};

/// The largest quant.
const MOST: f32 = 127.0;

const _: () = assert!(WIDTH == BLOCK, "dimensions side by side are a block");

/// What lies side by side in a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Tokens: the panels of their dimensions follow each other, and each
    /// `BLOCK` of a head's, or what is left of it, share a panel of scales.
    Tokens { head_dim: usize },
    /// Dimensions of one token, which share a scale.
    Dimensions,
}

impl Side {
    /// Scales of the first so many panels, whole heads of them.
    fn scales(self, panels: usize) -> usize {
        match self {
            Self::Tokens { head_dim } => panels / head_dim * head_dim.div_ceil(BLOCK) * WIDTH,
            Self::Dimensions => panels,
        }
    }

    /// Where the scales of panels are.
    fn scales_of(self, panels: &Range<usize>) -> Range<usize> {
        self.scales(panels.start)..self.scales(panels.end)
    }

    /// Where the scale of a block is that begins in this panel and lane.
    fn scale(self, panel: usize, lane: usize) -> usize {
        match self {
            Self::Tokens { head_dim } => {
                self.scales(panel) + panel % head_dim / BLOCK * WIDTH + lane
            }
            Self::Dimensions => panel,
        }
    }

    /// From one value of a block to the next.
    fn step(self) -> usize {
        match self {
            Self::Tokens { .. } => WIDTH,
            Self::Dimensions => 1,
        }
    }

    /// Bytes of panels, whole heads of them.
    pub fn bytes(self, kind: CacheType, panels: usize) -> usize {
        let values = panels * WIDTH;
        match kind {
            CacheType::F32 => values * size_of::<f32>(),
            CacheType::F16 => values * size_of::<u16>(),
            CacheType::Q8_0 => values + self.scales(panels) * size_of::<u16>(),
        }
    }
}

/// Panels of values.
pub struct Panels {
    side: Side,
    values: Values,
}

/// Halves are kept as their bits: memory that is all zero need not be touched
/// before it is used.
enum Values {
    Float(Vec<Panel>),
    Half(Vec<[u16; WIDTH]>),
    Byte { quants: Vec<Quants>, scales: Vec<u16> },
}

impl Panels {
    /// So many panels of zeros.
    pub fn new(kind: CacheType, side: Side, panels: usize) -> Self {
        let values = match kind {
            CacheType::F32 => Values::Float(vec![[[0.0; _]; _]; panels]),
            CacheType::F16 => Values::Half(vec![[0; _]; panels]),
            CacheType::Q8_0 => Values::Byte {
                quants: vec![[[0; _]; _]; panels],
                scales: vec![0; side.scales(panels)],
            },
        };
        Self { side, values }
    }

    /// Sets a block: up to `BLOCK` dimensions of a head at one token, from this
    /// panel and lane on. What f16 cannot hold becomes the most that it can: an
    /// infinity would spoil every later token.
    pub fn put(&mut self, panel: usize, lane: usize, block: &[f32]) {
        let places = (panel * WIDTH + lane..).step_by(self.side.step());
        match &mut self.values {
            Values::Float(panels) => {
                let all = panels.as_flattened_mut().as_flattened_mut();
                places.zip(block).for_each(|(place, value)| all[place] = *value);
            }
            Values::Half(panels) => {
                let all = panels.as_flattened_mut();
                places.zip(block).for_each(|(place, value)| all[place] = half(*value).to_bits());
            }
            Values::Byte { quants, scales } => {
                let largest = block.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                let scale = half(largest / MOST);
                scales[self.side.scale(panel, lane)] = scale.to_bits();
                let scale = scale.to_f32();
                let all = quants.as_flattened_mut().as_flattened_mut();
                places.zip(block).for_each(|(place, value)| all[place] = quant(*value, scale));
            }
        }
    }

    /// Some of them, in f32.
    pub fn get(&self, range: Range<usize>) -> Cow<'_, [Panel]> {
        let mut floats: Vec<Panel> = match &self.values {
            Values::Float(panels) => return panels[range].into(),
            _ => vec![[[0.0; _]; _]; range.len()],
        };
        match &self.values {
            Values::Float(_) => {}
            Values::Half(panels) => to_floats(panels[range].as_flattened(), &mut floats),
            Values::Byte { quants, scales } => {
                let scales = &scales[self.side.scales_of(&range)];
                expand(self.side, &quants[range], scales, &mut floats);
            }
        }
        floats.into()
    }

    /// Copies ranges of others of the same kind, each to the one beside it.
    pub fn copy(&mut self, ranges: &[Range<usize>], others: &Self, theirs: &[Range<usize>]) {
        let side = self.side;
        let pairs = ranges.iter().cloned().zip(theirs.iter().cloned());
        match (&mut self.values, &others.values) {
            (Values::Float(to), Values::Float(from)) => {
                pairs.for_each(|(a, b)| to[a].copy_from_slice(&from[b]));
            }
            (Values::Half(to), Values::Half(from)) => {
                pairs.for_each(|(a, b)| to[a].copy_from_slice(&from[b]));
            }
            (Values::Byte { quants, scales }, Values::Byte { quants: from, scales: factors }) => {
                for (a, b) in pairs {
                    let (to, of) = (side.scales_of(&a), side.scales_of(&b));
                    scales[to].copy_from_slice(&factors[of]);
                    quants[a].copy_from_slice(&from[b]);
                }
            }
            _ => unreachable!("panels of two kinds"),
        }
    }

    /// Appends the bytes of ranges, little-endian. Where tokens are side by
    /// side and `lanes` is not 0, only so many of a range's last ones count: the
    /// others are written as zeros.
    pub fn write(&self, ranges: &[Range<usize>], lanes: usize, bytes: &mut Vec<u8>) {
        let last = match self.side {
            Side::Tokens { head_dim } if lanes > 0 => head_dim,
            _ => 0,
        };
        for range in ranges.iter().cloned() {
            match &self.values {
                Values::Float(panels) => {
                    let values = panels[range].as_flattened().as_flattened();
                    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                    blank(bytes, last, lanes, size_of::<f32>());
                }
                Values::Half(panels) => {
                    let values = panels[range].as_flattened();
                    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                    blank(bytes, last, lanes, size_of::<u16>());
                }
                Values::Byte { quants, scales } => {
                    let scales = &scales[self.side.scales_of(&range)];
                    let values = quants[range].as_flattened().as_flattened();
                    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                    blank(bytes, last, lanes, size_of::<i8>());
                    bytes.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
                    blank(bytes, last.div_ceil(BLOCK), lanes, size_of::<u16>());
                }
            }
        }
    }

    /// Fills ranges with written bytes; returns those that are left.
    pub fn read<'a>(&mut self, ranges: &[Range<usize>], mut bytes: &'a [u8]) -> &'a [u8] {
        let side = self.side;
        for range in ranges.iter().cloned() {
            match &mut self.values {
                Values::Float(panels) => {
                    let values = panels[range].as_flattened_mut().as_flattened_mut();
                    bytes = fill(values, bytes, f32::from_le_bytes);
                }
                Values::Half(panels) => {
                    bytes = fill(panels[range].as_flattened_mut(), bytes, u16::from_le_bytes);
                }
                Values::Byte { quants, scales } => {
                    let scales = &mut scales[side.scales_of(&range)];
                    let values = quants[range].as_flattened_mut().as_flattened_mut();
                    bytes = fill(values, bytes, i8::from_le_bytes);
                    bytes = fill(scales, bytes, u16::from_le_bytes);
                }
            }
        }
        bytes
    }
}

/// The nearest half, or the largest.
fn half(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

/// How many of these scales come nearest to a value.
fn quant(value: f32, scale: f32) -> i8 {
    if scale == 0.0 { 0 } else { (value / scale).round_ties_even().clamp(-MOST, MOST) as i8 }
}

/// The values of halves.
fn to_floats(halves: &[u16], to: &mut [Panel]) {
    let to = to.as_flattened_mut().as_flattened_mut();
    halves.reinterpret_cast::<f16>().convert_to_f32_slice(to);
}

/// Quants times their scales, which is exact.
fn expand(side: Side, quants: &[Quants], scales: &[u16], to: &mut [Panel]) {
    match side {
        Side::Tokens { head_dim } => {
            let level = Level::here();
            let mut factors = vec![Panel::default(); head_dim.div_ceil(BLOCK)];
            let heads = quants.chunks_exact(head_dim).zip(to.chunks_exact_mut(head_dim));
            for ((quants, to), scales) in heads.zip(scales.chunks_exact(factors.len() * WIDTH)) {
                to_floats(scales, &mut factors);
                level.scale(quants, &factors, to);
            }
        }
        Side::Dimensions => {
            let scales = scales.reinterpret_cast::<f16>();
            for ((quants, to), scale) in quants.iter().zip(to).zip(scales) {
                let scale = scale.to_f32();
                for (to, quant) in to.as_flattened_mut().iter_mut().zip(quants.as_flattened()) {
                    *to = f32::from(*quant) * scale;
                }
            }
        }
    }
}

/// Zeros the lanes from `lane` on of the last `panels` panels, whose values
/// take `size` bytes.
fn blank(bytes: &mut [u8], panels: usize, lane: usize, size: usize) {
    let start = bytes.len().saturating_sub(panels * WIDTH * size);
    for panel in bytes[start..].chunks_exact_mut(WIDTH * size) {
        panel[lane * size..].fill(0);
    }
}

/// Fills values from as many bytes as they take; returns those that are left.
fn fill<'a, T, const SIZE: usize>(
    values: &mut [T],
    bytes: &'a [u8],
    from: impl Fn([u8; SIZE]) -> T,
) -> &'a [u8] {
    let (these, rest) = bytes.split_at(values.len() * SIZE);
    for (value, bytes) in values.iter_mut().zip(these.as_chunks().0) {
        *value = from(*bytes);
    }
    rest
}

#[cfg(test)]
mod tests;
