"""Training samples: reading shards, and packing them into batches of one flat row of tokens.

A row holds a prefix, the bodies that follow it, the next prefix, its bodies, and so on; what is left
over at the end is a segment that counts for nothing. The shard format is described in
`training/generate/shard.rs`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from attention import LONGEST, limits, spans
from model import CONTEXT

MAGIC = b"LASHARD1"

# Bodies of one prefix that stay together in a row, so that its cost is shared.
TOGETHER = 32


class Shard:
    """The samples of one file. `source` and `written` are all tokens, prefixes then bodies, and
    whether the model wrote them; starts and lengths say where in them each prefix and body lies."""

    def __init__(self, path):
        data = Path(path).read_bytes()
        if data[:8] != MAGIC:
            raise ValueError(f"{path} is no shard")
        prefixes, samples, prefix_tokens, body_tokens = np.frombuffer(data, "<u4", 4, 8)
        at = 24

        def section(kind, length):
            nonlocal at
            items = np.frombuffer(data, kind, length, at)
            at += items.nbytes
            return items

        ends = section("<u4", prefixes).astype(np.int64)
        self.owner = section("<u4", samples).astype(np.int64)
        body_ends = section("<u4", samples).astype(np.int64)
        self.source = section("<u2", int(prefix_tokens) + int(body_tokens))
        self.written = np.concatenate([np.zeros(prefix_tokens, np.uint8), section("u1", body_tokens)])
        self.prefix_start, self.prefix_length = starts(ends)
        self.body_start, self.body_length = starts(body_ends)
        self.body_start += int(prefix_tokens)

    def __len__(self):
        return len(self.owner)


def starts(ends):
    begin = np.concatenate([[0], ends[:-1]])
    return begin, ends - begin


@dataclass
class Batch:
    """A row of tokens. `segments` is `(segments, 4)`: where each begins and ends, and where the prefix
    it sees begins and ends (its own place for a prefix); the others are `(tokens,)`, `parent` being
    the segment of the prefix that a token's segment sees, the rest what `attention.spans` makes."""

    ids: object
    positions: object
    labels: object
    weights: object
    document: object
    parent: object
    own: object
    queries: object
    keys: object
    places: object
    inside: object
    segments: np.ndarray

    def to(self, device):
        """The row as tensors there, copied without waiting on a GPU."""

        def move(array):
            tensor = torch.from_numpy(array)
            return tensor.pin_memory().to(device, non_blocking=True) if device == "cuda" else tensor

        return Batch(**{name: value if name == "segments" else move(value) for name, value in vars(self).items()})


def deal(shard, tokens, rng):
    """Cuts the shard's samples, shuffled, into lists that fill a row of `tokens` each."""
    chunks = []
    for prefix in np.unique(shard.owner):
        samples = rng.permutation(np.flatnonzero(shard.owner == prefix))
        chunks += [samples[i : i + TOGETHER] for i in range(0, len(samples), TOGETHER)]
    owners, lengths, prefixes = (part.tolist() for part in (shard.owner, shard.body_length, shard.prefix_length))
    # The rest of a row is filled up with segments that count for nothing.
    most, most_prefixes = limits(tokens)
    most -= tokens // LONGEST + 1
    hand, seen, used = [], set(), 0
    for chunk in rng.permutation(len(chunks)):
        for sample in chunks[chunk].tolist():
            owner, length = owners[sample], lengths[sample]
            prefix = prefixes[owner]
            if prefix + length > min(tokens, CONTEXT) or max(prefix, length) > LONGEST:
                continue
            new = owner not in seen
            cost = length + (prefix if new else 0)
            many = len(hand) + len(seen) + 1 + new > most or len(seen) + new > most_prefixes
            if used + cost > tokens or many:
                yield hand, True
                hand, seen, used, cost = [], set(), 0, length + prefix
            hand.append(sample)
            seen.add(owner)
            used += cost
    if hand:
        yield hand, False


def pack(shard, samples, tokens, rng, gaps):
    """One row. A share `gaps` of the bodies begin later than their prefix ends, by a random number
    of positions: conversations are mostly short, and all 4,096 positions must be learned."""
    samples = np.asarray(samples)
    samples = samples[np.argsort(shard.owner[samples], kind="stable")]
    segments, source, first = [], [], []
    at, prefix = 0, None
    for sample in samples:
        owner = shard.owner[sample]
        if prefix is None or owner != prefix[0]:
            length = shard.prefix_length[owner]
            prefix = (owner, at, at + length)
            segments.append((at, at + length, at, at + length))
            source.append(shard.prefix_start[owner])
            first.append(0)
            at += length
        length, gap = shard.body_length[sample], 0
        if rng.random() < gaps:
            gap = rng.integers(0, CONTEXT - (prefix[2] - prefix[1]) - length + 1)
        segments.append((at, at + length, prefix[1], prefix[2]))
        source.append(shard.body_start[sample])
        first.append(prefix[2] - prefix[1] + gap)
        at += length
    for begin in range(at, tokens, LONGEST):
        end = min(begin + LONGEST, tokens)
        segments.append((begin, end, begin, end))
        source.append(0)
        first.append(0)
    segments = np.array(segments, np.int64)
    lengths = segments[:, 1] - segments[:, 0]
    inside = np.arange(tokens) - np.repeat(segments[:, 0], lengths)
    index = np.repeat(source, lengths) + inside
    index[at:] = 0
    ids = shard.source[index].astype(np.int64)
    written = shard.written[index]
    written[at:] = 0
    weights = np.zeros(tokens, np.float32)
    weights[:-1] = written[1:]
    weights[segments[:, 1] - 1] = 0
    return Batch(
        ids=ids,
        positions=np.repeat(first, lengths) + inside,
        labels=np.roll(ids, -1),
        weights=weights,
        document=np.repeat(np.arange(len(segments)), lengths),
        parent=np.repeat(np.searchsorted(segments[:, 0], segments[:, 2]), lengths),
        **spans(segments.tolist(), tokens),
        segments=segments,
    )


def batches(shard, tokens, rng, gaps=0.0, partial=False):
    """Rows of `tokens` from a shard. Samples that fill no whole row are left out unless `partial`."""
    for samples, full in deal(shard, tokens, rng):
        if full or partial:
            yield pack(shard, samples, tokens, rng, gaps)
