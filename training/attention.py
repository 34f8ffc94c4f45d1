"""Attention over a packed row: a token sees its segment's prefix and, causally, its own segment.

Two ways that give the same numbers: `Loop` calls scaled dot-product attention for each segment and
runs anywhere; `Flash` needs a GPU and two calls of the flash attention that PyTorch has, one within
the segments and one of all bodies on their prefixes, whose results are joined.
"""

import numpy as np
import torch
from torch.nn import functional as F

# What a row may hold is fixed, since the kernels are recorded once and start a block of threads for
# whatever there could be: a segment for so many tokens, and a prefix for so many, but not fewer than
# this of each; and no segment is longer than that.
TOKENS_A_SEGMENT = 128
TOKENS_A_PREFIX = 2048
LEAST = 16
LONGEST = 1536


class Loop:
    """A call for each segment."""

    def __init__(self, batch):
        self.segments = batch.segments.tolist()

    def __call__(self, q, k, v):
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        parts = []
        for begin, end, first, last in self.segments:
            own = slice(begin, end)
            keys, values, mask = k[:, :, own], v[:, :, own], None
            if first != begin:
                keys = torch.cat([k[:, :, first:last], keys], 2)
                values = torch.cat([v[:, :, first:last], values], 2)
                mask = torch.ones(end - begin, keys.shape[2], dtype=torch.bool, device=q.device).tril(last - first)
            parts.append(
                F.scaled_dot_product_attention(
                    q[:, :, own], keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
                )
            )
        return torch.cat(parts, 2)[0].transpose(0, 1)


def limits(tokens):
    """How many segments and prefixes a row of so many tokens may hold."""
    return max(LEAST, tokens // TOKENS_A_SEGMENT), max(LEAST, tokens // TOKENS_A_PREFIX)


def spans(segments, tokens):
    """What `Flash` needs to know of a row, in arrays whose shapes depend on `tokens` alone:
    where each segment begins, `(n + 1,)`; where each stretch of one prefix or of its bodies begins
    among all tokens, and where the keys that it sees begin among the tokens of all prefixes, `(m + 1,)`
    each; the places of the prefixes' tokens, `(tokens,)`, filled up with 0; which tokens are a
    body's, `(tokens,)`."""
    most_segments, most_prefixes = limits(tokens)
    own = [begin for begin, *_ in segments]
    queries, keys, places, owner, seen = [], [], [], None, 0
    inside = np.zeros(tokens, bool)
    for begin, end, first, last in segments:
        body = first != begin
        inside[begin:end] = body
        if not body or owner != first:
            queries.append(begin)
            keys.append(seen)
        if not body:
            owner = None
        elif owner != first:
            owner = first
            places.append(np.arange(first, last))
            seen += last - first
    places = np.concatenate(places) if places else np.zeros(0, np.int64)
    # Before and after the bodies of a prefix are stretches that see nothing.
    most_stretches = 2 * most_prefixes + 1
    if len(own) > most_segments or len(queries) > most_stretches or max(np.diff(own + [tokens])) > LONGEST:
        raise ValueError(f"a row of {tokens} tokens holds more or longer segments than it may")

    def filled(starts, rest, most):
        return np.array(starts + [rest] * (most + 1 - len(starts)), np.int32)

    return {
        "own": filled(own, tokens, most_segments),
        "queries": filled(queries, tokens, most_stretches),
        "keys": filled(keys, seen, most_stretches),
        "places": np.concatenate([places, np.zeros(tokens - len(places), np.int64)]),
        "inside": inside,
    }


def longest(q, causal):
    """Queries and keys of the longest stretch there may be: of one segment, or of the bodies of one
    prefix on that."""
    return (LONGEST if causal else len(q)), LONGEST


def flash(q, k, v, queries, keys, causal):
    """Attention of each stretch of queries on its stretch of keys, and the logarithm of each query's
    sum of exponentials, `(heads, tokens)`."""
    return torch.ops.aten._flash_attention_forward(
        q, k, v, queries, keys, *longest(q, causal), 0.0, causal, False
    )[:2]


def flash_backward(grad, q, k, v, out, total, queries, keys, causal):
    """Gradients of queries, keys and values, where `out` and `total` may be those of an attention on
    more keys than these: each key's share of it is found from `total`."""
    none = torch.empty(0, device=q.device)
    state = torch.zeros(2, dtype=torch.uint64, device=q.device)
    return torch.ops.aten._flash_attention_backward(
        grad, q, k, v, out, total, queries, keys, *longest(q, causal), 0.0, causal, state, none
    )


class Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, own, queries, keys, places, inside):
        prefix_k, prefix_v = k[places], v[places]
        near, near_total = flash(q, k, v, own, own, True)
        far, far_total = flash(q, prefix_k, prefix_v, queries, keys, False)
        # Queries without keys have no total: flash attention writes whatever it likes.
        far_total = far_total.where(inside, -torch.inf)
        total = torch.logaddexp(near_total, far_total)
        near_share = (near_total - total).exp().T[..., None]
        far = far.where(inside[:, None, None], 0)
        out = (near * near_share + far * (1 - near_share)).to(q.dtype)
        ctx.save_for_backward(q, k, v, prefix_k, prefix_v, out, total, own, queries, keys, places, inside)
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, prefix_k, prefix_v, out, total, own, queries, keys, places, inside = ctx.saved_tensors
        grad = grad.contiguous()
        dq, dk, dv = flash_backward(grad, q, k, v, out, total, own, own, True)
        far = flash_backward(grad, q, prefix_k, prefix_v, out, total, queries, keys, False)
        dq = dq + far[0].where(inside[:, None, None], 0)
        filled = torch.arange(len(places), device=places.device) < keys[-1]
        for whole, part in ((dk, far[1]), (dv, far[2])):
            whole.index_add_(0, places, part.where(filled[:, None, None], 0))
        return dq, dk, dv, None, None, None, None, None


class Flash:
    """Two calls for the row."""

    def __init__(self, batch):
        self.spans = batch.own, batch.queries, batch.keys, batch.places, batch.inside

    def __call__(self, q, k, v):
        return Joined.apply(q.contiguous(), k.contiguous(), v.contiguous(), *self.spans)
