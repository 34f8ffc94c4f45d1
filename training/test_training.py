"""Tests of the training code: `python -m unittest discover training`."""

import struct
import tempfile
import unittest
from unittest import mock
from pathlib import Path

import numpy as np
import torch

import gguf_file as gguf
from attention import Flash, Loop
from evaluate import evaluate
from model import HEAD, Llama, Shape, rms_norm, rotate, rotary_table
from optimizer import orthogonalize
from samples import Shard, batches

SHAPE = Shape(vocabulary=300, layers=2, width=128, heads=4, kv_heads=2, hidden=96)


def write_shard(path, prefixes, samples):
    """`samples` are (prefix, ids, mask): the format of `generate/shard.rs`, written independently."""
    owners = [sample[0] for sample in samples]
    ends = lambda parts: np.cumsum([len(part) for part in parts]).tolist()
    flat = lambda parts: [item for part in parts for item in part]
    bodies, masks = [sample[1] for sample in samples], [sample[2] for sample in samples]
    words = [len(prefixes), len(samples), len(flat(prefixes)), len(flat(bodies))]
    words += ends(prefixes) + owners + ends(bodies)
    ids = flat(prefixes) + flat(bodies)
    data = b"LASHARD1" + struct.pack(f"<{len(words)}I", *words) + struct.pack(f"<{len(ids)}H", *ids)
    Path(path).write_bytes(data + bytes(flat(masks)))


def random_shard(folder, rng, prefixes=3, samples=40, longest=90):
    heads = [rng.integers(3, 300, rng.integers(40, 200)).tolist() for _ in range(prefixes)]
    rows = []
    for _ in range(samples):
        length = int(rng.integers(8, longest))
        mask = rng.integers(0, 2, length)
        mask[-1] = 1
        rows.append((int(rng.integers(prefixes)), rng.integers(3, 300, length).tolist(), mask.tolist()))
    path = Path(folder) / "random.shard"
    write_shard(path, heads, rows)
    return Shard(path), heads, rows


def stretches(queries, keys, causal):
    """Which stretch of queries sees which of keys, and the mask."""
    for first, last, begin, end in zip(queries, queries[1:], keys, keys[1:]):
        if first < last:
            mask = torch.ones(last - first, end - begin, dtype=torch.bool)
            yield slice(first, last), slice(begin, end), mask.tril() if causal else mask


def scores(q, k, mask):
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    return (torch.einsum("qhd,khd->hqk", q, k) * HEAD**-0.5).masked_fill(~mask, -torch.inf)


