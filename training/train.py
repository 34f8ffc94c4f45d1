"""Trains the model and writes a checkpoint.

    python training/train.py --generator "generate shard --vocabulary v.gguf --seed {seed} --count 4096 \\
        --out {out}" --minutes 20 --out model.pt
    python training/train.py --data shards/ --eval held.shard --minutes 120 --layers 6 --width 256 …

The learning rate follows the clock (or `--steps`): it warms up, stays, and falls to zero in the last
part, so that the run always ends properly. It writes the checkpoint after each evaluation, at the end
and on SIGTERM.
"""

import argparse
import math
import os
import queue
import signal
import sys
import threading
import time

import numpy as np
import torch

from attention import Flash, Loop
from evaluate import evaluate
from export import load
from model import Llama, Shape
from optimizer import optimizers
from samples import Shard, batches
from stream import Folder, Generators

# Seeds from here on are never trained on.
HELD_OUT_SEED = 1_000_000_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--generator", help="command that writes a shard; {seed} and {out} are filled in")
    source.add_argument("--data", help="folder of *.shard files")
    parser.add_argument("--eval", help="held-out shard; without it, the generator's with a seed kept for that")
    parser.add_argument("--out", required=True, help="checkpoint to write")
    parser.add_argument("--start", help="GGUF file of the same shape and vocabulary whose weights to start from")
    parser.add_argument("--spool", default="/dev/shm/llama-agent-shards", help="folder for shards in flight")
    parser.add_argument("--workers", type=int, default=1, help="generator processes")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time for training, start and compilation not counted")
    length.add_argument("--steps", type=int, help="length in steps instead: the same numbers every time")
    parser.add_argument("--tokens", type=int, default=65536, help="tokens in a batch, a multiple of 64")
    parser.add_argument("--vocabulary-size", type=int, default=2048)
    for name, value in vars(Shape(0)).items():
        if name != "vocabulary":
            parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--adam", action="store_true", help="AdamW for the matrices too, instead of Muon")
    parser.add_argument("--adam-lr", type=float, default=3e-3)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--warm-up", type=int, default=200, help="steps")
    parser.add_argument("--decay", type=float, default=0.5, help="share of the run in which the rate falls")
    parser.add_argument("--clip", type=float, default=1.0, help="largest gradient norm")
    parser.add_argument("--gaps", type=float, default=0.3, help="share of bodies that begin at a later position")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log-seconds", type=float, default=10)
    parser.add_argument("--eval-seconds", type=float, default=90)
    parser.add_argument("--attention", choices=["auto", "flash", "loop"], default="auto")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    return options


def prefetch(source, options, depth=6):
    """Batches packed by a thread of its own, in order."""
    ready = queue.Queue(depth)

    def fill():
        try:
            for number, shard in enumerate(source):
                rng = np.random.default_rng((options.seed, number))
                for batch in batches(shard, options.tokens, rng, options.gaps):
                    ready.put(batch)
        except Exception as problem:
            ready.put(problem)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        batch = ready.get()
        if isinstance(batch, Exception):
            raise batch
        yield batch


