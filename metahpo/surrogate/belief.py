"""Belief: what a study's trials leave of the prior, in closed form.

The new task's response is z(x) = w·phi(x) + g(x) + noise, and its raw score y = a + b·z with
unknown a and b > 0. The prior over w is a mixture with one component a training task, mean w_i
and shared covariance tau·C; g is a Gaussian process with a Matérn kernel. Beside it stand null
components that know no earlier task: w = 0. For a given hypothesis on (tau, kernel, noise) all
components share one Cholesky factor; a is integrated out under a flat prior, b and the hypotheses
are summed over, and the mixture is weighted by its evidence. Studies are computed side by side.

Notation
--------
======= =============== =====================================================================
name    shape           meaning
======= =============== =====================================================================
B, n, m                 studies, trials, candidates
T                       training tasks; null components are of number T
H                       hypotheses that are kept: those of transfer, then the null ones
k                       components of the mixture that are kept: (hypothesis, scale, task)
L, o1   see hypotheses  Cholesky factor, kept as its inverse, and L^-1 1 of each hypothesis
======= =============== =====================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metahpo.surrogate.hypotheses import (
    Hypotheses,
    Told,
    View,
    Weighed,
    covariance,
    heaviest,
    rows,
    variance,
)
from metahpo.surrogate.worth import expected_gain, gain

FARTHEST = 30.0
"""Deviate of a score beyond which they are told apart no more."""

_TRUSTED = 2.0  # trials' worth of trust that the training tasks begin with
_HALVINGS = 40
_LEAST_WEIGHT = 1e-300  # of a component: the logarithm of 0 has no gradient
_COPY = 0.3  # probability that the task is a copy of a training task; what is tried in common
_DOUBT = 1.3  # times the deviation that is believed: scores lie farther out, above all late
_COPIES = 32  # training tasks, the likeliest, of which that is thought
_LOST = 1e-3  # probability that hypotheses left out at candidates may have, and components again
_MOST = 128  # components of each kind, of transfer or null, whatever is lost


@dataclass(frozen=True, eq=False)
class Posterior:
    """The belief after n >= 1 trials: the components of the mixture that matter."""

    hypotheses: Hypotheses
    at: View
    best: Tensor  # (B,)
    n: Tensor  # (B,)
    whiten: Tensor  # (B, H, n, n) L^-1
    ones: Tensor  # (B, H, n) o1
    hypothesis: Tensor  # (B, k)
    task: Tensor  # (B, k)
    scale: Tensor  # (B, k) b
    offset: Tensor  # (B, k) a
    weight: Tensor  # (B, k)
    residual: Tensor  # (B, k, n): L^-1 (y - a - b M)
    task_weight: Tensor  # (B, T + 1) of the whole mixture
    there: Tensor  # (B, n) which trials there are
    foretold: Tensor
    """(B,): share of the scores' variation over the trials that the training tasks tell."""

    @property
    def trust(self) -> Tensor:
        """How far the training tasks can be relied on here, in [0, 1]: (B,).

        The posterior probability that one of them is like this task at all, times the share of
        the scores' variation that they foretell; that share counts as one until there are trials
        to judge it by.
        """
        judged = self.n - 1  # the first trial only tells the level
        share = (_TRUSTED + judged * self.foretold) / (_TRUSTED + judged)
        trust: Tensor = (1.0 - self.task_weight[:, -1]).clamp(min=0.0) * share
        return trust

    def leading(self, n: int) -> Posterior:
        """Return the `n` heaviest components of each study's likeliest hypothesis alone.

        A fraction of the work, and enough to tell promising candidates from others.
        """
        mass = torch.zeros_like(self.ones[..., 0]).scatter_add(1, self.hypothesis, self.weight)
        leader = mass.argmax(1, keepdim=True)  # (B, 1)
        weight = self.weight * (self.hypothesis == leader)
        weight, kept = weight.topk(min(n, weight.shape[1]), dim=1)
        return replace(
            self,
            hypotheses={name: rows(value, leader) for name, value in self.hypotheses.items()},
            whiten=rows(self.whiten, leader),
            ones=rows(self.ones, leader),
            hypothesis=torch.zeros_like(kept),
            task=self.task.gather(1, kept),
            scale=self.scale.gather(1, kept),
            offset=self.offset.gather(1, kept),
            weight=weight / weight.sum(1, keepdim=True),
            residual=rows(self.residual, kept),
        )

    def centred(self) -> Posterior:
        """Return the belief about (y - best) / b, with the likeliest b as the unit.

        What improves stays the same, and single precision holds it whatever the scores are.
        """
        unit = self.scale.gather(1, self.weight.argmax(1, keepdim=True))  # (B, 1)
        return replace(
            self,
            best=torch.zeros_like(self.best),
            offset=(self.offset - self.best[:, None]) / unit,
            scale=self.scale / unit,
            residual=self.residual / unit[..., None],
        )

    def to(self, dtype: torch.dtype) -> Posterior:
        """Compute in another precision from here on."""
        at = View(*(value.to(dtype) for value in vars(self.at).values()))
        hypotheses = {name: value.to(dtype) for name, value in self.hypotheses.items()}
        moved = {
            name: value.to(dtype)
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        return replace(self, at=at, hypotheses=hypotheses, **moved)

    def components(self, new: View, *, noisy: bool = False) -> tuple[Tensor, Tensor]:
        """Predict raw scores at candidates, by component.

        Parameters
        ----------
        new : View, of (B, m) candidates
        noisy : bool, default=False
            Whether the noise of an evaluation is part of the deviation.

        Returns
        -------
        mean, sd : Tensor, shape (B, m, k)
        """
        white = self.whiten @ covariance(self.hypotheses, self.at, new)  # (B, H, n, m)
        norm = self.ones.square().sum(-1)[..., None]
        own = variance(self.hypotheses, new) - white.square().sum(-2)
        own = own + (1.0 - (self.ones[..., None] * white).sum(-2)).square() / norm  # (B, H, m)
        if noisy:
            own = own + self.hypotheses["noise"].exp()[..., None]
        sd = own.clamp(min=1e-12).sqrt()
        # one product for all: every component's residuals stand in its own hypothesis' rows
        H, n, m = white.shape[1:]
        mine = torch.nn.functional.one_hot(self.hypothesis, H).to(sd.dtype)  # (B, k, H)
        residuals = (mine[..., None] * self.residual[:, :, None]).flatten(2)  # (B, k, H n)
        learned = residuals @ white.reshape(len(white), H * n, m)  # (B, k, m)
        M = torch.nn.functional.pad(new.mean, (0, 1)).mT  # (B, T + 1, m)
        prior = self.scale[..., None] * rows(M, self.task)
        mean = self.offset[..., None] + prior + learned
        return mean.mT, (self.scale[..., None] * rows(sd, self.hypothesis)).mT

    def predict(self, new: View) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the noise-free score: two of shape (B, m)."""
        means, sds = self.components(new)
        weight = self.weight[:, None]
        mean = (means * weight).sum(-1)
        second = ((means.square() + sds.square()) * weight).sum(-1)
        return mean, (second - mean.square()).clamp(min=0.0).sqrt()

    def log_density(self, new: View, y: Tensor) -> Tensor:
        """Return the log density of noisy scores at configurations: (B, m)."""
        means, sds = self.components(new, noisy=True)
        u = (y[..., None] - means) / sds
        log = -0.5 * u.square() - sds.log() - 0.5 * math.log(2 * math.pi)
        weight = self.weight.clamp(min=_LEAST_WEIGHT).log()
        density: Tensor = (log + weight[:, None]).logsumexp(-1)
        return density

    def deviates(self, new: View, y: Tensor) -> Tensor:
        """Return where noisy scores lie in what is foretold of them, as normal deviates: (B, m).

        The probability of less, brought to the normal scale.
        """
        means, sds = self.components(new, noisy=True)
        u, weight = (y[..., None] - means) / sds, self.weight[:, None]
        # of less and of more: the smaller is the precise one
        less, more = ((_tail(side * u) * weight).sum(-1) for side in (1.0, -1.0))
        ndtri = torch.special.ndtri
        return torch.where(less < more, ndtri(less), -ndtri(more)).clamp(-FARTHEST, FARTHEST)

    def quantiles(self, new: View, deviates: Tensor) -> Tensor:
        """Return the noisy scores that lie at deviates, by bisection.

        Parameters
        ----------
        new : View, of (B, m) candidates
        deviates : Tensor, shape (B, m, K)
            Within ``FARTHEST`` from 0.

        Returns
        -------
        Tensor, shape (B, m, K)
        """
        means, sds = self.components(new, noisy=True)
        weight = self.weight[:, None]

        def bisected(deviate: Tensor) -> Tensor:
            reach = deviate.abs()[..., None] + 1.0
            low, high = (means - reach * sds).amin(-1), (means + reach * sds).amax(-1)
            side, wanted = torch.where(deviate < 0, 1.0, -1.0), _tail(-deviate.abs())
            for _ in range(_HALVINGS):
                middle = 0.5 * (low + high)
                u = (middle[..., None] - means) / sds
                tail = (_tail(side[..., None] * u) * weight).sum(-1)  # of less, or of more
                below = side * (tail - wanted) < 0
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            return 0.5 * (low + high)

        return torch.stack([bisected(deviate) for deviate in deviates.unbind(-1)], dim=-1)

    def expected_improvement(self, new: View, bends: Tensor) -> Tensor:
        """Return the expected improvement on the best so far at candidates: (B, m).

        In worth, see :mod:`metahpo.surrogate.worth`. The task may be a copy of a training task:
        then nothing is left to learn of it, and what improves is what scores better there than
        all that was tried. Else it deviates as the posterior says, and somewhat more.

        Parameters
        ----------
        new : View, of (B, m) candidates
        bends : Tensor, shape (T + 1, 1 + J)
        """
        means, sds = self.components(new)
        offset, scale = self.offset[:, None], self.scale[:, None]
        best = (self.best[:, None] - self.offset) / self.scale
        means, sds = (means - offset) / scale, _DOUBT * sds / scale
        gains = expected_gain(means, sds, best, bends[self.task])
        deviating = (gains * self.weight[:, None]).sum(-1)
        return (1 - _COPY) * deviating + _COPY * self._improvement_on_copies(new, bends)

    def _improvement_on_copies(self, new: View, bends: Tensor) -> Tensor:
        """Return what candidates add if the task is a copy of a training task: (B, m).

        The next pick of a greedy portfolio over the training tasks, by their weights.
        """
        of_tasks = self.task_weight[:, :-1]
        weight, kept = of_tasks.topk(min(_COPIES, of_tasks.shape[1]), dim=1)
        tried = self.at.mean.masked_fill(~self.there[..., None], -torch.inf).amax(1)  # (B, T)
        z = new.mean.gather(2, kept[:, None].expand(-1, new.mean.shape[1], -1))  # (B, m, c)
        copied = gain(z, tried.gather(1, kept), bends[kept])
        return (copied @ weight[..., None])[..., 0]


def _tail(u: Tensor) -> Tensor:
    """Return the probability of less than normal deviates, precise far below 0."""
    tail: Tensor = 0.5 * torch.special.erfc(-u / math.sqrt(2))
    return tail


def condition(told: Told, *kinds: Weighed) -> Posterior:
    """Condition the prior on studies' trials.

    Parameters
    ----------
    told : Told
    *kinds : Weighed
        The trials by the hypotheses of transfer, the null ones, or both. What is left out counts
        as ruled out.
    """
    evidence = torch.stack([kind.log_evidence for kind in kinds]).logsumexp(0)[:, None]
    likeliest = [kind.likeliest(evidence, _LOST) for kind in kinds]
    T = told.at.mean.shape[-1]
    task_weight = told.y.new_zeros(len(told.y), T + 1)
    parts, first = [], 0
    for kind in likeliest:
        weight = (kind.log - evidence[..., None, None]).exp().sum((1, 2))
        task_weight = task_weight.index_add(1, kind.tasks, weight)
        parts.append(_components(kind, evidence, told, first))
        first += kind.ones.shape[1]
    kept = {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}
    return Posterior(
        hypotheses={
            name: torch.cat([kind.hypotheses[name] for kind in likeliest], dim=1)
            for name in likeliest[0].hypotheses
        },
        at=_masked(told),
        best=told.y.masked_fill(~told.there, -torch.inf).amax(1),
        n=told.there.sum(1),
        whiten=torch.cat([kind.whiten for kind in likeliest], dim=1),
        ones=torch.cat([kind.ones for kind in likeliest], dim=1),
        task_weight=task_weight,
        there=told.there,
        foretold=_foretold(told, kept["task"], kept["scale"], kept["weight"]),
        **kept,
    )


def _components(weighed: Weighed, evidence: Tensor, told: Told, first: int) -> dict[str, Tensor]:
    """Return the heaviest components of one kind, with the weight of all of that kind.

    Their hypotheses are counted from `first` on.

    There are many components of transfer, each of little weight as long as there are few trials:
    if the heaviest were kept whatever they are, nearly all might be null ones.
    """
    log = weighed.log.flatten(1) - evidence
    index, raised = heaviest(log, _LOST, _MOST)  # (B, k)
    G, T = weighed.log.shape[2:]
    h, t = index // max(G * T, 1), index % max(T, 1)
    scale = told.scales.gather(1, index // max(T, 1) % G)
    studies = torch.arange(len(h), device=h.device)[:, None]
    o1, M1 = rows(weighed.ones, h), weighed.means[studies, h, :, t]  # (B, k, n)
    deviation = rows(weighed.y, h) - scale[..., None] * M1
    offset = (o1 * deviation).sum(-1) / o1.square().sum(-1)
    return {
        "hypothesis": first + h,
        "task": weighed.tasks[t],
        "scale": scale,
        "offset": offset,
        "weight": (log.gather(1, index) + raised).exp(),
        "residual": deviation - offset[..., None] * o1,
    }


def _masked(told: Told) -> View:
    """Let trials that are not there be unlike anything."""
    there = told.there.to(told.y.dtype)[..., None]
    far = torch.where(there > 0, told.at.X, torch.full_like(told.at.X, 1e6))
    return View(far, told.at.mean * there, told.at.root * there)


def _foretold(told: Told, task: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Return the share of y's variation that the components' means tell, null ones left out."""
    there = told.there.to(told.y.dtype)
    n = there.sum(1)

    def scattered(values: Tensor) -> Tensor:  # (B, ..., n) to (B, ...)
        mask = there.reshape(len(there), *[1] * (values.dim() - 2), -1)
        count = n.reshape(-1, *[1] * (values.dim() - 2))
        mean = (values * mask).sum(-1) / count
        return ((values - mean[..., None]).square() * mask).sum(-1)

    T = told.at.mean.shape[-1]
    weight = weight * (task < T)
    M = torch.nn.functional.pad(told.at.mean, (0, 1)).mT
    total = scattered(told.y)
    missed = scattered(told.y[:, None] - scale[..., None] * rows(M, task)) / total[:, None]
    share = 1.0 - (missed.clamp(max=1.0) * weight).sum(1) / weight.sum(1)
    return torch.where((total > 0) & (weight.sum(1) > 0), share, torch.zeros_like(share))
