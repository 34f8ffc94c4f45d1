"""A Llama in PyTorch, as GGUF's `llama` architecture defines it: RMSNorm, rotary positions on
neighbouring pairs, grouped-query attention, SwiGLU, the output tied to the embedding.

It runs on one flat row of tokens, which a `Layout` cuts into segments: prefixes, and bodies that see
their prefix and themselves. So a prefix that many bodies share is computed once.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

EPSILON = 1e-5
THETA = 10000.0
CONTEXT = 4096
HEAD = 64


@dataclass
class Shape:
    vocabulary: int
    layers: int = 8
    width: int = 384
    heads: int = 6
    kv_heads: int = 2
    hidden: int = 1024

    def parameters(self):
        attention = 2 * self.width * HEAD * (self.heads + self.kv_heads)
        return self.vocabulary * self.width + self.layers * (attention + 3 * self.width * self.hidden)


def rms_norm(x, weight):
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight


def rotary_table():
    """Cosine and sine for each position and pair, `(CONTEXT, HEAD / 2)` each."""
    frequency = THETA ** (-torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD)
    angle = torch.arange(CONTEXT, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def rotate(x, cosine, sine):
    """Turns the pairs (0, 1), (2, 3), … of `x`, `(tokens, heads, HEAD)`: the pairing of GGUF."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = cosine[:, None], sine[:, None]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2).to(x.dtype)


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads, self.kv_heads = shape.heads, shape.kv_heads
        self.attn_norm = nn.Parameter(torch.ones(shape.width))
        self.attn_q = nn.Linear(shape.width, shape.heads * HEAD, bias=False)
        self.attn_k = nn.Linear(shape.width, shape.kv_heads * HEAD, bias=False)
        self.attn_v = nn.Linear(shape.width, shape.kv_heads * HEAD, bias=False)
        self.attn_output = nn.Linear(shape.heads * HEAD, shape.width, bias=False)
        self.ffn_norm = nn.Parameter(torch.ones(shape.width))
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def project(self, x, cosine, sine):
        """Queries, keys and values, `(tokens, heads, HEAD)` each."""
        x = rms_norm(x, self.attn_norm)
        q = rotate(self.attn_q(x).unflatten(-1, (-1, HEAD)), cosine, sine)
        k = rotate(self.attn_k(x).unflatten(-1, (-1, HEAD)), cosine, sine)
        v = self.attn_v(x).unflatten(-1, (-1, HEAD))
        return q, k, v

    def finish(self, x, attended):
        """The rest of the block after attention, `attended` being `(tokens, heads, HEAD)`."""
        x = x + self.attn_output(attended.flatten(1))
        y = rms_norm(x, self.ffn_norm)
        return x + self.ffn_down(F.silu(self.ffn_gate(y)) * self.ffn_up(y))


class Llama(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.Parameter(torch.ones(shape.width))
        cosine, sine = rotary_table()
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.project, self.finish, self.score = Block.project, Block.finish, score
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                # Residual branches begin small, so that depth does not grow the sum at the start.
                scale = (2 * shape.layers) ** -0.5 if "output" in name or "down" in name else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)

    def compile(self):
        """Compiles the parts between attentions: all layers share the same code."""
        self.project, self.finish, self.score = (
            torch.compile(part, dynamic=False) for part in (Block.project, Block.finish, score)
        )

    def hidden(self, ids, positions, attend):
        """What the last block makes of `ids`, `(tokens, width)`. `attend` is a layout's attention."""
        cosine, sine = self.cosine[positions], self.sine[positions]
        x = self.token_embd(ids).float()
        for block in self.blk:
            x = self.finish(block, x, attend(*self.project(block, x, cosine, sine)))
        return x

    def loss(self, batch, attend):
        """Cross entropy in nats of each token's successor, 0 where it does not count, and whether
        the likeliest successor is the right one: `(tokens,)` each."""
        x = self.hidden(batch.ids, batch.positions, attend)
        return self.score(x, self.output_norm, self.token_embd.weight, batch.labels, batch.weights)

    def logits(self, ids):
        """Logits after each of `ids`, a plain sequence: the reference that tests compare with."""
        positions = torch.arange(len(ids), device=ids.device)
        x = self.hidden(ids, positions, causal)
        return F.linear(rms_norm(x, self.output_norm), self.token_embd.weight)


def causal(q, k, v):
    """Attention of each token on itself and all before it."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1)


def score(x, norm, embedding, labels, weights):
    # Rounded to bfloat16, the two best logits would often be equal.
    with torch.autocast(x.device.type, enabled=False):
        logits = F.linear(rms_norm(x, norm), embedding)
    return F.cross_entropy(logits, labels, reduction="none") * weights, logits.argmax(-1) == labels
