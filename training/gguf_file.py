"""GGUF files: metadata and tensors, as much of the format as the project's own model needs.

The format, version 3, little endian, is described in llama.cpp's `docs/gguf.md`: a header, typed
metadata, the tensors' shapes and offsets, then their data, each aligned to 32 bytes. Shapes are
written fastest-varying first, so a row-major `(rows, columns)` array is stored as `columns, rows`.
"""

import struct
from pathlib import Path

import numpy as np

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALARS = {
    U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f",
    BOOL: "<?", U64: "<Q", I64: "<q", F64: "<d",
}  # fmt: skip

TENSOR_F32, TENSOR_Q8_0 = 0, 8
Q8_0_BLOCK = 32


def quantize_q8_0(matrix):
    """Blocks of 32 weights as a half-precision scale and 32 signed bytes: `ggml-quants.c`'s
    rounding, so the bytes are the ones llama.cpp's own converter would write."""
    blocks = np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1, Q8_0_BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    scaled = blocks * inverse
    whole = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    packed = np.concatenate([scale.astype("<f2").view(np.uint8), whole.view(np.uint8)], axis=1)
    return packed.tobytes()


def dequantize_q8_0(data, shape):
    """The weights that `quantize_q8_0` wrote, as f32 of that shape."""
    packed = np.frombuffer(data, np.uint8).reshape(-1, 2 + Q8_0_BLOCK)
    scale = packed[:, :2].copy().view("<f2").astype(np.float32)
    return (packed[:, 2:].view(np.int8).astype(np.float32) * scale).reshape(shape)


def _string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind, value):
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        inner, items = value
        head = struct.pack("<IQ", inner, len(items))
        return head + b"".join(_value(inner, item) for item in items)
    return struct.pack(SCALARS[kind], value)


def write(path, metadata, tensors):
    """Writes `metadata`, name to (kind, value), an array's value being (kind of item, items), and
    `tensors`, name to an f32 array; matrices are stored as Q8_0, vectors as F32."""
    head = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for name, (kind, value) in metadata.items():
        head += [_string(name), struct.pack("<I", kind), _value(kind, value)]
    offset, blobs = 0, []
    for name, array in tensors.items():
        array = np.asarray(array, dtype="<f4")
        kind = TENSOR_Q8_0 if array.ndim == 2 else TENSOR_F32
        if kind == TENSOR_Q8_0 and array.shape[1] % Q8_0_BLOCK:
            raise ValueError(f"{name}: rows of {array.shape[1]} are not whole blocks of {Q8_0_BLOCK}")
        blob = quantize_q8_0(array) if kind == TENSOR_Q8_0 else array.tobytes()
        blob += bytes(-len(blob) % ALIGNMENT)
        dims = array.shape[::-1]
        head.append(_string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims))
        head.append(struct.pack("<IQ", kind, offset))
        offset += len(blob)
        blobs.append(blob)
    start = b"".join(head)
    Path(path).write_bytes(start + bytes(-len(start) % ALIGNMENT) + b"".join(blobs))


class Reader:
    """A GGUF file's metadata, name to (kind, value), and tensors, name to f32 array."""

    def __init__(self, path):
        self.data = Path(path).read_bytes()
        self.at = 4
        if self.data[:4] != MAGIC:
            raise ValueError(f"{path} is no GGUF file")
        version, tensors, entries = self._take("<IQQ")
        if version != VERSION:
            raise ValueError(f"{path} is GGUF version {version}, not {VERSION}")
        self.metadata = {}
        for _ in range(entries):
            name, (kind,) = self._text().decode(), self._take("<I")
            self.metadata[name] = (kind, self._read(kind))
        places = []
        for _ in range(tensors):
            name, (dims,) = self._text().decode(), self._take("<I")
            places.append((name, self._take(f"<{dims}Q")[::-1], *self._take("<IQ")))
        start = self.at + -self.at % ALIGNMENT
        self.tensors = {name: self._tensor(start + at, shape, kind) for name, shape, kind, at in places}

    def value(self, name):
        """The value of a scalar or the items of an array."""
        kind, value = self.metadata[name]
        return value[1] if kind == ARRAY else value

    def _take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def _text(self):
        (length,) = self._take("<Q")
        self.at += length
        return self.data[self.at - length : self.at]

    def _read(self, kind):
        if kind == STRING:
            return self._text().decode()
        if kind == ARRAY:
            inner, length = self._take("<IQ")
            return inner, [self._read(inner) for _ in range(length)]
        return self._take(SCALARS[kind])[0]

    def _tensor(self, at, shape, kind):
        count = int(np.prod(shape))
        if kind == TENSOR_F32:
            return np.frombuffer(self.data, "<f4", count, at).reshape(shape)
        if kind == TENSOR_Q8_0:
            size = count // Q8_0_BLOCK * (2 + Q8_0_BLOCK)
            return dequantize_q8_0(self.data[at : at + size], shape)
        raise ValueError(f"tensors of type {kind} are not read here")
