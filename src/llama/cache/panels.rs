//! Panels of values, in f32 or in f16.

use std::borrow::Cow;
use std::ops::Range;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::llama::lanes::{Panel, WIDTH};

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    F32,
    /// Half the size: rounded once, when a token is processed.
    F16,
}

impl CacheType {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F16 => size_of::<f16>(),
        }
    }
}

/// Panels of values. Halves are kept as their bits: memory that is all zero
/// need not be touched before it is used.
pub enum Panels {
    Float(Vec<Panel>),
    Half(Vec<[u16; WIDTH]>),
}

impl Panels {
    /// So many panels of zeros.
    pub fn new(kind: CacheType, panels: usize) -> Self {
        match kind {
            CacheType::F32 => Self::Float(vec![[[0.0; _]; _]; panels]),
            CacheType::F16 => Self::Half(vec![[0; _]; panels]),
        }
    }

    pub fn kind(&self) -> CacheType {
        match self {
            Self::Float(_) => CacheType::F32,
            Self::Half(_) => CacheType::F16,
        }
    }

    /// Sets values by their places. What f16 cannot hold becomes the most that
    /// it can: an infinity would spoil every later token.
    pub fn put<'a>(&mut self, values: impl Iterator<Item = (usize, &'a f32)>) {
        match self {
            Self::Float(panels) => {
                let all = panels.as_flattened_mut().as_flattened_mut();
                values.for_each(|(place, value)| all[place] = *value);
            }
            Self::Half(panels) => {
                let all = panels.as_flattened_mut();
                let (least, most) = (f16::MIN.to_f32(), f16::MAX.to_f32());
                values.for_each(|(place, value)| {
                    all[place] = f16::from_f32(value.clamp(least, most)).to_bits();
                });
            }
        }
    }

    /// Some of them, in f32.
    pub fn get(&self, range: Range<usize>) -> Cow<'_, [Panel]> {
        match self {
            Self::Float(panels) => panels[range].into(),
            Self::Half(panels) => {
                let panels = panels[range].as_flattened();
                let mut floats: Vec<Panel> = vec![[[0.0; _]; _]; panels.len() / WIDTH];
                let to = floats.as_flattened_mut().as_flattened_mut();
                panels.reinterpret_cast::<f16>().convert_to_f32_slice(to);
                floats.into()
            }
        }
    }

    /// Copies ranges of others of the same kind, each to the one beside it.
    pub fn copy(&mut self, ranges: &[Range<usize>], others: &Self, theirs: &[Range<usize>]) {
        let pairs = ranges.iter().cloned().zip(theirs.iter().cloned());
        match (self, others) {
            (Self::Float(to), Self::Float(from)) => {
                pairs.for_each(|(a, b)| to[a].copy_from_slice(&from[b]));
            }
            (Self::Half(to), Self::Half(from)) => {
                pairs.for_each(|(a, b)| to[a].copy_from_slice(&from[b]));
            }
            _ => unreachable!("panels of two kinds"),
        }
    }

    /// Appends the bytes of ranges, little-endian.
    pub fn write(&self, ranges: &[Range<usize>], bytes: &mut Vec<u8>) {
        for range in ranges.iter().cloned() {
            match self {
                Self::Float(panels) => {
                    let values = panels[range].as_flattened().as_flattened();
                    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                }
                Self::Half(panels) => {
                    let values = panels[range].as_flattened();
                    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                }
            }
        }
    }

    /// Fills ranges with written bytes; returns those that are left.
    pub fn read<'a>(&mut self, ranges: &[Range<usize>], mut bytes: &'a [u8]) -> &'a [u8] {
        let size = WIDTH * self.kind().bytes();
        for range in ranges.iter().cloned() {
            let (these, rest) = bytes.split_at(range.len() * size);
            bytes = rest;
            match self {
                Self::Float(panels) => {
                    let values = panels[range].as_flattened_mut().as_flattened_mut();
                    for (value, bytes) in values.iter_mut().zip(these.as_chunks().0) {
                        *value = f32::from_le_bytes(*bytes);
                    }
                }
                Self::Half(panels) => {
                    let values = panels[range].as_flattened_mut();
                    for (value, bytes) in values.iter_mut().zip(these.as_chunks().0) {
                        *value = u16::from_le_bytes(*bytes);
                    }
                }
            }
        }
        bytes
    }
}
