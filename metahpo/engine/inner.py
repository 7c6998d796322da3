"""The inner loop: a batch of tasks, each from the same start, a few gradient steps.

It knows nothing of networks: parameters are tensors with a leading task dimension, the loss gives
one number a task. Since no task's loss depends on another task's parameters, the gradient of the
sum is every task's own gradient, and one backward pass serves the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from metahpo.engine.rule import InnerRule, Loss, Params


def spread(theta: Mapping[str, Tensor], rule: InnerRule, tasks: int) -> Params:
    """Give every task its own start: (…) to (B, …), and to (1, …) what no task adapts."""
    return {
        name: tensor.expand(tasks if rule.adapts(name) else 1, *tensor.shape)
        for name, tensor in theta.items()
    }


def unroll(
    start: Params,
    loss: Loss | Sequence[Loss],
    rule: InnerRule,
    log_rates: Mapping[str, Tensor],
    steps: int,
) -> Iterator[Params]:
    """Take inner steps, and hand out the parameters after each.

    Parameters
    ----------
    start : dict of str to Tensor, each (B, ...)
        Where every task starts: :func:`spread`'s value, or a start of one's own a task.
    loss : callable, or sequence of them
        Parameters to the tasks' losses, shape (B,); of several, steps follow one after the other
        in turn, as minibatches.
    rule : InnerRule
    log_rates : mapping of str to Tensor
        :meth:`InnerRule.initial_log_rates`'s value, or what became of it.
    steps : int

    Yields
    ------
    dict of str to Tensor
        The parameters after 0 … steps steps, so steps + 1 of them. With grad mode on and order
        "second" the outer gradient passes through all of it, with order "first" through the sum
        of the steps alone.
    """
    second = rule.order == "second" and torch.is_grad_enabled()
    if second:  # a start that nothing is learned about must still be differentiated in
        start = {
            n: p if p.requires_grad else p.detach().requires_grad_() for n, p in start.items()
        }
    rates = {name: log.exp() for name, log in log_rates.items()}
    losses = (loss,) if callable(loss) else loss
    phi = start
    yield phi
    for step in range(steps):
        phi = _step(phi, start, losses[step % len(losses)], rule, rates, step, second)
        yield phi


def _step(
    phi: Params,
    start: Params,
    loss: Loss,
    rule: InnerRule,
    rates: Mapping[str, Tensor],
    step: int,
    second: bool,
) -> Params:
    names = [name for name in phi if rule.adapts(name)]
    with torch.enable_grad():
        if second:
            leaves = phi
        else:
            leaves = phi | {name: phi[name].detach().requires_grad_() for name in names}
        gradients = torch.autograd.grad(
            loss(leaves).sum(), [leaves[name] for name in names], create_graph=second
        )
    if rule.clip is not None:
        gradients = _clipped(gradients, rule.clip)
    moved = {}
    for name, gradient in zip(names, gradients, strict=True):
        if rule.weight_decay:
            gradient = gradient + rule.weight_decay * phi[name]
        if rule.proximal:
            gradient = gradient + rule.proximal * (phi[name] - start[name])
        rate = rule.rate_at(rates, name, step)
        moved[name] = torch.addcmul(phi[name], rate, gradient, value=-1)
    return phi | moved


def _clipped(gradients: tuple[Tensor, ...], largest: float) -> tuple[Tensor, ...]:
    """Scale every task's gradient, over all its tensors, to a norm of at most `largest`."""
    square = sum(g.flatten(1).square().sum(1) for g in gradients)  # (B,)
    assert isinstance(square, Tensor)
    scale = (largest * (square + 1e-12).rsqrt()).clamp(max=1.0)
    return tuple(g * scale.reshape(-1, *[1] * (g.dim() - 1)) for g in gradients)
