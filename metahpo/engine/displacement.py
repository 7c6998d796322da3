"""Reptile: the outer loop follows the way that adaptation goes, without an outer gradient.

theta ← theta - eta · mean_b (theta - phi_b), where phi_b is where SGD on all of task b's examples
comes to; the support and the query set are its minibatches in turn. That they differ is what
teaches: it is the inner product of their gradients that Reptile raises (Nichol, Achiam, Schulman,
"On First-Order Meta-Learning Algorithms", 2018, section 5).
"""

from __future__ import annotations

import torch
from torch import Tensor

from metahpo.engine.inner import spread, unroll
from metahpo.engine.rule import InnerRule, Loss, Params


def displacement(
    theta: Params,
    log_rates: Params,
    support: Loss,
    query: Loss,
    rule: InnerRule,
    steps: int,
    tasks: int,
) -> tuple[Params, Tensor]:
    """Return theta - mean phi, and the query loss after the steps, averaged over the tasks."""
    with torch.no_grad():
        start = spread(theta, rule, tasks)
        *_, phi = unroll(start, (support, query), rule, log_rates, steps)
        moved = {
            name: p - phi[name].mean(0) if rule.adapts(name) else torch.zeros_like(p)
            for name, p in theta.items()
        }
        return moved, query(phi).mean()
