"""Writes a checkpoint and a vocabulary as one GGUF file, matrices as Q8_0.

    python training/export.py model.pt vocabulary.gguf models/NAME.gguf --prompts-sha256 HASH
"""

import argparse

import torch

import gguf_file as gguf
from model import CONTEXT, EPSILON, HEAD, THETA, Llama, Shape

# Of GGUF's `general.file_type`: mostly Q8_0.
MOSTLY_Q8_0 = 7


def description(shape, name, prompts):
    entries = {
        "general.architecture": (gguf.STRING, "llama"),
        "general.name": (gguf.STRING, name),
        "general.file_type": (gguf.U32, MOSTLY_Q8_0),
        "general.quantization_version": (gguf.U32, 2),
        "llama.vocab_size": (gguf.U32, shape.vocabulary),
        "llama.context_length": (gguf.U32, CONTEXT),
        "llama.embedding_length": (gguf.U32, shape.width),
        "llama.block_count": (gguf.U32, shape.layers),
        "llama.feed_forward_length": (gguf.U32, shape.hidden),
        "llama.attention.head_count": (gguf.U32, shape.heads),
        "llama.attention.head_count_kv": (gguf.U32, shape.kv_heads),
        "llama.attention.key_length": (gguf.U32, HEAD),
        "llama.attention.value_length": (gguf.U32, HEAD),
        "llama.attention.layer_norm_rms_epsilon": (gguf.F32, EPSILON),
        "llama.rope.dimension_count": (gguf.U32, HEAD),
        "llama.rope.freq_base": (gguf.F32, THETA),
    }
    if prompts:
        # Which prompts the model was trained with: the program warns of others.
        entries["llama_agent.prompts.sha256"] = (gguf.STRING, prompts)
    return entries


def tensors(weights):
    """The weights under GGUF's names, which are the model's but for the endings."""
    for name, tensor in weights.items():
        yield name if name.endswith(".weight") else f"{name}.weight", tensor.float().numpy()


def export(checkpoint, vocabulary, out, name, prompts):
    shape = Shape(**checkpoint["shape"])
    words = gguf.Reader(vocabulary).metadata
    count = len(words["tokenizer.ggml.tokens"][1][1])
    if count != shape.vocabulary:
        raise SystemExit(f"the vocabulary has {count} tokens, the model {shape.vocabulary}")
    tokenizer = {key: entry for key, entry in words.items() if key.startswith("tokenizer.")}
    gguf.write(out, description(shape, name, prompts) | tokenizer, dict(tensors(checkpoint["weights"])))


def load(path):
    """The model of a GGUF file in PyTorch, its weights as they were rounded."""
    file = gguf.Reader(path)
    size = {
        "layers": "llama.block_count",
        "width": "llama.embedding_length",
        "heads": "llama.attention.head_count",
        "kv_heads": "llama.attention.head_count_kv",
        "hidden": "llama.feed_forward_length",
    }
    shape = Shape(
        len(file.value("tokenizer.ggml.tokens")), **{field: file.value(key) for field, key in size.items()}
    )
    model = Llama(shape)
    model.load_state_dict(
        {
            name: torch.from_numpy(file.tensors[name if name.endswith(".weight") else f"{name}.weight"].copy())
            for name in model.state_dict()
        }
    )
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("vocabulary")
    parser.add_argument("out")
    parser.add_argument("--name", default="llama-agent", help="what the file calls the model")
    parser.add_argument("--prompts-sha256", help="hash of the prompts that the data was made with")
    options = parser.parse_args()
    checkpoint = torch.load(options.checkpoint, map_location="cpu")
    export(checkpoint, options.vocabulary, options.out, options.name, options.prompts_sha256)


if __name__ == "__main__":
    main()
