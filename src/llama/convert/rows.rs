//! Some rows of a tensor: read as they are in the file, given out in f32.

use half::{bf16, f16};
use safetensors::Dtype;

use super::checkpoint::{Checkpoint, Stored};
use super::error::ConvertError;

/// A tensor that is being read.
pub(super) struct Reader<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) stored: &'a Stored,
    pub(super) columns: usize,
    /// Of a matrix in 4 bits, each block's.
    pub(super) scales: Vec<f32>,
}

/// Some rows of a tensor, as they are in the file.
pub(super) struct Rows<'a> {
    reader: &'a Reader<'a>,
    raw: Vec<u8>,
    /// Where `raw` begins, from the beginning of the tensor.
    start: usize,
}

impl<'a> Reader<'a> {
    /// Reads `count` rows from number `first`, still as they are in the file.
    pub(super) fn rows(&'a self, first: usize, count: usize) -> Result<Rows<'a>, ConvertError> {
        let (from, to) = (first * self.columns, (first + count) * self.columns);
        let (start, end) = match &self.stored.state {
            Some(_) => (from / 2, to.div_ceil(2)),
            None => (from * self.width(), to * self.width()),
        };
        let raw = self.checkpoint.read(self.stored, start, end - start)?;
        Ok(Rows { reader: self, raw, start })
    }

    /// Bytes of an element that is not in 4 bits.
    fn width(&self) -> usize {
        if self.stored.dtype == Dtype::F32 { 4 } else { 2 }
    }
}

impl Rows<'_> {
    /// Row number `row` of the tensor, in f32.
    pub(super) fn read(&self, row: usize, out: &mut [f32]) {
        let Reader { stored, columns, scales, .. } = self.reader;
        let first = row * columns;
        if let Some(state) = &stored.state {
            state.dequantize(&self.raw, self.start, scales, first, out);
            return;
        }
        let bytes = &self.raw[first * self.reader.width() - self.start..];
        match stored.dtype {
            Dtype::F32 => convert(bytes, out, f32::from_le_bytes),
            Dtype::F16 => convert(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            _ => convert(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        }
    }
}

fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = value(*bytes);
    }
}
