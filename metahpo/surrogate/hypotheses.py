"""Hypotheses: how a new task may deviate from the training tasks, and what that costs its trials.

Some hypotheses say that the task is like a training task, up to a shared covariance of weights and
a task-local process; the others, the null hypotheses, that no training task helps. What they are
is a dict of tensors, a leading dimension a study, so that an inner loop can move them.

Notation
--------
======== ============= =====================================================================
name     shape         meaning
======== ============= =====================================================================
B                      studies side by side, each with trials of its own
H, H_t                 hypotheses; the first H_t are of transfer, the rest null
n, T, G                trials, training tasks, values of the scale b
deep     (B, H_t)      log tau: weight of the shared covariance
local    (B, H)        log variance of the local process
noise    (B, H)        log variance of the noise, both in units of z
length   (B, H, d)     log length scales of the local process
K        (B, H, n, n)  covariance of z at the trials, noise included; L its Cholesky factor
y1, o1   (B, H, n)     L^-1 y, L^-1 1
M        (B, n, T)     what each training task says of z at the trials
M1       (B, H_t, n, T) L^-1 M; the null hypotheses say 0
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

_TRANSFER = ((0.5, 0.3, 0.05, 1.0),)
_NULL = ((1.0, 0.02, 0.6), (1.0, 0.005, 2.0), (1.0, 0.05, 2.0))
_LEAST_NOISE = 1e-5  # variance, for the factorisation
NULL_PRIOR = 0.1
"""Prior probability that no earlier task helps."""


def initial_hypotheses(d: int) -> Hypotheses:
    """Return the hypotheses before anything is learned, for `d` encoded columns.

    Returns
    -------
    dict of Tensor
        Without the dimension of the studies.
    """
    rows = [row[1:] for row in _TRANSFER] + list(_NULL)
    local, noise, length = torch.tensor(rows, dtype=torch.float64).log().T
    return {
        "deep": torch.tensor([row[0] for row in _TRANSFER], dtype=torch.float64).log(),
        "local": local.clone(),
        "noise": noise.clone(),
        "length": (length + math.log(mean_length(d)))[:, None].repeat(1, d),
    }


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
        """Lay studies that may differ in length beside one another, to compute them at once."""

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
    """Trials by the light of hypotheses; see the module's notation."""

    factor: Tensor  # (B, H, n, n) L
    ones: Tensor  # (B, H, n) o1
    y: Tensor  # (B, H, n) y1
    means: Tensor  # (B, H_t, n, T) M1
    transfer: Tensor  # (B, H_t, G, T) log evidence and prior probability of each component
    null: Tensor  # (B, H - H_t, G)

    @property
    def log_evidence(self) -> Tensor:
        """All components' in a row, those of transfer first: (B, k)."""
        return torch.cat([self.transfer.flatten(1), self.null.flatten(1)], dim=1)

    def component(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return hypothesis, scale and task (T: none) of numbers in that row."""
        n_transfer, G, T = self.transfer.shape[1:]
        null, like = index - n_transfer * G * T, max(T, 1)
        return (
            torch.where(null < 0, index // (G * like), n_transfer + null // G),
            torch.where(null < 0, index // like % G, null % G),
            torch.where(null < 0, index % like, T),
        )


def weigh(hypotheses: Hypotheses, told: Told) -> Weighed:
    """Compute how well every hypothesis, scale and component explains the trials.

    The offset a of y = a + b z is integrated out under a flat prior.
    """
    there = told.there.to(told.y.dtype)
    K = covariance(hypotheses, told.at, told.at) * (there[:, None, :, None] * there[:, None, None])
    noise = hypotheses["noise"].exp() + _LEAST_NOISE
    # a trial that is not there is a number of variance one that nobody asks about
    K = K + torch.diag_embed(noise[..., None] * there[:, None] + (1 - there[:, None]))
    L = torch.linalg.cholesky_ex(K).L
    n_transfer, n_null = _counts(hypotheses)
    level = torch.stack([there, told.y * there], dim=-1)[:, None].expand(-1, L.shape[1], -1, -1)
    o1, y1 = torch.linalg.solve_triangular(L, level, upper=False).unbind(-1)
    M = (told.at.mean * there[..., None])[:, None].expand(-1, n_transfer, -1, -1)
    M1 = torch.linalg.solve_triangular(L[:, :n_transfer], M, upper=False)
    log_det = 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1) + o1.square().sum(-1).log()
    log = (
        -0.5 * log_det[..., None]
        - (told.there.sum(1, keepdim=True) - 1)[..., None] * (told.scales.log()[:, None])
    )
    log = log + told.log_scales[:, None]  # (B, H, G): what all components share
    unit = (o1 / o1.square().sum(-1, keepdim=True).sqrt())[..., None]
    y_flat = y1[..., None] - unit * (unit * y1[..., None]).sum(-2, keepdim=True)  # (B, H, n, 1)
    unit = unit[:, :n_transfer]
    M_flat = M1 - unit * (unit * M1).sum(-2, keepdim=True)
    b = told.scales[:, None, :, None]
    yy = y_flat.square().sum(-2)[..., None]  # (B, H, 1, 1)
    yM = (y_flat[:, :n_transfer] * M_flat).sum(-2)[..., None, :]
    MM = M_flat.square().sum(-2)[..., None, :]
    misfit = yy[:, :n_transfer] / b.square() - 2 * yM / b + MM
    relevance = told.log_relevance[:, None, None] + math.log((1 - NULL_PRIOR) / n_transfer)
    return Weighed(
        factor=L,
        ones=o1,
        y=y1,
        means=M1,
        transfer=log[:, :n_transfer, :, None] - 0.5 * misfit + relevance,
        null=log[:, n_transfer:]
        - 0.5 * (yy[:, n_transfer:] / b.square())[..., 0]
        + math.log(NULL_PRIOR / n_null),
    )


def chosen(hypotheses: Hypotheses, number: Tensor) -> Hypotheses:
    """Return one hypothesis a study, by its number: (B,)."""
    studies = torch.arange(len(number), device=number.device)
    null = _counts(hypotheses)[1]
    # a null hypothesis is one of transfer that gives the shared covariance no weight
    padded = {"deep": torch.nn.functional.pad(hypotheses["deep"], (0, null), value=-torch.inf)}
    return {name: value[studies, number][:, None] for name, value in (hypotheses | padded).items()}


def _counts(hypotheses: Hypotheses) -> tuple[int, int]:
    """Return how many hypotheses are of transfer, and how many are null."""
    n_transfer = hypotheses["deep"].shape[1]
    return n_transfer, hypotheses["local"].shape[1] - n_transfer


def covariance(hypotheses: Hypotheses, a: View, b: View) -> Tensor:
    """Return the prior covariance of z between configurations: (B, H, n, m)."""
    local = matern52(a.X[:, None], b.X[:, None], hypotheses["length"].exp())
    local = hypotheses["local"].exp()[..., None, None] * local
    tau = hypotheses["deep"].exp()[..., None, None]
    deep = tau * (a.root @ b.root.mT)[:, None]
    return local + torch.nn.functional.pad(deep, (0, 0, 0, 0, 0, _counts(hypotheses)[1]))


def variance(hypotheses: Hypotheses, at: View) -> Tensor:
    """Return the prior variance of z at configurations: (B, H, m)."""
    deep = hypotheses["deep"].exp()[..., None] * at.root.square().sum(-1)[:, None]
    deep = torch.nn.functional.pad(deep, (0, 0, 0, _counts(hypotheses)[1]))
    return hypotheses["local"].exp()[..., None] + deep
