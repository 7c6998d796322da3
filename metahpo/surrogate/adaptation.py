"""Adaptation: a study's own kernel, scales and noise, by inner steps on its trials' evidence.

The engine's two loops, on tasks that the rest of the surrogate was not trained on. A support set
is a study's trials, and its loss their negative log evidence; a query set is other configurations
of the same task, and its loss their negative log predictive density. The outer loop learns where
the hypotheses start, how fast an inner step moves each, and how many steps are worth their price.

Notation
--------
======= =========== ===========================================================================
name    shape       meaning
======= =========== ===========================================================================
theta               hypotheses of transfer, as a study starts with them, see :mod:`.hypotheses`
d, T, R             encoded columns, training tasks, columns of the covariance's root
x       (B, n, ·)   an example: its X (d), mean (T), root (R) and its task's log relevance (T)
======= =========== ===========================================================================
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metahpo.engine import (
    Episodes,
    InnerRule,
    Loss,
    Objective,
    OuterOptions,
    Params,
    StepCount,
    pad,
    part,
    spread,
    train,
    unroll,
)
from metahpo.surrogate.belief import Posterior, condition
from metahpo.surrogate.hypotheses import (
    Hypotheses,
    Told,
    View,
    Weighed,
    initial_hypotheses,
    weigh,
)
from metahpo.surrogate.null import NullFactors, weigh_null
from metahpo.surrogate.scale import ScalePrior
from metahpo.surrogate.scores import told

Array = NDArray[np.float64]

STRAY = 0.02
"""Probability that a score is like nothing foretold: it keeps one task from ruling them all."""

RULE = InnerRule(rate=0.3, rates="tensor", learned=True, order="second", clip=1.0)
COUNT = StepCount(maximum=3, price=0.002, entropy=0.1)
_OUTER = OuterOptions(
    iterations=120,
    tasks=8,
    learning_rate=0.03,
    rate_learning_rate=0.05,
    logit_learning_rate=0.03,
)
_VALIDATION = 64  # episodes on which the number of steps is fixed
_TRIALS = (1, 30)  # the least and the most trials of a study in training
_QUERIES = 30
_PROMISING = 20  # configurations among which a study begins, or one in twenty
_GOOD = 4.0  # how much likelier the best configuration is tried than the worst, as a logarithm
_STRAY_WIDTH = 8.0  # of such a score's density, in standard deviations of the task's scores
_FAR = 3.0  # how far the logarithms may move from where they start
_LEAST_ROWS = 7  # of a task in training: enough to tell some from others
_LEAST_TASKS = 4
_MOST_SKIPPED = 0.1  # share of the outer steps


Losses = Callable[[Episodes], tuple[Loss, Loss]]


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Where a study's hypotheses of transfer start, and how its trials move them.

    Attributes
    ----------
    theta : dict of Tensor
        See :mod:`metahpo.surrogate.hypotheses`, without the dimension of the studies.
    log_rates : dict of Tensor
    steps : int
    """

    theta: Hypotheses
    log_rates: Params
    steps: int

    @classmethod
    def unlearned(cls, d: int) -> Adaptation:
        """Return what there is before any task has taught it: no steps."""
        theta = initial_hypotheses(d)
        return cls(theta, RULE.initial_log_rates(theta, 1), steps=0)

    def hypotheses(self, told: Told, null: Weighed) -> Hypotheses:
        """Adapt to studies' trials.

        Parameters
        ----------
        told : Told
        null : Weighed
            The same trials by the null hypotheses: what these explain, nothing is adapted to.

        Returns
        -------
        dict of Tensor
            With the leading dimension of the studies.
        """
        start = spread(self.theta, RULE, len(told.y))
        if not self.steps:
            return start
        with torch.no_grad():
            *_, end = unroll(start, surprise(told, null), RULE, self.log_rates, self.steps)
        return {
            name: torch.where(
                value.isfinite(), value.clamp(start[name] - _FAR, start[name] + _FAR), start[name]
            )
            for name, value in end.items()
        }

    def posterior(self, told: Told, factors: NullFactors | None = None) -> Posterior:
        """Adapt to studies' trials, and condition on them.

        Parameters
        ----------
        told : Told
        factors : NullFactors, optional
            Of this one study, which is looked at time and again.
        """
        null = weigh_null(told, None if factors is None else factors.at(told.at.X))
        return condition(told, weigh(self.hypotheses(told, null), told), null)

    def to(self, device: torch.device | str) -> Adaptation:
        """Move to a device."""
        theta, log_rates = (
            {name: value.to(device) for name, value in values.items()}
            for values in (self.theta, self.log_rates)
        )
        return Adaptation(theta, log_rates, self.steps)

    def on_columns(self, known: Mapping[str, slice], columns: Mapping[str, slice]) -> Adaptation:
        """Return the adaptation for another code of configurations.

        Parameters
        ----------
        known, columns : mapping of str to slice
            The columns of each parameter, in the code that was learned on and in the other.
            A parameter that is not known takes the mean length scales of those that are.
        """
        if known == columns:
            return self
        d = max((where.stop for where in columns.values()), default=0)
        learned = self.theta["length"]
        if not learned.shape[1]:
            return replace(self, theta=initial_hypotheses(d))
        length = learned.mean(1, keepdim=True).repeat(1, d)
        for name, where in columns.items():
            mine = known.get(name, slice(0, 0))
            if mine.stop - mine.start == where.stop - where.start:
                length[:, where] = learned[:, mine]
        return replace(self, theta={**self.theta, "length": length})

    def tensors(self) -> dict[str, Array]:
        """Return all of it as arrays, by name."""
        named = {f"adaptation.theta.{name}": value for name, value in self.theta.items()}
        named |= {f"adaptation.rate.{name}": value for name, value in self.log_rates.items()}
        named["adaptation.steps"] = torch.tensor(float(self.steps))
        return {name: value.detach().cpu().numpy() for name, value in named.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Adaptation:
        """Read what :meth:`tensors` returned."""
        named = {
            name.removeprefix("adaptation."): torch.as_tensor(value, dtype=torch.float64)
            for name, value in tensors.items()
            if name.startswith("adaptation.")
        }
        theta = part(named, "theta")
        # models stored earlier hold null hypotheses, too, behind those of transfer
        theta = {name: value[: len(theta["deep"])] for name, value in theta.items()}
        return cls(theta, part(named, "rate"), int(named["steps"]))


def surprise(told: Told, null: Weighed) -> Loss:
    """Return the support loss: the trials' negative log evidence, a trial: (B,)."""

    def loss(hypotheses: Params) -> Tensor:
        log = torch.logaddexp(weigh(hypotheses, told).log_evidence, null.log_evidence)
        return -log / told.there.sum(1)

    return loss


# ---------------------------------------------------------------------- learning it


@dataclass(frozen=True, eq=False)
class HeldOutTask:
    """A task that the features and the task weights were not trained on.

    Attributes
    ----------
    view : View, of (1, N) configurations
    y : ndarray, shape (N,)
        Their scores, higher is better, none missing.
    log_relevance : ndarray, shape (T,)
    utility : ndarray, shape (N,)
        How promising each looks before any trial.
    """

    view: View
    y: Array
    log_relevance: Array
    utility: Array


def learn_adaptation(
    tasks: Sequence[HeldOutTask], scale: ScalePrior, *, device: str, seed: int
) -> Adaptation | None:
    """Meta-learn the start, the rates and the number of steps; None from too few tasks.

    Parameters
    ----------
    tasks : sequence of HeldOutTask
    scale : ScalePrior
    device : str
    seed : int
    """
    studies = _Studies(tasks)
    if len(studies) < _LEAST_TASKS:
        return None
    theta = initial_hypotheses(studies.d)
    start = {f"theta.{name}": value for name, value in theta.items()}
    rates = RULE.initial_log_rates(theta, COUNT.maximum)
    start |= {f"rate.{name}": value for name, value in rates.items()}
    start["steps.logits"] = torch.zeros(COUNT.maximum + 1, dtype=torch.float64)
    start = {name: value.to(device) for name, value in start.items()}

    def losses(episodes: Episodes) -> tuple[Loss, Loss]:
        return studies.losses(episodes, scale)

    done = train(
        start, Objective(losses, RULE, COUNT), studies, options=replace(_OUTER, seed=seed)
    )
    if done.skipped > _MOST_SKIPPED * done.iteration:
        warnings.warn(
            f"{done.skipped} of {done.iteration} steps of learning the adaptation were skipped, "
            "since their gradient was not finite; it is hardly learned",
            stacklevel=2,
        )
    theta, rates = part(done.parameters, "theta"), part(done.parameters, "rate")
    steps = _steps(theta, rates, losses, studies, seed)
    return Adaptation(theta, rates, steps).to("cpu")


def _steps(theta: Params, rates: Params, losses: Losses, studies: _Studies, seed: int) -> int:
    """Return how many steps are worth their price, on episodes of their own."""
    generator = torch.Generator().manual_seed(seed + 1)
    device = next(iter(theta.values())).device
    episodes = studies.sample(_VALIDATION, generator).to(device)
    support, query = losses(episodes)
    with torch.no_grad():
        path = unroll(spread(theta, RULE, len(episodes)), support, RULE, rates, COUNT.maximum)
        return COUNT.best(torch.stack([query(phi).mean() for phi in path]))


class _Studies:
    """Studies as they might go on tasks held out: a source of episodes."""

    def __init__(self, tasks: Sequence[HeldOutTask]) -> None:
        # too few to judge by, or nothing to tell apart
        self._tasks = [t for t in tasks if len(t.y) >= _LEAST_ROWS and np.ptp(t.y) > 0]
        self._x = [_columns(task) for task in self._tasks]
        if self._tasks:
            view = self._tasks[0].view
            self.d, self._T = view.X.shape[-1], view.mean.shape[-1]

    def __len__(self) -> int:
        return len(self._tasks)

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw studies of different lengths, each with configurations to foretell."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        supports, queries = [], []
        for index in rng.integers(len(self._tasks), size=tasks):
            task, x = self._tasks[index], self._x[index]
            n = int(rng.integers(_TRIALS[0], min(_TRIALS[1], len(task.y) // 2) + 1))
            order = _as_a_study(task, n, rng)
            y = told(task.y[order[:n]])
            rest = np.maximum(task.y[order[n:]], y.min())  # what is junk here is junk there too
            supports.append((x[order[:n]], torch.from_numpy(y)))
            queries.append((x[order[n:]], torch.from_numpy(rest)))
        return pad(supports, queries)

    def losses(self, episodes: Episodes, scale: ScalePrior) -> tuple[Loss, Loss]:
        """Return the support and the query loss of a batch of studies."""
        assert episodes.support_mask is not None
        assert episodes.query_mask is not None
        at, log_relevance = self._view(episodes.support_x)
        y, there = episodes.support_y, episodes.support_mask
        grids = [scale.grid(row[mask].cpu().numpy()) for row, mask in zip(y, there, strict=True)]
        scales, log_scales = (
            torch.from_numpy(np.stack(values)).to(y) for values in zip(*grids, strict=True)
        )
        trials = Told(at, y, there, log_relevance[:, 0], scales, log_scales)
        null = weigh_null(trials)
        new, _ = self._view(episodes.query_x)
        asked = (new, episodes.query_y, episodes.query_mask)
        return surprise(trials, null), _missed(trials, null, *asked)

    def _view(self, x: Tensor) -> tuple[View, Tensor]:
        X, mean, root, relevance = x.tensor_split(
            [self.d, self.d + self._T, x.shape[-1] - self._T], dim=-1
        )
        return View(X, mean, root), relevance


def _columns(task: HeldOutTask) -> Tensor:
    view = task.view
    relevance = torch.from_numpy(task.log_relevance).expand(len(task.y), -1)
    return torch.cat([view.X[0], view.mean[0], view.root[0], relevance], dim=1)


def _as_a_study(task: HeldOutTask, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return n trials as a study might try them, then what it is to foretell.

    Some of the most promising first, then mostly good ones: that is where studies go.
    """
    N = len(task.y)
    rank = np.argsort(np.argsort(task.y)) / N
    promising = np.argsort(np.argsort(-task.utility)) < max(_PROMISING, N // 20)
    chosen: list[int] = []

    def draw(count: int, liking: NDArray[np.floating]) -> None:
        keys = rng.gumbel(size=N) + liking
        keys[chosen] = -np.inf
        chosen.extend(np.argsort(-keys)[: min(count, N - len(chosen))].tolist())

    draw(min(n, 2), 1e3 * promising)
    draw(max(n - 2, 0) // 2, _GOOD * rank)
    draw(n - len(chosen), np.zeros(N))
    draw(_QUERIES, _GOOD * rank * rng.integers(2))  # of every second study, good ones alone
    return np.array(chosen)


def _missed(trials: Told, null: Weighed, new: View, y: Tensor, there: Tensor) -> Loss:
    """Return the query loss: the negative log predictive density of scores, in units of z."""
    known = torch.cat([trials.there, there], dim=1).to(y.dtype)
    values = torch.cat([trials.y, y], dim=1)
    mean = (values * known).sum(1, keepdim=True) / known.sum(1, keepdim=True)
    square = ((values - mean).square() * known).sum(1) / known.sum(1)
    unit = square.sqrt().clamp(min=1e-12)[:, None]
    stray = math.log(STRAY / _STRAY_WIDTH)
    with torch.no_grad():  # nothing of it is learned
        unlike = condition(trials, null).log_density(new, y) + null.log_evidence[:, None]

    def loss(hypotheses: Params) -> Tensor:
        transfer = weigh(hypotheses, trials)
        like = condition(trials, transfer).log_density(new, y) + transfer.log_evidence[:, None]
        evidence = torch.logaddexp(transfer.log_evidence, null.log_evidence)[:, None]
        density = torch.logaddexp(like, unlike) - evidence + unit.log()
        density = torch.logaddexp(density + math.log1p(-STRAY), torch.full_like(density, stray))
        masked = torch.where(there, density, torch.zeros_like(density))
        return -masked.sum(1) / there.sum(1)

    return loss