def flash(q, k, v, queries, keys, causal):
    out, total = torch.full_like(q, torch.nan), torch.full((q.shape[1], len(q)), torch.inf)
    v = v.repeat_interleave(q.shape[1] // v.shape[1], 1)
    for rows, columns, mask in stretches(queries.tolist(), keys.tolist(), causal):
        if mask.shape[1]:
            score = scores(q[rows], k[columns], mask)
            total[:, rows] = score.logsumexp(-1)
            out[rows] = torch.einsum("hqk,khd->qhd", score.softmax(-1), v[columns])
    return out, total


def flash_backward(grad, q, k, v, out, total, queries, keys, causal):
    share = q.shape[1] // k.shape[1]
    dq, dk, dv = (torch.full_like(x, torch.nan) for x in (q, k, v))
    for rows, columns, mask in stretches(queries.tolist(), keys.tolist(), causal):
        if mask.shape[1]:
            each_k, each_v = (x[columns].repeat_interleave(share, 1) for x in (k, v))
            weights = (scores(q[rows], k[columns], mask) - total[:, rows, None]).exp()
            change = torch.einsum("qhd,khd->hqk", grad[rows], each_v)
            change = weights * (change - (grad[rows] * out[rows]).sum(-1).T[..., None]) * HEAD**-0.5
            dq[rows] = torch.einsum("hqk,khd->qhd", change, each_k)
            dk[columns] = torch.einsum("hqk,qhd->khd", change, q[rows]).unflatten(1, (-1, share)).sum(2)
            dv[columns] = torch.einsum("hqk,qhd->khd", weights, grad[rows]).unflatten(1, (-1, share)).sum(2)
    return dq, dk, dv


@mock.patch("attention.TOKENS_A_SEGMENT", 8)
class Packing(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.rng = np.random.default_rng(5)
        self.shard, self.heads, self.rows = random_shard(self.folder.name, self.rng)

    def tearDown(self):
        self.folder.cleanup()

    def test_every_sample_is_dealt_once_and_whole(self):
        found = []
        for batch in batches(self.shard, 1024, self.rng, gaps=0.5, partial=True):
            self.assertEqual(len(batch.ids), 1024)
            for begin, end, first, last in batch.segments:
                if first == begin or batch.weights[begin:end].sum() == 0:
                    continue
                prefix = batch.ids[first:last].tolist()
                body, positions = batch.ids[begin:end].tolist(), batch.positions[begin:end]
                self.assertGreaterEqual(positions[0], last - first)
                self.assertLess(positions[-1], 4096)
                self.assertTrue((np.diff(positions) == 1).all())
                self.assertEqual(batch.labels[begin : end - 1].tolist(), body[1:])
                self.assertEqual(batch.weights[end - 1], 0)
                found.append((prefix, body, batch.weights[begin : end - 1].tolist()))
        wanted = [(self.heads[owner], ids, [float(bit) for bit in mask[1:]]) for owner, ids, mask in self.rows]
        self.assertEqual(sorted(found), sorted(wanted))

    def test_a_shared_prefix_changes_nothing(self):
        torch.manual_seed(0)
        model = Llama(SHAPE)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        batch = next(batches(self.shard, 2048, self.rng, partial=True)).to("cpu")
        packed, _ = model.loss(batch, Loop(batch))
        packed.sum().backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        plain = 0
        for begin, end, first, last in batch.segments.tolist():
            if first == begin:
                continue
            ids = torch.cat([batch.ids[first:last], batch.ids[begin:end]])
            logits = model.logits(ids)[last - first : -1]
            losses = torch.nn.functional.cross_entropy(logits, ids[last - first + 1 :], reduction="none")
            losses = losses * batch.weights[begin : end - 1]
            torch.testing.assert_close(losses, packed[begin : end - 1].detach(), atol=1e-4, rtol=1e-4)
            plain += losses.sum()
        plain.backward()
        for parameter, gradient in zip(model.parameters(), gradients):
            error = (parameter.grad - gradient).norm() / parameter.grad.norm()
            self.assertLess(error, 1e-4)

    def test_attention_in_two_calls_equals_the_loop(self):
        """The kernel is a GPU's: here its definition stands for it."""
        batch = next(batches(self.shard, 2048, self.rng, partial=True)).to("cpu")
        grad = torch.randn(2048, 4, HEAD)
        results = []
        with mock.patch("attention.flash", flash), mock.patch("attention.flash_backward", flash_backward):
            for layout in (Flash(batch), Loop(batch)):
                torch.manual_seed(0)
                inputs = [torch.randn(2048, heads, HEAD, requires_grad=True) for heads in (4, 2, 2)]
                out = layout(*inputs)
                out.backward(grad)
                results.append([out.detach()] + [x.grad for x in inputs])
        for ours, wanted in zip(*results):
            torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-4)


class Parts(unittest.TestCase):
    def test_rotation_depends_on_distance_alone(self):
        cosine, sine = rotary_table()
        q, k = torch.randn(2, 1, 1, HEAD).unbind()
        near = rotate(q, cosine[7:8], sine[7:8]) @ rotate(k, cosine[3:4], sine[3:4]).mT
        far = rotate(q, cosine[1007:1008], sine[1007:1008]) @ rotate(k, cosine[1003:1004], sine[1003:1004]).mT
        torch.testing.assert_close(near, far, atol=1e-3, rtol=1e-3)

    def test_orthogonalized_matrices_have_even_singular_values(self):
        for shape in [(3, 64, 64), (2, 96, 32), (2, 32, 96)]:
            values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
            self.assertLess(values.max(), 1.3)
            self.assertGreater(values.median(), 0.6)

    def test_norm_has_the_scale_of_its_weight(self):
        normed = rms_norm(1000 * torch.randn(5, 128), torch.full((128,), 3.0))
        torch.testing.assert_close(normed.square().mean(-1), torch.full((5,), 9.0), atol=1e-3, rtol=1e-3)

    def test_gguf_files_read_back(self):
        rng = np.random.default_rng(1)
        matrix, vector = rng.standard_normal((6, 64), np.float32), rng.standard_normal(64, np.float32)
        metadata = {
            "a.text": (gguf.STRING, "√ is a sign"),
            "a.list": (gguf.ARRAY, (gguf.STRING, ["x", "", "▁y"])),
            "a.flag": (gguf.BOOL, True),
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.gguf"
            gguf.write(path, metadata, {"m": matrix, "v": vector})
            read = gguf.Reader(path)
        self.assertEqual(read.metadata, metadata)
        np.testing.assert_array_equal(read.tensors["v"], vector)
        scale = np.abs(matrix.reshape(-1, 32)).max(1) / 127
        error = np.abs(read.tensors["m"] - matrix).reshape(-1, 32).max(1)
        self.assertTrue((error <= scale * 0.6).all())


class Scoring(unittest.TestCase):
    def test_a_reply_is_right_when_all_its_tokens_are(self):
        class Oracle:
            """Predicts every token, but the first that counts of the first body."""

            class options:
                tokens, device = 512, "cpu"

            def forward(self, batch):
                right = torch.ones(512, dtype=torch.bool)
                right[batch.weights.nonzero()[0]] = False
                return batch.weights * 2.0, right

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.shard"
            write_shard(path, [[5, 6]], [(0, [7] * 9, [0, 1, 1, 0, 1, 1, 1, 0, 1]), (0, [8] * 5, [0, 0, 1, 1, 0])])
            score = evaluate(Oracle(), Shard(path))
        self.assertEqual((score.tokens, score.right, score.replies, score.replies_right), (8, 7, 4, 3))
        self.assertEqual(score.loss, 16.0)


if __name__ == "__main__":
    unittest.main()
