"""iMAML: the outer gradient at the inner optimum, by the implicit function theorem.

The inner loop approaches phi = argmin L(phi, s) + w/2 · |phi|² + lambda/2 · |phi - theta|², where
s are the parameters that do not adapt. At the optimum, whatever the way there,

    u            = (H + (w + lambda)·I)^-1 ∇_phi Q                                           (1)
    dQ / dtheta  = lambda · u                                                                (2)
    dQ / ds      = ∂Q/∂s - ∂/∂s (∇_phi L · u)                                                (3)

Rajeswaran, Finn, Kakade, Levine, "Meta-Learning with Implicit Gradients", NeurIPS 2019.

Notation
--------
======= =================================================================
L, Q    support and query loss of a task
H       Hessian of L in phi; only its products with vectors are formed
w       rule.weight_decay
lambda  rule.proximal
======= =================================================================
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metahpo.engine.inner import spread, unroll
from metahpo.engine.rule import InnerRule, Loss, Params

Vector = list[Tensor]  # one a parameter tensor, each (B, …): one vector a task
Product = Callable[[Vector], Vector]


def implicit_gradient(
    theta: Params,
    log_rates: Params,
    support: Loss,
    query: Loss,
    rule: InnerRule,
    steps: int,
    tasks: int,
) -> tuple[Params, Tensor]:
    """Return the gradient of the query loss in theta, and that loss, averaged over the tasks."""
    start = {name: p.detach() for name, p in spread(theta, rule, tasks).items()}
    *_, phi = unroll(start, support, rule, log_rates, steps)
    phi = {name: p.detach().requires_grad_() for name, p in phi.items()}
    adapted = [name for name in phi if rule.adapts(name)]
    shared = [name for name in phi if not rule.adapts(name)]

    losses = query(phi)
    gradient = torch.autograd.grad(losses.sum(), [phi[n] for n in adapted + shared])
    at_query, direct = list(gradient[: len(adapted)]), gradient[len(adapted) :]
    slope = torch.autograd.grad(
        support(phi).sum(), [phi[n] for n in adapted], create_graph=True
    )  # ∇_phi L, kept differentiable

    pull = rule.weight_decay + rule.proximal

    def product(v: Vector) -> Vector:
        hessian = torch.autograd.grad(
            slope, [phi[n] for n in adapted], grad_outputs=v, retain_graph=True
        )
        return [h + pull * part for h, part in zip(hessian, v, strict=True)]

    u = _conjugate_gradient(product, at_query, rule.solver_steps)  # (1)
    result = {
        name: rule.proximal * part.mean(0) for name, part in zip(adapted, u, strict=True)
    }  # (2)
    if shared:
        through = torch.autograd.grad(slope, [phi[n] for n in shared], grad_outputs=u)
        for name, at, via in zip(shared, direct, through, strict=True):
            result[name] = (at - via)[0] / tasks  # (3)
    return {name: result[name] for name in theta}, losses.detach().mean()


def _conjugate_gradient(product: Product, target: Vector, steps: int) -> Vector:
    """Solve product(u) = target, every task on its own, in so many steps from u = target."""
    u = target
    residual = [t - a for t, a in zip(target, product(u), strict=True)]
    direction, size = residual, _inner(residual, residual)
    for _ in range(steps):
        image = product(direction)
        # a task that is solved has no residual left: 0 / 0 must stay 0
        length = size / _inner(direction, image).where(size > 0, 1)
        u = [_add(a, length, d) for a, d in zip(u, direction, strict=True)]
        residual = [_add(r, -length, i) for r, i in zip(residual, image, strict=True)]
        before, size = size, _inner(residual, residual)
        ratio = size / before.where(before > 0, 1)
        direction = [_add(r, ratio, d) for r, d in zip(residual, direction, strict=True)]
    return u


def _inner(a: Vector, b: Vector) -> Tensor:
    """Return the tasks' inner products: (B,)."""
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def _add(a: Tensor, factor: Tensor, b: Tensor) -> Tensor:
    return a + factor.reshape(-1, *[1] * (b.dim() - 1)) * b
