"""Teacher-forced accuracy on a held-out shard."""

from dataclasses import dataclass

import numpy as np

from samples import batches


@dataclass
class Score:
    tokens: int = 0
    loss: float = 0.0
    right: int = 0
    replies: int = 0
    replies_right: int = 0

    def __str__(self):
        tokens, replies = max(self.tokens, 1), max(self.replies, 1)
        return (
            f"loss {self.loss / tokens:.4f}, {self.right / tokens:.4%} of {self.tokens} tokens, "
            f"{self.replies_right / replies:.3%} of {self.replies} replies without a wrong token"
        )


def evaluate(trainer, shard, rows=16):
    """The score on the first `rows` rows: always the same ones."""
    score, seed = Score(), 0
    for number, batch in enumerate(batches(shard, trainer.options.tokens, np.random.default_rng(seed), partial=True)):
        if number == rows:
            break
        losses, right = trainer.forward(batch.to(trainer.options.device))
        right = right.cpu().numpy()
        counts = batch.weights > 0
        # A reply is a run of tokens that count.
        begins = counts & ~np.concatenate([[False], counts[:-1]])
        reply = np.cumsum(begins)[counts]
        wrong = np.unique(reply[~right[counts]])
        score.tokens += int(counts.sum())
        score.loss += losses.detach().sum().item()
        score.right += int(right[counts].sum())
        score.replies += int(begins.sum())
        score.replies_right += int(begins.sum()) - len(wrong)
    return score
