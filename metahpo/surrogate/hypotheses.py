"""Hypotheses: how a new task may deviate from the training tasks, and what that costs its trials.

Those of transfer say that the task is like a training task, up to a shared covariance of weights
and a task-local process; what is left are null hypotheses, see :mod:`.null`. Both are a dict of
tensors, a leading dimension a study, so that an inner loop can move them.

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
whiten   (B, H, n, n)  L^-1
y1, o1   (B, H, n)     L^-1 y, L^-1 1
M        (B, n, T)     what each training task says of z at the trials
M1       (B, H, n, T)  L^-1 M; null hypotheses have one column, of zeros
======== ============= =====================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metahpo.surrogate.kernels import matern52, mean_length

Hypotheses = dict[str, Tensor]

_TRANSFER = (0.5, 0.3, 0.05, 1.0)  # tau, local variance, noise, length scale
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
    whiten: Tensor  # (B, H, n, n)
    ones: Tensor  # (B, H, n) o1
    y: Tensor  # (B, H, n) y1
    means: Tensor  # (B, H, n, T) M1
    log: Tensor  # (B, H, G, T) log evidence and prior probability of each component
    tasks: Tensor  # (T,) number of the task that each column is about

    @property
    def log_evidence(self) -> Tensor:
        """Of all components together: (B,)."""
        log: Tensor = self.log.flatten(1).logsumexp(1)
        return log

    def likeliest(self, evidence: Tensor, lost: float) -> Weighed:
        """Keep the likeliest hypotheses of each study, with the probability of all.

        Parameters
        ----------
        evidence : Tensor, shape (B, 1)
            Log evidence of all there is, these hypotheses and others.
        lost : float
            Probability that those which are left out may have together.
        """
        kept, raised = heaviest(self.log.flatten(2).logsumexp(2) - evidence, lost)
        return Weighed(
            hypotheses={name: rows(value, kept) for name, value in self.hypotheses.items()},
            whiten=rows(self.whiten, kept),
            ones=rows(self.ones, kept),
            y=rows(self.y, kept),
            means=rows(self.means, kept),
            log=rows(self.log, kept) + raised[..., None, None],
            tasks=self.tasks,
        )


def heaviest(log: Tensor, lost: float, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Return which weights stand for all of a study, and what they are raised by for that.

    Parameters
    ----------
    log : Tensor, shape (B, H)
        Logarithms of weights that are 1 together, or less.
    lost : float
        Weight that those which are left out may have together.
    most : int, optional
        Number of them, whatever is lost.

    Returns
    -------
    index : Tensor, shape (B, k)
        Heaviest first; k is what the study takes that needs most, and at least one.
    raised : Tensor, shape (B, k)
        To be added to their logarithms: the same for all that stand for a study, and -inf for
        those that it can do without.
    """
    largest, index = log.topk(log.shape[1] if most is None else min(most, log.shape[1]), dim=1)
    whole, weight = log.logsumexp(1, keepdim=True), largest.detach().exp()
    rest = whole.detach().exp() - weight.cumsum(1) + weight  # of each and all lighter ones
    needed = (rest > lost).sum(1, keepdim=True).clamp(min=1)
    k = min(int(needed.max()), largest.shape[1])
    spare = torch.arange(k, device=log.device) >= needed
    standing = largest[:, :k].masked_fill(spare, -torch.inf).logsumexp(1, keepdim=True)
    return index[:, :k], (whole - standing).expand(-1, k).masked_fill(spare, -torch.inf)


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
    K = covariance(hypotheses, told.at, told.at)
    whiten = whitening(hypotheses, K, told.there)
    tasks = torch.arange(log_prior.shape[1], device=log_prior.device)
    return evidence(hypotheses, told, whiten, told.at.mean, log_prior, tasks)


def evidence(
    hypotheses: Hypotheses,
    told: Told,
    whiten: Tensor,
    mean: Tensor,
    log_prior: Tensor,
    tasks: Tensor,
) -> Weighed:
    """Compute how well hypotheses explain the trials, each with all scales and all `mean`.

    Parameters
    ----------
    hypotheses : dict of Tensor
        With the leading dimension of the studies.
    told : Told
    whiten : Tensor, shape (B, H, n, n)
        From :func:`whitening`.
    mean : Tensor, shape (B, n, T)
        Of z at the trials, by task.
    log_prior : Tensor, shape (B, T)
        Log prior probability of each.
    tasks : Tensor, shape (T,)
        Their numbers.
    """
    there = told.there.to(told.y.dtype)
    columns = torch.cat(
        [there[..., None], (told.y * there)[..., None], mean * there[..., None]], -1
    )
    whitened = whiten @ columns[:, None]
    o1, y1, M1 = whitened[..., 0], whitened[..., 1], whitened[..., 2:]
    norm = o1.square().sum(-1)
    log_det = norm.log() - 2 * whiten.diagonal(dim1=-2, dim2=-1).log().sum(-1)
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
    return Weighed(hypotheses, whiten, o1, y1, M1, log, tasks)


def whitening(hypotheses: Hypotheses, K: Tensor, there: Tensor) -> Tensor:
    """Return the inverse Cholesky factor of trials, from their covariance without noise."""
    real = there.to(K.dtype)
    # a trial that is not there is a number of variance one that nobody asks about
    noise = noise_variance(hypotheses)[..., None] * real[:, None] + (1 - real[:, None])
    return inverse_factor(
        K * (real[:, None, :, None] * real[:, None, None]) + torch.diag_embed(noise)
    )


def inverse_factor(K: Tensor) -> Tensor:
    """Return L^-1 of covariances: (..., n, n), as their shape is."""
    L = torch.linalg.cholesky_ex(K).L
    whiten: Tensor = torch.linalg.solve_triangular(L, torch.eye(L.shape[-1]).to(L), upper=False)
    return whiten


def noise_variance(hypotheses: Hypotheses) -> Tensor:
    """Return the variance of the noise, in units of z: (B, H)."""
    return hypotheses["noise"].exp() + _LEAST_NOISE


def covariance(hypotheses: Hypotheses, a: View, b: View) -> Tensor:
    """Return the prior covariance of z between configurations: (B, H, n, m)."""
    shared = hypotheses["deep"].exp()[..., None, None] * (a.root @ b.root.mT)[:, None]
    return local_covariance(hypotheses, a.X, b.X) + shared


def local_covariance(hypotheses: Hypotheses, a: Tensor, b: Tensor) -> Tensor:
    """Return the part of it that is local, from X alone: (B, H, n, m)."""
    local = matern52(a[:, None], b[:, None], hypotheses["length"].exp())
    return hypotheses["local"].exp()[..., None, None] * local


def variance(hypotheses: Hypotheses, at: View) -> Tensor:
    """Return the prior variance of z at configurations: (B, H, m)."""
    deep = hypotheses["deep"].exp()[..., None] * at.root.square().sum(-1)[:, None]
    return hypotheses["local"].exp()[..., None] + deep
