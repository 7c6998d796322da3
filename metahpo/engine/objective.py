"""Objective: the outer gradients of a batch of tasks, which the outer loop follows.

How they are formed is the order of the inner rule: through the inner steps, all of them or as if
their gradients were constant (here); by the implicit function theorem (:mod:`.implicit`); or, for
Reptile, without any query gradient (:mod:`.displacement`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from metahpo.engine.compiled import Compiled
from metahpo.engine.displacement import displacement
from metahpo.engine.episodes import Episodes
from metahpo.engine.implicit import implicit_gradient
from metahpo.engine.inner import spread, unroll
from metahpo.engine.portions import Portions
from metahpo.engine.rule import InnerRule, Loss, Params
from metahpo.engine.steps import StepCount

Losses = Callable[[Episodes], tuple[Loss, Loss]]
"""A batch of tasks to its support loss and its query loss."""
Outer = Literal["query", "displacement"]


@dataclass(frozen=True)
class Objective:
    """Outer gradients of (theta, rates, step count) on a batch of tasks.

    Parameters
    ----------
    losses : callable
        Episodes to (support loss, query loss), both functions of parameters with a leading task
        dimension.
    rule : InnerRule
    steps : int or StepCount
    outer : {"query", "displacement"}, default="query"
        Whether to follow the gradient of the query loss, or the way that adaptation goes.
    compile : bool, default=False
        Whether to trace the inner and outer backward passes into one graph and compile it.
    mixed_precision : bool, default=False
        Whether to compute in bfloat16 where that is safe; on CUDA alone.
    parts : int or None, default=1
        Parts that a batch of tasks is cut into, computed one after the other; None is one on a
        GPU, and on a processor as many as keep a part's tensors in its cache.

    Raises
    ------
    ValueError
        If the step count is learned where no gradient passes through the steps.
    """

    losses: Losses
    rule: InnerRule
    steps: int | StepCount
    outer: Outer = "query"
    compile: bool = False
    mixed_precision: bool = False
    parts: int | None = 1

    def __post_init__(self) -> None:
        through = self.outer == "query" and self.rule.order != "implicit"
        if isinstance(self.steps, StepCount) and not through:
            raise ValueError(
                "a learned step count needs the query loss after every step: "
                "outer 'query' and order 'second' or 'first'"
            )

    def __call__(
        self, parameters: Params, episodes: Episodes, progress: float
    ) -> tuple[Params, Tensor]:
        """Return the gradients and the query loss, averaged over the tasks.

        Parameters
        ----------
        parameters : dict of str to Tensor
            "theta.…", "rate.…" and, for a learned step count, "steps.logits".
        episodes : Episodes
        progress : float
            Share of training that is over, in [0, 1].
        """
        parts = self._portions(parameters, episodes) if self.parts is None else self.parts
        if parts == 1:
            return self._at_once(parameters, episodes, progress)
        gradients: Params = {}
        losses = []
        for some in episodes.split(parts):
            share = len(some) / len(episodes)
            found, loss = self._at_once(parameters, some, progress)
            losses.append(share * loss)
            for name, gradient in found.items():
                so_far = gradients.get(name)
                gradients[name] = (
                    share * gradient if so_far is None else so_far.add_(gradient, alpha=share)
                )
        return gradients, torch.stack(losses).sum()

    def _at_once(
        self, parameters: Params, episodes: Episodes, progress: float
    ) -> tuple[Params, Tensor]:
        device = episodes.query_x.device
        mixed = self.mixed_precision and device.type == "cuda"
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            if isinstance(self.steps, StepCount):
                return self._with_step_count(self.steps, parameters, episodes, progress)
            one = torch.ones(1, device=device)
            gradients, losses = self._weighted(parameters, episodes, self.steps, one)
            return gradients, losses[-1]

    def _with_step_count(
        self, count: StepCount, parameters: Params, episodes: Episodes, progress: float
    ) -> tuple[Params, Tensor]:
        logits = parameters["steps.logits"]
        p = torch.softmax(logits.detach(), 0)
        horizon = count.horizon(logits)
        weights = p[: horizon + 1]
        gradients, losses = self._weighted(parameters, episodes, horizon, weights / weights.sum())
        sound = count.sound(losses)
        if sound < len(losses):  # what exploded must not touch the gradients: leave it out
            weights = p[:sound]
            gradients, _ = self._weighted(parameters, episodes, sound - 1, weights / weights.sum())
        gradients["steps.logits"] = count.logit_gradient(losses, logits, progress)
        return gradients, (weights * losses[: len(weights)]).sum() / weights.sum()

    @cached_property
    def _portions(self) -> Portions:
        counts = self.steps.maximum + 1 if isinstance(self.steps, StepCount) else 1
        most = self.steps.maximum if isinstance(self.steps, StepCount) else self.steps
        weights = torch.ones(counts)
        return Portions(lambda parameters, one: self._gradients(parameters, one, most, weights))

    @cached_property
    def _weighted(self) -> Callable[[Params, Episodes, int, Tensor], tuple[Params, Tensor]]:
        return Compiled(self._gradients) if self.compile else self._gradients

    def _gradients(
        self, parameters: Params, episodes: Episodes, steps: int, weights: Tensor
    ) -> tuple[Params, Tensor]:
        """Return the gradients of the weighted losses after the last len(weights) counts."""
        theta, log_rates = part(parameters, "theta"), part(parameters, "rate")
        if not self.rule.learned:
            log_rates = {name: log.detach() for name, log in log_rates.items()}
        support, query = self.losses(episodes)
        tasks = len(episodes)
        if self.outer == "displacement" or self.rule.order == "implicit":
            form = displacement if self.outer == "displacement" else implicit_gradient
            found, loss = form(theta, log_rates, support, query, self.rule, steps, tasks)
            return {f"theta.{name}": g for name, g in found.items()}, loss[None]
        path = list(unroll(spread(theta, self.rule, tasks), support, self.rule, log_rates, steps))
        losses = torch.stack([query(phi).mean() for phi in path[-len(weights) :]])
        wanted = {
            name: p
            for name, p in parameters.items()
            if name.startswith("theta.") or (self.rule.learned and name.startswith("rate."))
        }
        # rates of steps that were not unrolled have no part in the losses: their gradient is 0
        found_all = torch.autograd.grad(
            (weights * losses).sum(), list(wanted.values()), materialize_grads=True
        )
        return dict(zip(wanted, found_all, strict=True)), losses.detach()


def part(parameters: Params, prefix: str) -> Params:
    """Return the parameters of one kind, "theta" or "rate", without the prefix."""
    return {
        name.removeprefix(f"{prefix}."): p
        for name, p in parameters.items()
        if name.startswith(f"{prefix}.")
    }
