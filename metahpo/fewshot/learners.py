"""MetaLearner: a network, a method, and what it learned over many tasks.

Any torch module will do, and any object that hands out tasks::

    rule = InnerRule(rate=0.01, rates="tensor_step", learned=True)
    learner = MetaLearner(module, Method(rule, StepCount(maximum=6, price=0.01)))
    learner.fit(tasks)                                  # initialisation, rates and step count
    learner.steps_, learner.rates
    adapted = learner.adapt(support_x, support_y)       # (B, S, …): any number of tasks at once
    adapted.predict(query_x)                            # (B, Q, outputs)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from metahpo.engine import (
    Episodes,
    InnerRule,
    Loss,
    Objective,
    OuterOptions,
    Params,
    Progress,
    StepCount,
    TaskSource,
    Training,
    part,
    spread,
    task_mean,
    train,
    unroll,
)
from metahpo.fewshot.method import HEAD, Method
from metahpo.fewshot.module_net import ModuleNet
from metahpo.fewshot.nets import TaskNet
from metahpo.fewshot.stored import StoredState, read_learner, write_learner

LossName = Literal["mse", "cross_entropy"]
_AT_ONCE = 100  # tasks that are adapted together where no gradient needs them all
_INPUTS_AT_ONCE = 2**18  # numbers: on a processor, what is made of more images leaves its cache
_VALIDATION = 200  # tasks that the step count is fixed on where the user gave none
_VALIDATION_SEED = 2**31


@dataclass(frozen=True)
class Adapted:
    """A batch of tasks that a learner has adapted to."""

    learner: MetaLearner
    params: Params
    """Each (B, …); (1, …) what no task adapts."""
    episodes: Episodes
    """The support sets; the queries in it have no meaning."""

    @torch.no_grad()
    def predict(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict for queries, shape (B, Q, ...): (B, Q, outputs).

        Parameters
        ----------
        x : Tensor
        mask : Tensor of bool, shape (B, Q), optional
            Which queries are there; it matters to batch norm alone.
        """
        y = x.new_zeros(x.shape[:2])  # unknown, and not looked at
        episodes = replace(self.episodes, query_x=x, query_y=y, query_mask=mask)
        return self.learner.predict(self.params, episodes.to(self.learner.device))


