"""MAML-style learners: settings of one inner and one outer loop.

A :class:`Method` is data; ``METHODS`` names the published ones::

    learner = MetaLearner(MLP(1, 1), METHODS["meta_sgd"], loss="mse").fit(tasks)
    adapted = learner.adapt(support_x, support_y)       # (B, S, …): any number of tasks at once
    adapted.predict(query_x)                            # (B, Q, outputs)

References
----------
MAML, FOMAML: Finn et al., ICML 2017. Meta-SGD: Li et al., 2017. ANIL: Raghu et al., ICLR 2020.
MAML++: Antoniou et al., ICLR 2019. Reptile: Nichol et al., 2018. iMAML: Rajeswaran et al., 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from metahpo.engine import (
    Episodes,
    InnerRule,
    Loss,
    Objective,
    Outer,
    OuterOptions,
    Params,
    Progress,
    StepCount,
    TaskSource,
    part,
    spread,
    task_mean,
    train,
    unroll,
)
from metahpo.fewshot.nets import TaskNet

LossName = Literal["mse", "cross_entropy"]


@dataclass(frozen=True)
class Method:
    """What tells one learner from another.

    Parameters
    ----------
    rule : InnerRule
    steps : int or StepCount, default=1
        Inner steps in training: a number, or how it is learned.
    outer : {"query", "displacement"}, default="query"
        What the outer loop follows: the gradient of the query loss, or, without any, how far
        adaptation to support and query together moves the parameters (Reptile).
    """

    rule: InnerRule = field(default_factory=InnerRule)
    steps: int | StepCount = 1
    outer: Outer = "query"

    @property
    def maximum(self) -> int:
        """Most inner steps in training."""
        return self.steps.maximum if isinstance(self.steps, StepCount) else self.steps


METHODS: Mapping[str, Method] = {
    "maml": Method(InnerRule(rate=0.01)),
    "fomaml": Method(InnerRule(rate=0.01, order="first")),
    "anil": Method(InnerRule(rate=0.01, adapted=("head.*",))),
    "meta_sgd": Method(InnerRule(rate=0.01, rates="parameter", learned=True)),
    "maml++": Method(InnerRule(rate=0.01, rates="tensor_step", learned=True), steps=5),
    "reptile": Method(InnerRule(rate=0.02, order="first"), steps=5, outer="displacement"),
    "imaml": Method(InnerRule(rate=0.01, order="implicit", proximal=0.5), steps=16),
}


@dataclass(frozen=True)
class Adapted:
    """A batch of tasks that a learner has adapted to."""

    learner: MetaLearner
    params: Params
    """Each (B, …); (1, …) what no task adapts."""
    support_x: Tensor
    support_mask: Tensor | None

    def predict(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict for queries, shape (B, Q, ...): (B, Q, outputs)."""
        with torch.no_grad():
            x = x.to(self.support_x)
            return self.learner.predict(self.params, self.support_x, self.support_mask, x, mask)


