"""Oracles for the engine: one task after the other, plain torch, nothing of metahpo."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Params = dict[str, Tensor]
Forward = Callable[[Params, Tensor], Tensor]
Task = tuple[Tensor, Tensor, Tensor, Tensor]  # support x, y, query x, y


def inner_loop(
    theta: Params,
    losses: Sequence[Callable[[Params], Tensor]],
    rates: Callable[[str, int], Tensor | float],
    steps: int,
    *,
    second: bool = True,
    adapted: Sequence[str] | None = None,
    clip: float | None = None,
    weight_decay: float = 0.0,
    proximal: float = 0.0,
) -> Params:
    names = list(theta) if adapted is None else list(adapted)
    phi = dict(theta)
    for step in range(steps):
        loss = losses[step % len(losses)](phi)
        gradients = torch.autograd.grad(loss, [phi[n] for n in names], create_graph=second)
        norm = torch.sqrt(sum((g**2).sum() for g in gradients))
        for name, g in zip(names, gradients, strict=True):
            if clip is not None and norm > clip:
                g = g * clip / norm
            g = g + weight_decay * phi[name] + proximal * (phi[name] - theta[name])
            phi[name] = phi[name] - rates(name, step) * g
    return phi


def meta_gradient(
    outer: Callable[[Task], Tensor], tasks: Sequence[Task], leaves: Params
) -> Params:
    """Gradient of the mean over tasks, one backward pass a task."""
    total = {name: torch.zeros_like(p) for name, p in leaves.items()}
    for task in tasks:
        found = torch.autograd.grad(outer(task), list(leaves.values()), materialize_grads=True)
        for name, g in zip(leaves, found, strict=True):
            total[name] += g / len(tasks)
    return total


def mlp(norm: str, layers: int) -> Forward:
    def forward(params: Params, x: Tensor) -> Tensor:
        for i in range(layers):
            x = F.linear(x, params[f"layer{i}.weight"].T, params[f"layer{i}.bias"])
            x = torch.relu(normalised(norm, x, params, i))
        return F.linear(x, params["head.weight"].T, params["head.bias"])

    return forward


def conv4(norm: str) -> Forward:
    def forward(params: Params, x: Tensor) -> Tensor:
        for i in range(4):
            x = F.conv2d(x, params[f"conv{i}.weight"], params[f"conv{i}.bias"], 2, 1)
            x = torch.relu(normalised(norm, x, params, i))
        return F.linear(x.mean((2, 3)), params["head.weight"].T, params["head.bias"])

    return forward


def normalised(norm: str, x: Tensor, params: Params, i: int) -> Tensor:
    if norm == "none":
        return x
    scale, shift = params[f"norm{i}.weight"], params[f"norm{i}.bias"]
    if norm == "batch":
        return F.batch_norm(x, None, None, scale, shift, training=True)
    if norm == "instance":
        return F.instance_norm(x, None, None, scale, shift)
    if norm == "group":
        return F.group_norm(x, 4, scale, shift)
    x = F.layer_norm(x, x.shape[1:])
    if x.dim() == 4:
        scale, shift = scale[:, None, None], shift[:, None, None]
    return x * scale + shift
