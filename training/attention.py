"""Attention over a packed row: a token sees its segment's prefix and, causally, its own segment.

Two ways that give the same numbers: `Loop` calls scaled dot-product attention for each segment and
runs anywhere; `Flex` is one fused kernel for the whole row, on a GPU.
"""

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

BLOCK = 128


class Loop:
    """A call for each segment."""

    def __init__(self, batch):
        self.segments = batch.segments.tolist()

    def __call__(self, q, k, v):
        parts = []
        for begin, end, first, last in self.segments:
            own = slice(begin, end)
            if first == begin:
                part = F.scaled_dot_product_attention(q[None, :, own], k[None, :, own], v[None, :, own], is_causal=True)
            else:
                keys = torch.cat([k[:, first:last], k[:, own]], 1)
                values = torch.cat([v[:, first:last], v[:, own]], 1)
                mask = torch.ones(end - begin, keys.shape[1], dtype=torch.bool, device=q.device)
                mask = mask.tril(last - first)
                part = F.scaled_dot_product_attention(q[None, :, own], keys[None], values[None], attn_mask=mask)
            parts.append(part[0])
        return torch.cat(parts, 1)


def block_tables(segments, tokens):
    """Which blocks of `BLOCK` queries see which blocks of keys: a boolean `(2, blocks, blocks)` array of
    those that see some of the tokens, perhaps all, and of those that see all for certain."""
    blocks = tokens // BLOCK
    some, every = np.zeros((2, blocks, blocks), bool)
    groups = {}
    for begin, end, first, last in segments:
        rows = slice(begin // BLOCK, (end - 1) // BLOCK + 1)
        some[rows, rows] = True
        some[rows, first // BLOCK : (last - 1) // BLOCK + 1] = True
        if first != begin:
            low, high = groups.get((first, last), (begin, end))
            groups[first, last] = min(low, begin), max(high, end)
    for (first, last), (begin, end) in groups.items():
        every[-(-begin // BLOCK) : end // BLOCK, -(-first // BLOCK) : last // BLOCK] = True
    return np.stack([np.tril(some) & ~every, every])


class Flex:
    """One kernel for the row, its mask given block by block."""

    kernel = None

    def __init__(self, batch):
        if Flex.kernel is None:
            Flex.kernel = torch.compile(flex_attention, dynamic=False)
        document, parent = batch.document, batch.parent

        def visible(b, h, query, key):
            return (key <= query) & ((document[query] == document[key]) | (parent[query] == document[key]))

        counts = batch.tables.sum(-1, dtype=torch.int32)[:, None, None]
        order = batch.tables.to(torch.int8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)[:, None, None]
        self.mask = BlockMask.from_kv_blocks(
            counts[0], order[0], counts[1], order[1], BLOCK_SIZE=BLOCK, mask_mod=visible
        )

    def __call__(self, q, k, v):
        return Flex.kernel(q[None], k[None], v[None], block_mask=self.mask)[0]
