"""Checks an exported file against llama.cpp (the package `xllamacpp`): it loads, and continues
prompts greedily with the tokens that the model in PyTorch chooses.

    python training/check_export.py model.gguf held-out.shard

The reference computes with the file's own, quantized weights. A token may differ where the two best
were nearly equal; any other difference is an error.
"""

import argparse

import numpy as np
import torch
import xllamacpp

from export import load
from model import CONTEXT
from samples import Shard

# llama.cpp rounds activations to eight bits as well, so logits agree to about this much.
NEAR = 0.1


def serve(path):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = 1
    parameters.warmup = False
    return xllamacpp.Server(parameters)


def follow(server, prompt, tokens):
    """What llama.cpp appends, token by token, up to a token that is half a character: of those it
    does not tell the id."""
    chosen = []
    while len(chosen) < tokens:
        request = {"prompt": prompt + chosen, "n_predict": 1, "n_probs": 1, "temperature": 0.0, "ignore_eos": True}
        told = server.handle_completions(request)["choices"][0]["logprobs"]
        if not told or not told["content"]:
            break
        chosen.append(told["content"][0]["id"])
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("shard")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    model, server, shard = load(options.model), serve(options.model), Shard(options.shard)
    compared = near = 0
    for sample in range(options.prompts):
        owner = shard.owner[sample]
        prefix = slice(shard.prefix_start[owner], shard.prefix_start[owner] + shard.prefix_length[owner])
        body = slice(shard.body_start[sample], shard.body_start[sample] + shard.body_length[sample])
        written = int(np.flatnonzero(shard.written[body])[0])
        prompt = [*shard.source[prefix].tolist(), *shard.source[body][:written].tolist()]
        chosen = follow(server, prompt, options.tokens)
        if not chosen:
            continue
        with torch.no_grad():
            logits = model.logits(torch.tensor([*prompt, *chosen]))[len(prompt) - 1 : -1]
        lacking = logits.max(-1).values - logits[torch.arange(len(chosen)), torch.tensor(chosen)]
        if lacking.max() > NEAR:
            raise SystemExit(f"sample {sample}: a token lacks {lacking.max():.2f} to the likeliest")
        compared += len(chosen)
        near += int((lacking > 0).sum())
    if not compared:
        raise SystemExit("llama.cpp wrote nothing that could be compared")
    print(f"{compared} tokens, {near} of them another at a near tie")


if __name__ == "__main__":
    main()
