"""Hypotheses: how a new task may deviate from the training tasks, and what that costs its trials.

Those of transfer say that the task is like a training task, up to a shared covariance of weights
and a task-local process. They are a dict of tensors, a leading dimension a study, so that an inner
loop can move them. The null hypotheses say that no training task helps: Gaussian processes whose
length scales and noise are a sample of what these may be, weighed by the trials. Nothing is
learned of them, so that experience which misleads does not mislead them, too.

Notation
--------
======== ============= =====================================================================
name     shape         meaning
======== ============= =====================================================================
B                      studies side by side, each with trials of its own
H                      hypotheses, of transfer or null
n, T, G                trials, training tasks, values of the scale b
deep     (B, H)        log tau: weight of the shared covariance; -inf in null hypotheses
local    (B, H)        log variance of the local process
noise    (B, H)        log variance of the noise, both in units of z
length   (B, H, d)     log length scales of the local process
K        (B, H, n, n)  covariance of z at the trials, noise included; L its Cholesky factor
y1, o1   (B, H, n)     L^-1 y, L^-1 1
M        (B, n, T)     what each training task says of z at the trials
M1       (B, H, n, T)  L^-1 M; null hypotheses have one column, of zeros
======== ============= =====================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from metahpo.surrogate.kernels import matern52, mean_length

Hypotheses = dict[str, Tensor]

_TRANSFER = (0.5, 0.3, 0.05, 1.0)  # tau, local variance, noise, length scale
_NULLS = 64  # a power of two, for Sobol's sequence
_NULL_NOISE = (0.01, 1.0)  # median of the variance, and deviation of its logarithm
_NULL_LENGTH = (1.0, 0.7)  # the same of a length scale, in mean lengths
_NULL_CELLS = 64 * 200**2  # of covariances: with many trials there are fewer null hypotheses
_LEAST_NOISE = 1e-5  # variance, for the factorisation
NULL_PRIOR = 0.05
"""Prior probability that no earlier task helps."""


def initial_hypotheses(d: int) -> Hypotheses:
    """Return the hypotheses of transfer before anything is learned, for `d` encoded columns.

    Returns
    -------
    dict of Tensor
        Without the dimension of the studies.
    """
    tau, local, noise, length = torch.tensor([_TRANSFER], dtype=torch.float64).log().T
    length = (length + math.log(mean_length(d)))[:, None].repeat(1, d)
    return {"deep": tau, "local": local, "noise": noise, "length": length}


def null_hypotheses(d: int, n: int) -> Hypotheses:
    """Return the null hypotheses for `d` encoded columns and `n` trials.

    A quasi-random sample of length scales, each column its own, and of noise. Weighed by their
    evidence they stand for one Gaussian process with all of that integrated out, as Snoek,
    Larochelle and Adams, "Practical Bayesian optimization of machine learning algorithms", 2012,
    do by Markov chains. The variance is that of z, which is known: one.

    Returns
    -------
    dict of Tensor
        Without the dimension of the studies.
    """
    normal = _sample(d + 1)[: max(1, min(_NULLS, _NULL_CELLS // max(n, 1) ** 2))]
    (noise, noise_sd), (length, length_sd) = _NULL_NOISE, _NULL_LENGTH
    local = torch.zeros(len(normal), dtype=torch.float64)
    return {
        "deep": torch.full_like(local, -torch.inf),
        "local": local,
        "noise": math.log(noise) + noise_sd * normal[:, d],
        "length": math.log(length * mean_length(d)) + length_sd * normal[:, :d],
    }


@cache
def _sample(d: int) -> Tensor:
    """Return quasi-random normal deviates, the same ever: (nulls, d)."""
    return torch.from_numpy(ndtri(qmc.Sobol(d, rng=np.random.default_rng(0)).random(_NULLS)))


@dataclass(frozen=True, eq=False)
class View:
    """Configurations as beliefs read them.

    Attributes
    ----------
    X : Tensor, shape (B, n, d)
        In the study's own code, for the local process.
    mean : Tensor, shape (B, n, T)
        z by every training task.
    root : Tensor, shape (B, n, R)
        Such that ``root @ root.mT`` is the covariance that tasks' weights make.
    """

    X: Tensor
    mean: Tensor
    root: Tensor

    def to(self, device: torch.device | str) -> View:
        """Move to a device."""
        return View(*(value.to(device) for value in vars(self).values()))

    def expand(self, studies: int) -> View:
        """Show one study's configurations to each of many."""
        return View(*(value.expand(studies, -1, -1) for value in vars(self).values()))


