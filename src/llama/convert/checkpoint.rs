//! The tensors of a folder of safetensors, read a few rows at a time.
//!
//! Plain reads, not a memory map: what was read would count as this process'
//! memory, and a file that is cut short meanwhile would end it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use super::bitsandbytes::State;
use super::error::ConvertError;
use super::json;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What bitsandbytes appends to the name of a matrix for its parts.
const STATE: &str = ".quant_state.bitsandbytes__";
const PARTS: [&str; 4] = [".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"];

/// A folder's tensors.
pub struct Checkpoint {
    shards: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, Stored>,
}

/// Where a tensor lies and what its bytes mean.
#[derive(Clone, Debug)]
struct Stored {
    shard: usize,
    start: u64,
    bytes: usize,
    shape: Vec<usize>,
    dtype: Dtype,
    /// For a matrix in bitsandbytes' 4 bits.
    state: Option<State>,
}

/// A tensor that is being read.
pub(super) struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    stored: &'a Stored,
    columns: usize,
    /// Of a matrix in 4 bits, each block's.
    scales: Vec<f32>,
}

/// Some rows of a tensor, as they are in the file.
pub(super) struct Rows<'a> {
    reader: &'a Reader<'a>,
    raw: Vec<u8>,
    /// Where `raw` begins, from the beginning of the tensor.
    start: usize,
}

impl Checkpoint {
    /// Opens the folder's files and reads their headers.
    ///
    /// # Errors
    /// A file is missing, unreadable or damaged.
    pub fn open(folder: &Path) -> Result<Self, ConvertError> {
        let (names, listed) = match json::read(folder, INDEX)? {
            None => (BTreeSet::from([SINGLE.to_string()]), Vec::new()),
            Some(index) => {
                let damaged = |why: &str| ConvertError::damaged(&folder.join(INDEX), why);
                let map =
                    index["weight_map"].as_object().ok_or_else(|| damaged("no weight_map"))?;
                let mut names = BTreeSet::new();
                for file in map.values() {
                    let plain = |name: &&str| !name.contains(['/', '\\']) && !name.is_empty();
                    let name = file.as_str().filter(plain);
                    names.insert(name.ok_or_else(|| damaged("no file's name"))?.to_string());
                }
                (names, map.keys().cloned().collect())
            }
        };
        let mut this = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        for name in names {
            this.add(folder, &name)?;
        }
        if let Some(name) = listed.iter().find(|name| !this.tensors.contains_key(*name)) {
            let why = format!("it lists {name}, which is in no file");
            return Err(ConvertError::damaged(&folder.join(INDEX), why));
        }
        this.four_bits()?;
        Ok(this)
    }

