"""What transformers computes with a GGUF file, and with the folder it came from.

Reads FOLDER/tokens.json (ids), runs them once through FOLDER/NAME.gguf and once
through the folder's own safetensors, in f32 on the CPU, and writes the logits
after every id, f32, little-endian, row-major `(ids, vocab)`, to
FOLDER/gguf.logits and FOLDER/own.logits.

    python transformed.py FOLDER NAME.gguf
"""

import json
import sys
from pathlib import Path

# Beside this file lies a tokenizers.py that is not the library.
sys.path.pop(0)

import torch
from transformers import AutoModelForCausalLM


def logits(ids, folder, **more):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().contiguous()


def main():
    folder = Path(sys.argv[1])
    ids = json.loads((folder / "tokens.json").read_text())
    for name, more in (("gguf", {"gguf_file": sys.argv[2]}), ("own", {})):
        (folder / f"{name}.logits").write_bytes(logits(ids, folder, **more).numpy().tobytes())


if __name__ == "__main__":
    main()