@dataclass(frozen=True, eq=False)
class Told:
    """What studies have been told, and what was thought of their tasks before.

    Attributes
    ----------
    at : View
        Of the trials.
    y : Tensor, shape (B, n)
        Raw scores, higher is better.
    there : Tensor of bool, shape (B, n)
        Which trials there are, where studies differ in length.
    log_relevance : Tensor, shape (B, T)
        Log prior probability of being like each training task.
    scales, log_scales : Tensor, shape (B, G)
        Values of b that are summed over, and their log prior probabilities.
    """

    at: View
    y: Tensor
    there: Tensor
    log_relevance: Tensor
    scales: Tensor
    log_scales: Tensor

    @classmethod
    def side_by_side(cls, studies: Sequence[Told]) -> Told:
        """Lay studies that may differ in length beside one another, to compute them at once.

        Beyond 200 trials the longest decides how many null hypotheses all are weighed by.
        """

        def stacked(values: Iterable[Tensor]) -> Tensor:  # (B, n, …) each
            rows = [row for value in values for row in value]
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

        at = (
            stacked(getattr(told.at, part) for told in studies) for part in ("X", "mean", "root")
        )
        rest = (
            stacked(getattr(told, part) for told in studies)
            for part in ("y", "there", "log_relevance", "scales", "log_scales")
        )
        return cls(View(*at), *rest)

    def to(self, device: torch.device | str) -> Told:
        """Move to a device."""
        rest = (value.to(device) for name, value in vars(self).items() if name != "at")
        return Told(self.at.to(device), *rest)


@dataclass(frozen=True, eq=False)
class Weighed:
    """Trials by the light of hypotheses, of transfer or null; see the module's notation."""

    hypotheses: Hypotheses
    factor: Tensor  # (B, H, n, n) L
    ones: Tensor  # (B, H, n) o1
    y: Tensor  # (B, H, n) y1
    means: Tensor  # (B, H, n, T) M1
    log: Tensor  # (B, H, G, T) log evidence and prior probability of each component

    @property
    def log_evidence(self) -> Tensor:
        """Of all components together: (B,)."""
        log: Tensor = self.log.flatten(1).logsumexp(1)
        return log

    def likeliest(self, n: int) -> Weighed:
        """Keep the `n` likeliest hypotheses of each study, with the probability of all."""
        log = self.log.flatten(2).logsumexp(2)
        _, kept, whole = heaviest(log, n)
        return Weighed(
            hypotheses={name: rows(value, kept) for name, value in self.hypotheses.items()},
            factor=rows(self.factor, kept),
            ones=rows(self.ones, kept),
            y=rows(self.y, kept),
            means=rows(self.means, kept),
            log=rows(self.log, kept) + whole[..., None, None],
        )