    fn add(&mut self, folder: &Path, name: &str) -> Result<(), ConvertError> {
        let path = folder.join(name);
        let reading = |error| ConvertError::reading(folder, name, error);
        // Looked at first: to open a pipe would wait for somebody to write to it.
        let about = path.metadata().map_err(reading)?;
        if !about.is_file() || about.len() == 0 {
            return Err(ConvertError::damaged(&path, "it is empty or no file"));
        }
        let file = File::open(&path).map_err(reading)?;
        // SAFETY: the map is only ever read, and gone when the header is read.
        let map = unsafe { Mmap::map(&file) }.map_err(reading)?;
        let damaged = |error| ConvertError::damaged(&path, error);
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| damaged(error.to_string()))?;
        for (tensor, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let stored = Stored {
                shard: self.shards.len(),
                start: (8 + header + start) as u64,
                bytes: end - start,
                shape: info.shape.clone(),
                dtype: info.dtype,
                state: None,
            };
            if self.tensors.insert(tensor.clone(), stored).is_some() {
                return Err(damaged(format!("{tensor} is in another file too")));
            }
        }
        self.shards.push((path, file));
        Ok(())
    }

    /// Gives matrices in 4 bits their shape, and takes their parts off the list.
    fn four_bits(&mut self) -> Result<(), ConvertError> {
        let states = self.tensors.keys().filter_map(|name| {
            let (matrix, _) = name.split_once(STATE)?;
            Some((name.clone(), matrix.to_string()))
        });
        for (name, matrix) in states.collect::<Vec<_>>() {
            let text = self.bytes(&name)?;
            let damaged = |this: &Self, why: &str| {
                this.damaged(&name, &format!("the 4-bit matrix {matrix}: {why}"))
            };
            let state = State::parse(&text).map_err(|why| damaged(self, &why))?;
            let elements = elements(&state.shape);
            let bytes = self.tensors.get(&matrix).map(|stored| stored.bytes);
            if elements.is_none_or(|elements| bytes != Some(elements.div_ceil(2))) {
                let why = format!("{bytes:?} bytes for the shape {:?}", state.shape);
                return Err(damaged(self, &why));
            }
            if let Some(stored) = self.tensors.get_mut(&matrix) {
                stored.shape.clone_from(&state.shape);
                stored.state = Some(state);
            }
        }
        Ok(())
    }

    /// The names of the tensors, without the parts of those in 4 bits.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let part = |name: &str| {
            name.contains(STATE)
                || PARTS.iter().any(|part| {
                    let whole = name.strip_suffix(part).and_then(|name| self.tensors.get(name));
                    whole.is_some_and(|whole| whole.state.is_some())
                })
        };
        self.tensors.keys().map(String::as_str).filter(move |name| !part(name))
    }

    /// The shape of a tensor.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.shape)
    }

    /// Where a tensor lies: reading in this order goes through every file once.
    pub(super) fn place(&self, name: &str) -> Option<(usize, u64)> {
        self.tensors.get(name).map(|stored| (stored.shard, stored.start))
    }

    /// Some matrices are in 4 bits.
    pub(super) fn has_four_bits(&self) -> bool {
        self.tensors.values().any(|stored| stored.state.is_some())
    }

    /// Begins to read a tensor; a vector is one row.
    pub(super) fn reader(&self, name: &str) -> Result<Reader<'_>, ConvertError> {
        let stored = self.stored(name)?;
        let known = matches!(stored.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
        if stored.state.is_none() && !known {
            return Err(ConvertError::Unsupported(format!(
                "the tensor {name} is in {:?}: use a model in bf16, f16, f32 or bitsandbytes' 4 bits",
                stored.dtype
            )));
        }
        let columns = stored.shape.last().copied().unwrap_or(1);
        let scales = match &stored.state {
            None => Vec::new(),
            Some(state) => self.scales(name, stored, state)?,
        };
        Ok(Reader { checkpoint: self, stored, columns, scales })
    }

    /// A whole tensor, in f32.
    ///
    /// # Errors
    /// It is not there, of a type that is not read, or cannot be read.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        let reader = self.reader(name)?;
        let count = elements(&reader.stored.shape).unwrap_or(0);
        let mut values = vec![0.0; count];
        let rows = count / reader.columns.max(1);
        let raw = reader.rows(0, rows)?;
        for (row, out) in values.chunks_exact_mut(reader.columns.max(1)).enumerate() {
            raw.read(row, out);
        }
        Ok(values)
    }

    /// The value of each block of a matrix in 4 bits.
    fn scales(&self, name: &str, stored: &Stored, state: &State) -> Result<Vec<f32>, ConvertError> {
        let part = |suffix: &str| self.bytes(&format!("{name}{suffix}"));
        let damaged = |why: String| self.damaged(name, &format!("the 4-bit matrix {name}: {why}"));
        let scales = if state.nested() {
            let (indices, largest) = (part(".absmax")?, floats(&part(".nested_absmax")?));
            state
                .scales(&indices, &largest, &floats(&part(".nested_quant_map")?))
                .map_err(damaged)?
        } else {
            floats(&part(".absmax")?)
        };
        match state.blocks(elements(&stored.shape).unwrap_or(0)) {
            blocks if blocks == scales.len() => Ok(scales),
            blocks => Err(damaged(format!("{} block values for {blocks} blocks", scales.len()))),
        }
    }

    /// All bytes of a tensor.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, ConvertError> {
        let stored = self.stored(name)?;
        self.read(stored, 0, stored.bytes)
    }

    fn read(&self, stored: &Stored, from: usize, length: usize) -> Result<Vec<u8>, ConvertError> {
        let (path, file) = &self.shards[stored.shard];
        let mut bytes = vec![0; length];
        let mut file = file;
        file.seek(SeekFrom::Start(stored.start + from as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| ConvertError::Unreadable { path: path.clone(), source })?;
        Ok(bytes)
    }

    fn stored(&self, name: &str) -> Result<&Stored, ConvertError> {
        self.tensors.get(name).ok_or_else(|| {
            let folder = self.shards.first().and_then(|(path, _)| path.parent());
            let path = folder.unwrap_or(Path::new("the folder"));
            ConvertError::damaged(path, format!("the tensor {name} is missing"))
        })
    }

    /// The file that holds a tensor is damaged.
    fn damaged(&self, name: &str, why: &str) -> ConvertError {
        let shard = self.tensors.get(name).map_or(0, |stored| stored.shard);
        ConvertError::damaged(&self.shards[shard].0, why)
    }
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

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// How many a shape has, if that is a number.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}
