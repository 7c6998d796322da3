"""Meta-features of a family of few-shot tasks: what a tuner knows of it before its first trial.

Besides the sizes: how a fixed net stands on the family's tasks at initialisation, and after a
single gradient step. Losses and gradients are put in logarithms and shares, so that two families
whose targets differ by a factor alone have most features in common.

Notation
--------
===== ======= ==================================================================================
name  shape   meaning
===== ======= ==================================================================================
L     (B,)    the tasks' losses at initialisation
g     (B, P)  their gradients
===== ======= ==================================================================================
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor

from metahpo.engine import Episodes, InnerRule
from metahpo.fewshot.baselines import loss_of
from metahpo.fewshot.learners import MetaLearner
from metahpo.fewshot.method import Method
from metahpo.fewshot.taskfile import FewShotPlan

_TASKS = 100
_SEED = 4_000_037
_WIDTH = 40
_RATES = (0.01, 0.1)  # of the single steps that are tried
_LEAST = 1e-12


def describe_family(plan: FewShotPlan) -> dict[str, float]:
    """Compute a family's meta-features.

    Parameters
    ----------
    plan : FewShotPlan
        Its source, and the shots and queries of its training; a net of the same kind, 40 wide, is
        used whatever the plan's width.

    Returns
    -------
    dict of str to float
        ``shots``, ``ways`` (0 in regression), ``inputs`` and ``examples`` (of a support set);
        ``loss_log_mean`` and ``loss_log_sd``, of the tasks' logarithmic losses at initialisation;
        ``gradient_log_mean`` and ``gradient_log_sd``, of the gradients' logarithmic norms;
        ``agreement``, the mean cosine between two tasks' gradients; ``step_0.01`` and
        ``step_0.1``, the logarithm of what one step of that rate leaves of the query loss;
        ``target_sd_log`` and ``target_share``, how far targets spread (in regression) and which
        share of that lies between the tasks.
    """
    source, training = plan.source, plan.training
    tasks = source.tasks("train", shots=training.shots, queries=training.queries)
    episodes = tasks.sample(_TASKS, Generator().manual_seed(_SEED))
    return {
        "shots": float(training.shots),
        "ways": float(source.classes or 0),
        "inputs": float(math.prod(source.shape)),
        "examples": float(episodes.support_y.shape[1]),
        **_at_initialisation(plan, episodes),
        **_targets(episodes, regression=source.classes is None),
    }


def _at_initialisation(plan: FewShotPlan, episodes: Episodes) -> dict[str, float]:
    unit = _untrained(plan, 1.0)
    x, y = episodes.support_x, episodes.support_y
    losses = unit.losses(Episodes(x, y, x, y), 0)[0]
    start, moved = unit.adapt(x, y, steps=0).params, unit.adapt(x, y, steps=1).params
    # a step of rate 1 is the gradient itself
    gradients = torch.cat([(start[name] - moved[name]).flatten(1) for name in moved], 1)
    norms = gradients.norm(dim=1)
    directions = gradients / norms.clamp(min=_LEAST)[:, None]
    count = len(directions)
    cosines = directions.sum(0).square().sum() - directions.square().sum()
    return {
        "loss_log_mean": _logs(losses).mean().item(),
        "loss_log_sd": _logs(losses).std().item(),
        "gradient_log_mean": _logs(norms).mean().item(),
        "gradient_log_sd": _logs(norms).std().item(),
        "agreement": cosines.item() / (count * (count - 1)),
        **{f"step_{rate:g}": _left(plan, episodes, rate) for rate in _RATES},
    }


def _left(plan: FewShotPlan, episodes: Episodes, rate: float) -> float:
    """Return the logarithm of the share of the query loss that one step leaves."""
    before, after = _untrained(plan, rate).losses(episodes, 1).mean(1)
    return (_logs(after) - _logs(before)).item()


def _targets(episodes: Episodes, *, regression: bool) -> dict[str, float]:
    if not regression:
        return {"target_sd_log": math.nan, "target_share": math.nan}
    y = episodes.query_y.flatten(1)
    total = y.var()
    return {
        "target_sd_log": (_logs(total) / 2).item(),
        "target_share": (y.mean(1).var() / total.clamp(min=_LEAST)).item(),
    }


def _untrained(plan: FewShotPlan, rate: float) -> MetaLearner:
    net = replace(plan.net, hidden=(_WIDTH, _WIDTH), filters=_WIDTH).build(plan.source)
    method = Method(InnerRule(rate=rate, order="first"))
    return MetaLearner(net, method, loss=loss_of(plan.source), seed=_SEED)


def _logs(values: Tensor) -> Tensor:
    return values.clamp(min=_LEAST).log()