def heaviest(log: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the `n` largest of log weights, and what to add to them to weigh as much as all.

    Parameters
    ----------
    log : Tensor, shape (B, k)
    n : int

    Returns
    -------
    largest : Tensor, shape (B, min(n, k))
    index : Tensor, of the same shape
    whole : Tensor, shape (B, 1)
    """
    largest, index = log.topk(min(n, log.shape[1]), dim=1)
    return largest, index, log.logsumexp(1, keepdim=True) - largest.logsumexp(1, keepdim=True)


def rows(values: Tensor, index: Tensor) -> Tensor:
    """Pick rows study by study: (B, H, …), (B, k) to (B, k, …)."""
    index = index.reshape(*index.shape, *[1] * (values.dim() - 2))
    return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


def weigh(hypotheses: Hypotheses, told: Told) -> Weighed:
    """Compute how well every hypothesis of transfer, scale and task explains the trials.

    The offset a of y = a + b z is integrated out under a flat prior.
    """
    H = hypotheses["local"].shape[1]
    log_prior = told.log_relevance + math.log((1 - NULL_PRIOR) / H)
    return _weigh(hypotheses, told, told.at.mean, log_prior)


def weigh_null(told: Told) -> Weighed:
    """Compute the same for the null hypotheses: as if there were one task that says nothing."""
    B, n, d = told.at.X.shape
    hypotheses = {
        name: value.to(told.y).expand(B, *value.shape)
        for name, value in null_hypotheses(d, n).items()
    }
    log_prior = math.log(NULL_PRIOR / hypotheses["local"].shape[1])
    nothing, alone = told.y.new_zeros(B, n, 1), told.y.new_full((B, 1), log_prior)
    return _weigh(hypotheses, told, nothing, alone)


def _weigh(hypotheses: Hypotheses, told: Told, mean: Tensor, log_prior: Tensor) -> Weighed:
    there = told.there.to(told.y.dtype)
    K = covariance(hypotheses, told.at, told.at) * (there[:, None, :, None] * there[:, None, None])
    noise = hypotheses["noise"].exp() + _LEAST_NOISE
    # a trial that is not there is a number of variance one that nobody asks about
    K = K + torch.diag_embed(noise[..., None] * there[:, None] + (1 - there[:, None]))
    L = torch.linalg.cholesky_ex(K).L
    columns = torch.cat(
        [there[..., None], (told.y * there)[..., None], mean * there[..., None]], -1
    )
    columns = columns[:, None].expand(-1, L.shape[1], -1, -1)
    whitened = torch.linalg.solve_triangular(L, columns, upper=False)
    o1, y1, M1 = whitened[..., 0], whitened[..., 1], whitened[..., 2:]
    norm = o1.square().sum(-1)
    log_det = 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1) + norm.log()
    unit = (o1 / norm.sqrt()[..., None])[..., None]
    y_flat = y1[..., None] - unit * (unit * y1[..., None]).sum(-2, keepdim=True)  # (B, H, n, 1)
    M_flat = M1 - unit * (unit * M1).sum(-2, keepdim=True)
    b = told.scales[:, None, :, None]
    yy = y_flat.square().sum(-2)[..., None]  # (B, H, 1, 1)
    yM = (y_flat * M_flat).sum(-2)[..., None, :]
    MM = M_flat.square().sum(-2)[..., None, :]
    misfit = yy / b.square() - 2 * yM / b + MM
    freedom = (told.there.sum(1) - 1)[:, None, None, None]
    log = -0.5 * (log_det[..., None, None] + misfit) - freedom * b.log()
    log = log + told.log_scales[:, None, :, None] + log_prior[:, None, None]
    return Weighed(hypotheses, L, o1, y1, M1, log)


def covariance(hypotheses: Hypotheses, a: View, b: View) -> Tensor:
    """Return the prior covariance of z between configurations: (B, H, n, m)."""
    local = matern52(a.X[:, None], b.X[:, None], hypotheses["length"].exp())
    local = hypotheses["local"].exp()[..., None, None] * local
    return local + hypotheses["deep"].exp()[..., None, None] * (a.root @ b.root.mT)[:, None]


def variance(hypotheses: Hypotheses, at: View) -> Tensor:
    """Return the prior variance of z at configurations: (B, H, m)."""
    deep = hypotheses["deep"].exp()[..., None] * at.root.square().sum(-1)[:, None]
    return hypotheses["local"].exp()[..., None] + deep