class Trainer:
    def __init__(self, options):
        self.options = options
        self.cuda = options.device == "cuda"
        torch.manual_seed(options.seed)
        torch.set_float32_matmul_precision("high")
        shape = {name: getattr(options, name) for name in vars(Shape(0)) if name != "vocabulary"}
        self.model = Llama(Shape(options.vocabulary_size, **shape)).to(options.device)
        if options.start:
            self.model.load_state_dict(load(options.start).state_dict())
        self.optimizers = optimizers(
            self.model, not options.adam, options.adam_lr, options.muon_lr, options.weight_decay
        )
        self.flash = self.cuda and options.attention != "loop"
        self.graph = None
        if self.cuda:
            self.model.compile()

    def attention(self, batch):
        return Flash(batch) if self.flash else Loop(batch)

    def forward(self, batch):
        """The loss of each token and whether it is predicted, for a batch on the device."""
        with torch.autocast(self.options.device, torch.bfloat16, enabled=self.cuda):
            return self.model.loss(batch, self.attention(batch))

    def backward(self, batch):
        """Accumulates gradients; the mean loss of the tokens that count, and the share predicted."""
        losses, right = self.forward(batch)
        count = batch.weights.sum().clamp(min=1)
        loss = losses.sum() / count
        loss.backward()
        return loss.detach(), (right * batch.weights).sum() / count

    def step(self, batch, rate):
        """One step at `rate`, a share of the peak: loss, share predicted, gradient norm."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"].fill_(group["peak"] * rate)
        if not self.graph:
            return self.update(batch)
        for name, tensor in vars(self.place).items():
            if name != "segments":
                tensor.copy_(getattr(batch, name))
        self.graph.replay()
        return self.figures.clone()

    def update(self, batch):
        figures = self.backward(batch)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return torch.stack([*figures, norm])

    def capture(self, batch):
        """Records a step as a CUDA graph, which then reads its batch where this one lies: to launch its
        kernels one by one takes the processor longer than the GPU needs to run them."""
        self.place = batch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.step(batch, 0.0)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.figures = self.update(batch)
        except RuntimeError as problem:
            print(f"no CUDA graph: {problem}", file=sys.stderr, flush=True)
            return
        self.graph = graph

    def prove(self, batch):
        """Compiles, and checks the fused attention's gradients against the plain ones."""
        if not self.flash:
            return
        try:
            gradients = []
            for self.flash in (True, False):
                self.backward(batch)
                gradients.append(self.model.blk[0].attn_k.weight.grad.clone())
                self.model.zero_grad(set_to_none=True)
            error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
            print(f"flash attention differs from plain attention by {error:.1e}", flush=True)
            self.flash = bool(error < 0.05)
        except Exception as problem:
            if self.options.attention == "flash":
                raise
            print(f"no flash attention: {problem}", file=sys.stderr, flush=True)
            self.flash = False
            self.model.zero_grad(set_to_none=True)

    def save(self, steps):
        weights = {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}
        part = f"{self.options.out}.part"
        torch.save({"shape": vars(self.model.shape), "weights": weights, "steps": steps}, part)
        os.replace(part, self.options.out)


def rate(options, steps, seconds):
    """The learning rate as a share of its peak, and whether the run is over."""
    done = steps / options.steps if options.steps else seconds / (60 * options.minutes)
    warm = min(1.0, (steps + 1) / options.warm_up)
    return warm * min(1.0, max(0.0, 1 - done) / options.decay), done >= 1


def main():
    options = arguments()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    if options.data:
        source = Folder(options.data, options.seed)
    else:
        patient = options.steps is not None
        source = Generators(options.generator, options.spool, options.workers, options.seed * 1_000_000, patient)
    held = Shard(options.eval) if options.eval else options.generator and source.make(HELD_OUT_SEED)
    trainer = Trainer(options)
    print(f"{trainer.model.shape.parameters() / 1e6:.1f} million parameters", flush=True)
    stream = (batch.to(options.device) for batch in prefetch(source, options))
    begun = time.monotonic()
    trainer.prove(next(stream))
    for _ in range(3):
        trainer.step(next(stream), 0.0)
    if trainer.flash and trainer.cuda:
        trainer.capture(next(stream))
    if trainer.cuda:
        torch.cuda.synchronize()
    print(f"ready after {time.monotonic() - begun:.0f} s", flush=True)

    begun = logged = judged = time.monotonic()
    steps, steps_logged, paused, figures = 0, 0, 0.0, []
    while not stop.is_set():
        share, over = rate(options, steps, time.monotonic() - begun)
        if over:
            break
        figures.append(trainer.step(next(stream), share))
        steps += 1
        if steps % 8 == 0 and trainer.cuda:
            # The clock decides the learning rate: the queue of work must not run ahead of it.
            figures[max(0, len(figures) - 8)].tolist()
        now = time.monotonic()
        if now - logged >= options.log_seconds:
            loss, right, norm = torch.stack(figures).mean(0).tolist()
            speed = (steps - steps_logged) * options.tokens / (time.monotonic() - logged - paused)
            print(
                f"{now - begun:6.0f} s  step {steps:6}  loss {loss:.4f}  right {right:.4%}  norm {norm:.2f}  "
                f"rate {share:.3f}  {speed / 1e3:.0f} k tokens/s  shards {source.fresh} + {source.again} again",
                flush=True,
            )
            if not math.isfinite(loss):
                raise SystemExit("the loss is no number any more")
            logged, steps_logged, paused, figures = time.monotonic(), steps, 0.0, []
        if held and now - judged >= options.eval_seconds:
            judged = time.monotonic()
            print(f"held out: {evaluate(trainer, held)}", flush=True)
            trainer.save(steps)
            paused += time.monotonic() - judged
    trainer.save(steps)
    print(f"{options.out}: {steps} steps", flush=True)
    if held:
        print(f"held out: {evaluate(trainer, held)}", flush=True)
    source.close()


if __name__ == "__main__":
    main()
