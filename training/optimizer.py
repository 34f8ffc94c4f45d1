"""The optimizer: Muon for the blocks' matrices, AdamW for the embedding and the norms.

Muon (Jordan et al. 2024) replaces a matrix's momentum by the nearest matrix with all singular values
near 1, which a Newton-Schulz iteration finds with matrix products alone.
"""

import torch

# The quintic of the original: it trades exactness of the limit for speed of approach.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalize(matrices):
    """The orthogonal factor of each of `matrices`, `(count, rows, columns)`, roughly."""
    a, b, c = QUINTIC
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are stepped together."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.0):
        groups = {}
        for parameter in parameters:
            groups.setdefault(tuple(parameter.shape), []).append(parameter)
        groups = [{"params": group} for group in groups.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            parameters, momentum = group["params"], group["momentum"]
            gradient = torch.stack([parameter.grad for parameter in parameters])
            state = self.state[parameters[0]]
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
            average = state["momentum"].lerp_(gradient, 1 - momentum)
            update = orthogonalize(gradient.lerp(average, momentum))
            scale = max(1, update.shape[1] / update.shape[2]) ** 0.5
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(parameters, list((update * (group["lr"] * scale)).unbind()))


def optimizers(model, muon, adam_lr, muon_lr, decay):
    """The optimizers of all parameters. Each group remembers its peak learning rate as `peak`; the
    rate itself is a tensor, so that a CUDA graph of a step reads it anew."""
    matrices = [p for block in model.blk for p in block.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    table = [model.token_embd.weight]
    fused = table[0].is_cuda
    groups = [{"params": table, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    if not muon:
        groups.append({"params": matrices, "weight_decay": decay})
    made = [torch.optim.AdamW(groups, lr=adam_lr, betas=(0.9, 0.98), eps=1e-9, fused=fused, capturable=fused)]
    if muon:
        made.append(Muon(matrices, lr=muon_lr, weight_decay=decay))
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
            group["lr"] = torch.tensor(group["peak"], device=table[0].device)
    return made
