"""Where shards come from: a folder, or generator processes that write them while training runs."""

import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from samples import Shard


# Shards that must have been seen before one is handed out again, and that are kept for it.
ENOUGH, KEPT = 8, 256

# Generator processes that may fail before training stops for want of data.
FAILURES = 50


class Folder:
    """The shards of a folder, in a new order each time round."""

    def __init__(self, folder, seed):
        self.paths = sorted(Path(folder).glob("*.shard"))
        if not self.paths:
            raise SystemExit(f"no *.shard in {folder}")
        self.rng = np.random.default_rng(seed)
        self.fresh = self.again = 0

    def __iter__(self):
        while True:
            for index in self.rng.permutation(len(self.paths)):
                again = self.fresh == len(self.paths)
                self.fresh, self.again = self.fresh + (not again), self.again + again
                yield Shard(self.paths[index])

    def close(self):
        """Nothing runs."""


class Generators:
    """Processes that each write one shard, of its own seed, and are followed by the next.

    `command` is a command line in which `{seed}` and `{out}` stand for the seed and the file. Shards
    are handed out in order of seed. Without `patient` they are handed out as they come, and while
    none is there one that was seen before is handed out again, so that training never waits.
    """

    def __init__(self, command, spool, workers, first_seed, patient, ahead=4):
        self.command, self.spool, self.patient = shlex.split(command), Path(spool), patient
        self.spool.mkdir(parents=True, exist_ok=True)
        self.seed, self.expected, self.ready, self.seen = first_seed, first_seed, {}, []
        self.changed, self.room = threading.Condition(), threading.Semaphore(workers * ahead)
        self.running, self.failures, self.closed = set(), 0, False
        self.fresh = self.again = 0
        self.rng = np.random.default_rng(first_seed)
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()

    def make(self, seed):
        """Runs one generator to its end and reads what it wrote."""
        path = self.spool / f"{seed}.shard"
        process = subprocess.Popen([part.format(seed=seed, out=path) for part in self.command])
        self.running.add(process)
        code = process.wait()
        self.running.discard(process)
        if code != 0:
            raise RuntimeError(f"the generator ended with code {code} at seed {seed}")
        shard = Shard(path)
        path.unlink()
        return shard

    def _work(self):
        while self.room.acquire() and not self.closed:
            with self.changed:
                seed, self.seed = self.seed, self.seed + 1
            try:
                shard = self.make(seed)
            except Exception as problem:
                shard = None
                if not self.closed:
                    print(problem, file=sys.stderr, flush=True)
            with self.changed:
                if shard is not None:
                    self.ready[seed] = shard
                else:
                    # In a reproducible run no seed may be missing; otherwise a few may.
                    self.failures += 1
                    self.room.release()
                self.changed.notify_all()
                if self.failures > (0 if self.patient else FAILURES):
                    return

    def __iter__(self):
        while True:
            yield self._next()

    def _next(self):
        with self.changed:
            if not self.patient and not self.ready and len(self.seen) >= ENOUGH:
                self.again += 1
                return self.seen[self.rng.integers(len(self.seen))]
            while not (self.expected in self.ready if self.patient else self.ready):
                if self.failures > (0 if self.patient else FAILURES):
                    raise RuntimeError("the generator fails")
                self.changed.wait()
            shard = self.ready.pop(self.expected if self.patient else min(self.ready))
            self.expected += 1
            self.fresh += 1
            if not self.patient:
                self.seen = [*self.seen[1 - KEPT :], shard]
        self.room.release()
        return shard

    def close(self):
        """Ends the processes and waits for them."""
        self.closed = True
        for process in list(self.running):
            process.terminate()
        while self.running:
            time.sleep(0.01)