class MetaLearner:
    """A network's initialisation, inner rates and step count, learned over many tasks.

    Parameters
    ----------
    net : TaskNet or torch.nn.Module
        A module of one's own starts from the parameters it has.
    method : Method
    loss : {"mse", "cross_entropy"}, default="mse"
        Of predictions (B, n, outputs); targets are (B, n) or (B, n, outputs) numbers, or (B, n)
        class labels.
    transductive : bool, default=False
        With batch norm: whether queries are normalised by each other's statistics (as MAML's
        authors evaluate) or by the support's alone.
    device : str, default="auto"
        "auto" is CUDA where there is a GPU.
    seed : int, default=0
        Of the initialisation.

    Attributes
    ----------
    parameters : dict of str to Tensor
        "theta.…", the initialisation; "rate.…", logarithms of the inner rates; "steps.logits".
    steps_ : int
        Steps that :meth:`adapt` takes by default.
    training_ : Training
        How the last :meth:`fit` went.

    Raises
    ------
    ValueError
        If there is no such loss, or a module with batch norm is asked to keep queries apart.
    """

    training_: Training

    def __init__(
        self,
        net: TaskNet | nn.Module,
        method: Method,
        *,
        loss: LossName = "mse",
        transductive: bool = False,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        if loss not in get_args(LossName):
            raise ValueError(f"loss is {loss!r}; choose one of {', '.join(get_args(LossName))}")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net = ModuleNet(net) if isinstance(net, nn.Module) else net
        if isinstance(self.net, ModuleNet) and self.net.uses_batch and not transductive:
            raise ValueError(
                "a module's own batch norm normalises queries by each other: "
                "pass transductive=True, or use group norm"
            )
        self.method, self.loss, self.seed = method, loss, seed
        self.transductive, self.device = transductive, device
        self.rule = _resolved(method.rule, self.net)
        theta = self.net.initial(torch.Generator().manual_seed(seed))
        parameters = {f"theta.{name}": p for name, p in theta.items()}
        log_rates = self.rule.initial_log_rates(theta, method.maximum)
        parameters |= {f"rate.{name}": p for name, p in log_rates.items()}
        if isinstance(method.steps, StepCount):
            parameters["steps.logits"] = torch.zeros(method.steps.maximum + 1)
        self.parameters: Params = {name: p.to(device) for name, p in parameters.items()}
        self.steps_ = method.maximum

    @property
    def rates(self) -> Params:
        """The inner learning rates."""
        return {name: p.exp() for name, p in part(self.parameters, "rate").items()}

    def fit(
        self,
        tasks: TaskSource,
        *,
        validation: Episodes | None = None,
        options: OuterOptions | None = None,
        checkpoint: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> MetaLearner:
        """Meta-train, from where the learner stands.

        Parameters
        ----------
        tasks : TaskSource
        validation : Episodes, optional
            Tasks to keep the best parameters by, to stop early by and to fix the step count on;
            without, the last parameters are kept and the count is fixed on tasks from `tasks`.
        options : OuterOptions, optional
        checkpoint : Path, optional
            File that a killed training goes on from, bit for bit.
        progress : callable, optional
            Called with a Progress after every iteration.

        Returns
        -------
        MetaLearner
            Itself.
        """
        options = options or OuterOptions()
        count = self.method.steps
        chance = torch.Generator().manual_seed(_VALIDATION_SEED + options.seed)
        example = tasks.sample(1, chance).support_x.to(self.device)
        self.net.settle(part(self.parameters, "theta"), example)
        self.training_ = train(
            self.parameters,
            Objective(
                self.task_losses,
                self.rule,
                count,
                self.method.outer,
                compile=options.compile,
                mixed_precision=options.mixed_precision,
                parts=options.accumulate,
            ),
            tasks,
            options=options,
            validate=None if validation is None else partial(self._validate, validation),
            checkpoint=None if checkpoint is None else StoredState(checkpoint, self.device),
            progress=progress,
        )
        self.parameters = self.training_.parameters
        if isinstance(count, StepCount):
            chosen_on = validation or tasks.sample(_VALIDATION, chance)
            self.steps_ = count.best(self._mean_losses(self.parameters, chosen_on))
        return self

    @torch.no_grad()
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
        *_, phi = self._adaptation(self.parameters, episodes, steps)
        return Adapted(self, phi, episodes)

    @torch.no_grad()
    def path(self, episodes: Episodes, steps: int | None = None) -> Tensor:
        """Predict the queries after 0 … steps steps: (steps + 1, B, Q, outputs)."""
        return torch.cat(
            [
                torch.stack(
                    [
                        self.predict(phi, batch)
                        for phi in self._adaptation(self.parameters, batch, steps)
                    ]
                )
                for batch in self._batches(episodes)
            ],
            dim=1,
        )

    @torch.no_grad()
    def losses(self, episodes: Episodes, steps: int | None = None) -> Tensor:
        """Return the tasks' query losses after 0 … steps steps: (steps + 1, B)."""
        return self._losses(self.parameters, episodes, steps)

    def save(self, folder: Path | str) -> None:
        """Write the learner to a folder, as JSON and safetensors.

        Raises
        ------
        OSError
            Naming the file that cannot be written.
        """
        write_learner(self, Path(folder))

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        net: TaskNet | nn.Module | None = None,
        device: str = "auto",
    ) -> MetaLearner:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        folder : Path or str
        net : TaskNet or torch.nn.Module, optional
            A net of one's own is code, which is not stored: hand it over again.
        device : str, default="auto"

        Raises
        ------
        ValueError
            If the folder is damaged or of something else, or the net is missing or another.
        """
        return read_learner(cls, Path(folder), net, device)

    def predict(self, phi: Params, episodes: Episodes) -> Tensor:
        """Predict the queries with given parameters: (B, Q, outputs)."""
        return self.net.read_out(phi, self._embedded_queries(phi, episodes))

    def task_losses(self, episodes: Episodes) -> tuple[Loss, Loss]:
        """Return the support and the query loss of a batch of tasks, for the engine."""
        embed = _once if self._adapts_head_alone else _always
        embedded_support = embed(
            lambda phi: self.net.embed(phi, episodes.support_x, episodes.support_mask)
        )
        embedded_queries = embed(lambda phi: self._embedded_queries(phi, episodes))

        def support(phi: Params) -> Tensor:
            prediction = self.net.read_out(phi, embedded_support(phi))
            loss = self._example_losses(prediction, episodes.support_y)
            return task_mean(loss, episodes.support_mask)

        def query(phi: Params) -> Tensor:
            prediction = self.net.read_out(phi, embedded_queries(phi))
            loss = self._example_losses(prediction, episodes.query_y)
            return task_mean(loss, episodes.query_mask)

        return support, query

    @property
    def _adapts_head_alone(self) -> bool:
        return self.method.rule.order != "implicit" and self.rule.adapted == self.net.head

    def _embedded_queries(self, phi: Params, episodes: Episodes) -> Tensor:
        """Embed the queries; unless transductive, batch norm sees the support alone."""
        support_x, x = episodes.support_x, episodes.query_x
        if not self.net.uses_batch or self.transductive:
            return self.net.embed(phi, x, episodes.query_mask)
        shots = support_x.shape[1]
        seen = torch.zeros(len(x), shots + x.shape[1], dtype=torch.bool, device=x.device)
        seen[:, :shots] = True if episodes.support_mask is None else episodes.support_mask
        return self.net.embed(phi, torch.cat([support_x, x], 1), seen)[:, shots:]

    def _example_losses(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return one loss an example: (B, n)."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(prediction.movedim(-1, 1), y, reduction="none")
        target = y.reshape(*y.shape[:2], -1)
        if target.shape != prediction.shape:
            raise ValueError(
                f"targets have shape {tuple(y.shape)} and predictions {tuple(prediction.shape)}"
            )
        return (prediction - target).square().mean(-1)

    @torch.no_grad()
    def _adaptation(
        self, parameters: Params, episodes: Episodes, steps: int | None
    ) -> Iterator[Params]:
        theta = part(parameters, "theta")
        self.net.settle(theta, episodes.support_x)
        support, _ = self.task_losses(episodes)
        start = spread(theta, self.rule, len(episodes))
        steps = self.steps_ if steps is None else steps
        yield from unroll(start, support, self.rule, part(parameters, "rate"), steps)

    @torch.no_grad()
    def _losses(self, parameters: Params, episodes: Episodes, steps: int | None) -> Tensor:
        columns = []
        for batch in self._batches(episodes):
            _, query = self.task_losses(batch)
            path = self._adaptation(parameters, batch, steps)
            columns.append(torch.stack([query(phi) for phi in path]))
        return torch.cat(columns, dim=1)

    def _validate(self, episodes: Episodes, parameters: Params) -> float:
        losses, count = self._mean_losses(parameters, episodes), self.method.steps
        return count.least(losses) if isinstance(count, StepCount) else float(losses[-1])

    def _mean_losses(self, parameters: Params, episodes: Episodes) -> Tensor:
        return self._losses(parameters, episodes, self.method.maximum).mean(1)

    def _batches(self, episodes: Episodes) -> Iterator[Episodes]:
        tasks = _AT_ONCE
        if torch.device(self.device).type == "cpu":
            inputs = (episodes.support_x.numel() + episodes.query_x.numel()) // len(episodes)
            tasks = max(1, min(tasks, _INPUTS_AT_ONCE // max(1, inputs)))
        for batch in episodes.split(ceil(len(episodes) / tasks)):
            yield batch.to(self.device)


def _resolved(rule: InnerRule, net: TaskNet) -> InnerRule:
    """Put the net's own names in place of HEAD."""
    names = [n for name in rule.adapted for n in (net.head if name == HEAD else (name,))]
    return replace(rule, adapted=tuple(names))


def _always(function: Callable[[Params], Tensor]) -> Callable[[Params], Tensor]:
    return function


def _once(function: Callable[[Params], Tensor]) -> Callable[[Params], Tensor]:
    """Keep the first value: what does not adapt is the same after every step."""
    kept: list[Tensor] = []

    def call(phi: Params) -> Tensor:
        if not kept:
            kept.append(function(phi))
        return kept[0]

    return call
