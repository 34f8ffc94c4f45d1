"""Matrices in 4 bits, made by bitsandbytes, and what it reads out of them.

Writes FILE.safetensors: for each kind a random matrix as bitsandbytes keeps it
(`NAME.weight` and its parts) and, under `NAME.sha256`, the SHA-256 of what
bitsandbytes on the CPU makes of it, as f32 in little-endian bytes, zeros positive.
`tests/fixtures/fourbits.safetensors` was made by `fourbits.py FILE 1 few`
(bitsandbytes 0.50.2, torch 2.11.0).

    python fourbits.py FILE.safetensors SEED [few]
"""

import hashlib
import sys

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors.torch import save_file

FEW = [
    ("nf4", True, torch.bfloat16, (132, 128)),
    ("nf4", False, torch.float16, (33, 64)),
    ("fp4", True, torch.float16, (132, 128)),
    ("fp4", False, torch.float32, (5, 192)),
]
# Rows that end inside of a byte, less than a block, and several blocks of blocks.
# No other rows that end inside of a block: blocks go on in the next row, as
# quantize_4bit makes them, but the CPU kernel of 0.50.2 begins a new one.
MANY = [
    (quant, nested, dtype, shape)
    for quant in ("nf4", "fp4")
    for nested in (True, False)
    for dtype in (torch.bfloat16, torch.float16, torch.float32)
    for shape in ((512, 384), (100, 192), (37, 65), (3, 20))
]


def main():
    torch.manual_seed(int(sys.argv[2]))
    tensors = {}
    for quant, nested, dtype, shape in FEW if "few" in sys.argv[3:] else MANY:
        # Rows of very different sizes, so that block values differ too.
        matrix = torch.randn(shape) * torch.rand(shape[0], 1).mul(6).sub(3).exp()
        packed, state = quantize_4bit(
            matrix.to(dtype), blocksize=64, quant_type=quant, compress_statistics=nested
        )
        # The sign of FP4's second zero differs between bitsandbytes' own vector
        # and scalar code: adding 0 makes every zero positive.
        back = dequantize_4bit(packed, state).float().contiguous() + 0.0
        kind = "nested" if nested else "plain"
        name = f"{quant}_{kind}_{str(dtype)[6:]}_{shape[0]}x{shape[1]}"
        tensors[f"{name}.weight"] = packed
        for part, value in state.as_dict(packed=True).items():
            tensors[f"{name}.weight.{part}"] = value
        digest = hashlib.sha256(back.numpy().tobytes()).digest()
        tensors[f"{name}.sha256"] = torch.tensor(list(digest), dtype=torch.uint8)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
