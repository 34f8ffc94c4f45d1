//! Reading a GGUF header, every step checked against the bytes that are there.

use std::collections::HashMap;

use candle_core::quantized::GgmlDType;

use super::header::{Header, Tensor, Value};
use crate::llama::error::ModelError;

/// More elements than any vocabulary has: an array longer than this is a lie.
const MAX_ARRAY: u64 = 1 << 24;
/// ggml's own limit on the dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;
/// Arrays inside arrays, at most.
const MAX_DEPTH: usize = 4;

/// Reads a header; every read is checked against the bytes that are left.
pub(super) struct Reader<'a> {
    /// The file's first bytes, or all of them.
    bytes: &'a [u8],
    /// Bytes of the whole file.
    length: usize,
    at: usize,
    /// Something was asked for that lies in the file behind `bytes`.
    wants_more: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], length: usize) -> Self {
        Self { bytes, length, at: 0, wants_more: false }
    }

    /// Reading failed because the header goes on behind the bytes that are here.
    pub(super) fn wants_more(&self) -> bool {
        self.wants_more
    }

    /// The metadata, and where the tensors lie.
    pub(super) fn header(&mut self) -> Result<Header, ModelError> {
        if !matches!(self.take(4), Ok(b"GGUF")) {
            return Err(ModelError::NotGguf("it does not start with the letters GGUF".into()));
        }
        match self.u32()? {
            2 | 3 => {}
            version => {
                return Err(ModelError::Unsupported(format!(
                    "it is a GGUF file of version {version}, versions 2 and 3 are read: \
                     convert it again with a current tool"
                )));
            }
        }
        let tensor_count = self.u64()?;
        let value_count = self.u64()?;
        let mut metadata = HashMap::new();
        for _ in 0..value_count {
            let key = String::from_utf8_lossy(self.string()?).into_owned();
            let kind = self.u32()?;
            let value = self.value(kind, 0)?;
            metadata.insert(key, value);
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::Int(value)) if *value > 0 && (*value as u64).is_power_of_two() => {
                *value as usize
            }
            Some(other) => {
                let shown = if let Value::Int(value) = other { *value } else { 0 };
                return Err(ModelError::damaged(format!(
                    "its alignment is {shown}, which is not a power of two"
                )));
            }
        };
        let mut tensors = HashMap::new();
        for _ in 0..tensor_count {
            let (name, tensor) = self.tensor(alignment)?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(ModelError::damaged(format!("the tensor {name} is there twice")));
            }
        }
        let data = self
            .at
            .checked_next_multiple_of(alignment)
            .ok_or_else(|| ModelError::damaged("its alignment is larger than any file"))?;
        let left = self.length.saturating_sub(data);
        let mut total = 0usize;
        for (name, tensor) in &mut tensors {
            if tensor.start.checked_add(tensor.bytes).is_none_or(|end| end > left) {
                return Err(ModelError::damaged(format!(
                    "the tensor {name} lies past the end of the file"
                )));
            }
            tensor.start += data;
            total = total.saturating_add(tensor.bytes);
        }
        if total > left {
            return Err(ModelError::damaged("its tensors overlap"));
        }
        Ok(Header { metadata, tensors })
    }

    /// One tensor's entry; `start` still counts from the end of the header.
    fn tensor(&mut self, alignment: usize) -> Result<(String, Tensor), ModelError> {
        let name = String::from_utf8_lossy(self.string()?).into_owned();
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(ModelError::damaged(format!(
                "the tensor {name} has {dimensions} dimensions"
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.count()?);
        }
        shape.reverse();
        let kind = quantization(&name, self.u32()?)?;
        let start = self.count()?;
        if !start.is_multiple_of(alignment) {
            return Err(ModelError::damaged(format!("the tensor {name} is not aligned")));
        }
        let row = shape.last().copied().unwrap_or(0);
        let bytes = shape
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size))
            .filter(|_| row.is_multiple_of(kind.block_size()))
            .and_then(|elements| (elements / kind.block_size()).checked_mul(kind.type_size()))
            .filter(|&bytes| bytes > 0)
            .ok_or_else(|| {
                ModelError::damaged(format!("the tensor {name} cannot have the shape {shape:?}"))
            })?;
        Ok((name, Tensor { kind, shape, start, bytes }))
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, ModelError> {
        Ok(match kind {
            0 => Value::Int(self.array::<1>()?[0].into()),
            1 => Value::Int(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Int(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Int(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Int(self.u32()?.into()),
            5 => Value::Int(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.string()?.to_vec()),
            9 => self.list(depth)?,
            // Nothing that matters here is larger than an i64.
            10 => Value::Int(self.u64()?.min(i64::MAX as u64) as i64),
            11 => Value::Int(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(ModelError::damaged(format!("a value of the unknown kind {kind}"))),
        })
    }

    fn list(&mut self, depth: usize) -> Result<Value, ModelError> {
        let kind = self.u32()?;
        let length = self.u64()?;
        if length > MAX_ARRAY || depth >= MAX_DEPTH {
            return Err(ModelError::damaged(format!("an array of {length} elements")));
        }
        // Nothing is reserved ahead: each element has to be there first.
        let (mut ints, mut floats, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..length {
            match self.value(kind, depth + 1)? {
                Value::Int(value) => ints.push(value),
                Value::Bool(value) => ints.push(value.into()),
                Value::Float(value) => floats.push(value as f32),
                Value::Text(value) => texts.push(value),
                _ => {}
            }
        }
        Ok(match kind {
            6 | 12 => Value::Floats(floats),
            8 => Value::Texts(texts),
            9 => Value::Nested,
            _ => Value::Ints(ints),
        })
    }

    fn string(&mut self) -> Result<&'a [u8], ModelError> {
        let length = self.count()?;
        self.take(length)
    }

    fn count(&mut self) -> Result<usize, ModelError> {
        let count = self.u64()?;
        usize::try_from(count)
            .map_err(|_| ModelError::damaged(format!("a size of {count} at byte {}", self.at)))
    }

    fn u32(&mut self) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, ModelError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ModelError> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            let there = self.at.checked_add(length).is_some_and(|end| end <= self.length);
            self.wants_more |= there;
            return Err(ModelError::damaged(format!(
                "its header asks for {length} bytes at byte {}, the file has {}",
                self.at, self.length
            )));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }
}

/// A tensor's kind by its number in the file (`enum ggml_type` in ggml.h).
fn quantization(tensor: &str, number: u32) -> Result<GgmlDType, ModelError> {
    Ok(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => {
            return Err(ModelError::Unsupported(format!(
                "the tensor {tensor} is quantized in a way that is not supported (ggml type \
                 {number}): use a file in Q4_0, Q4_K, Q5_K, Q6_K, Q8_0 or F16"
            )));
        }
    })
}