class MetaLearner:
    """A network's initialisation, inner rates and step count, learned over many tasks.

    Parameters
    ----------
    net : TaskNet
    method : Method
    loss : {"mse", "cross_entropy"}
    transductive : bool, default=False
        With batch norm: whether queries are normalised by each other's statistics (as the MAML
        papers evaluate) or by the support's alone.
    device : str, default="auto"
    seed : int, default=0
        Of the initialisation.

    Attributes
    ----------
    steps_ : int
        Steps that :meth:`adapt` takes by default.
    training_ : Training
    """

    def __init__(
        self,
        net: TaskNet,
        method: Method,
        *,
        loss: LossName = "mse",
        transductive: bool = False,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net, self.method, self.loss = net, method, loss
        self.transductive, self.device = transductive, device
        theta = net.initial(torch.Generator().manual_seed(seed))
        self.parameters: Params = {f"theta.{name}": p for name, p in theta.items()}
        log_rates = method.rule.initial_log_rates(theta, method.maximum)
        self.parameters |= {f"rate.{name}": p for name, p in log_rates.items()}
        if isinstance(method.steps, StepCount):
            self.parameters["steps.logits"] = torch.zeros(method.steps.maximum + 1)
        self.parameters = {name: p.to(device) for name, p in self.parameters.items()}
        self.steps_ = method.maximum

    def fit(
        self,
        tasks: TaskSource,
        *,
        validation: Episodes | None = None,
        options: OuterOptions | None = None,
        checkpoint: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> MetaLearner:
        """Meta-train."""
        options = options or OuterOptions()
        method = self.method
        objective = Objective(
            self._losses,
            method.rule,
            method.steps,
            method.outer,
            compile=options.compile,
            mixed_precision=options.mixed_precision,
        )
        self.training_ = train(
            self.parameters, objective, tasks, options=options, progress=progress
        )
        self.parameters = self.training_.parameters
        return self

    def adapt(
        self, x: Tensor, y: Tensor, *, mask: Tensor | None = None, steps: int | None = None
    ) -> Adapted:
        """Adapt to a batch of tasks.

        Parameters
        ----------
        x, y : Tensor, shape (B, S, ...)
            The support sets.
        mask : Tensor of bool, shape (B, S), optional
        steps : int, optional
            Any number; by default `steps_`. Steps beyond those with rates of their own take the
            last one's.
        """
        episodes = Episodes(x, y, x, y, mask, mask).to(self.device)
        *_, phi = self._adaptation(episodes, steps)
        return Adapted(self, phi, episodes.support_x, episodes.support_mask)

    def path(self, episodes: Episodes, steps: int | None = None) -> Tensor:
        """Predict the queries after 0 … steps steps: (steps + 1, B, Q, outputs)."""
        episodes = episodes.to(self.device)
        with torch.no_grad():
            path = self._adaptation(episodes, steps)
            return torch.stack([self._predict(phi, episodes) for phi in path])

    def losses(self, episodes: Episodes, steps: int | None = None) -> Tensor:
        """Return the tasks' query losses after 0 … steps steps: (steps + 1, B)."""
        episodes = episodes.to(self.device)
        with torch.no_grad():
            _, query = self._losses(episodes)
            return torch.stack([query(phi) for phi in self._adaptation(episodes, steps)])

    def save(self, folder: Path | str) -> None:
        """Write the learner as JSON and safetensors; its net is described, not pickled."""
        raise NotImplementedError

    @classmethod
    def load(
        cls, folder: Path | str, *, net: TaskNet | None = None, device: str = "auto"
    ) -> MetaLearner:
        """Read what :meth:`save` wrote; a net of one's own must be handed over again."""
        raise NotImplementedError

    def predict(
        self,
        phi: Params,
        support_x: Tensor,
        support_mask: Tensor | None,
        x: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Predict with given parameters; batch norm sees the queries only if transductive."""
        if not self.net.uses_batch:
            return self.net.read_out(phi, self.net.embed(phi, x))
        if self.transductive:
            return self.net.read_out(phi, self.net.embed(phi, x, mask))
        shots = support_x.shape[1]
        seen = torch.zeros(x.shape[0], shots + x.shape[1], dtype=torch.bool, device=x.device)
        seen[:, :shots] = True if support_mask is None else support_mask
        both = self.net.embed(phi, torch.cat([support_x, x], 1), seen)
        return self.net.read_out(phi, both[:, shots:])

    @torch.no_grad()
    def _adaptation(self, episodes: Episodes, steps: int | None) -> Iterator[Params]:
        start = spread(part(self.parameters, "theta"), self.method.rule, len(episodes))
        support, _ = self._losses(episodes)
        log_rates = part(self.parameters, "rate")
        steps = self.steps_ if steps is None else steps
        yield from unroll(start, support, self.method.rule, log_rates, steps)

    def _predict(self, phi: Params, episodes: Episodes) -> Tensor:
        return self.predict(
            phi,
            episodes.support_x,
            episodes.support_mask,
            episodes.query_x,
            episodes.query_mask,
        )

    def _losses(self, episodes: Episodes) -> tuple[Loss, Loss]:
        def support(phi: Params) -> Tensor:
            embedded = self.net.embed(phi, episodes.support_x, episodes.support_mask)
            prediction = self.net.read_out(phi, embedded)
            return task_mean(self._loss(prediction, episodes.support_y), episodes.support_mask)

        def query(phi: Params) -> Tensor:
            prediction = self._predict(phi, episodes)
            return task_mean(self._loss(prediction, episodes.query_y), episodes.query_mask)

        return support, query

    def _loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        if self.loss == "mse":
            return (prediction - y).square().mean(-1)
        return F.cross_entropy(prediction.movedim(-1, 1), y, reduction="none")
