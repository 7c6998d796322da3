"""StudyBelief: the belief about one study, arrays in and arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from metahpo.surrogate.adaptation import STRAY, Adaptation
from metahpo.surrogate.belief import Posterior
from metahpo.surrogate.calibration import Calibration
from metahpo.surrogate.features import Floats
from metahpo.surrogate.hypotheses import Told, View
from metahpo.surrogate.null import NullFactors
from metahpo.surrogate.scale import ScalePrior
from metahpo.surrogate.tasks import TaskPrior

Array = NDArray[np.float64]

_NUMPY = {torch.float64: np.float64, torch.float32: np.float32}
_LEAST = 1e-4  # the outermost level of a quantile
_PART = 2000  # configurations whose predictions are computed at a time


@dataclass(frozen=True, eq=False)
class Prior:
    """What is believed of a study before its first trial.

    Attributes
    ----------
    tasks : TaskPrior
    scale : ScalePrior
    adaptation : Adaptation
        On the columns of the study's own code.
    log_relevance : ndarray, shape (T,)
        Log prior probability of being like each training task.
    bends : ndarray, shape (T + 1, 1 + J)
        What responses are worth, see :mod:`metahpo.surrogate.worth`.
    calibration : Calibration, optional
        Where scores lie in what is foretold of them, if that has been learned.
    factors : NullFactors
        What was computed of the last trials; those that are told again cost nothing.
    """

    tasks: TaskPrior
    scale: ScalePrior
    adaptation: Adaptation
    log_relevance: Array
    bends: Array
    calibration: Calibration | None = None
    factors: NullFactors = field(default_factory=NullFactors, repr=False)
    _glanced: list[tuple[Floats, Array, View]] = field(  # the last one alone
        default_factory=list, init=False, repr=False
    )

    def view(self, phi: Floats, X: Array, *, dtype: torch.dtype = torch.float64) -> View:
        """View configurations as beliefs do.

        Parameters
        ----------
        phi : ndarray, shape (m, F)
            Their features.
        X : ndarray, shape (m, d)
            The configurations in the study's own code.
        dtype : torch.dtype, default=torch.float64
        """
        X, phi = (values.astype(_NUMPY[dtype], copy=False) for values in (X, phi))
        return View(_tensor(X), _tensor(self.tasks.particles(phi)), _tensor(self.tasks.root(phi)))

    def rough_view(self, phi: Floats, X: Array) -> View:
        """View configurations in single precision; the same ones again cost nothing.

        Candidates that are given stay the same from trial to trial.
        """
        if not (self._glanced and self._glanced[0][0] is phi and self._glanced[0][1] is X):
            self._glanced[:] = [(phi, X, self.view(phi, X, dtype=torch.float32))]
        return self._glanced[0][2]

    def promise(self, phi: Floats) -> Array:
        """Return z as the training tasks foretell it before any trial: (m,)."""
        particles = self.tasks.particles(phi.astype(np.float64, copy=False))
        return np.asarray(particles @ np.exp(self.log_relevance), dtype=np.float64)

    def told(self, phi: Floats, X: Array, y: Array) -> Told:
        """Return what a study of trials with scores `y`, none missing, has been told."""
        scales, log_scales = self.scale.grid(y)
        return Told(
            at=self.view(phi, X),
            y=_tensor(y),
            there=torch.ones(1, len(y), dtype=torch.bool),
            log_relevance=_tensor(self.log_relevance),
            scales=_tensor(scales),
            log_scales=_tensor(log_scales),
        )

    def condition(self, phi: Floats, X: Array, y: Array) -> StudyBelief:
        """Adapt to n >= 1 trials, and condition on them."""
        told = self.told(phi, X, y)
        with torch.no_grad():
            return StudyBelief(self, self.adaptation.posterior(told, self.factors))


@dataclass(frozen=True, eq=False)
class StudyBelief:
    """The belief about a study with n >= 1 trials.

    Attributes
    ----------
    prior : Prior
    posterior : Posterior
        Of this one study.
    """

    prior: Prior
    posterior: Posterior

    @property
    def trust(self) -> float:
        """How far the training tasks can be relied on here, in [0, 1]."""
        return float(self.posterior.trust[0])

    @property
    def task_weight(self) -> Array:
        """Probability of being like each training task, and last like none: (T + 1,)."""
        return _array(self.posterior.task_weight)

    @property
    def components(self) -> tuple[Array, Array, Array]:
        """Offset, scale and weight of the components of y = a + b z: three of shape (k,)."""
        p = self.posterior
        return _array(p.offset), _array(p.scale), _array(p.weight)

    def predict(self, phi: Floats, X: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the noise-free score: two of shape (m,)."""
        with torch.no_grad():
            parts = [self.posterior.predict(self.prior.view(phi[p], X[p])) for p in _parts(phi)]
        mean, sd = (torch.cat(values, dim=1) for values in zip(*parts, strict=True))
        return _array(mean), _array(sd)

    @property
    def promise(self) -> float:
        """Mean promise of the trials, see :meth:`Prior.promise`."""
        of_trials = _array(self.posterior.at.mean) @ np.exp(self.prior.log_relevance)
        return float(of_trials.mean())

    def deviates(self, phi: Floats, X: Array, y: Array) -> Array:
        """Return where scores lie in what is foretold of them, as normal deviates: (m,)."""
        with torch.no_grad():
            view = self.prior.view(phi, X)
            return _array(self.posterior.deviates(view, _tensor(np.asarray(y, dtype=float))))

    def quantiles(self, phi: Floats, X: Array, levels: Sequence[float]) -> Array:
        """Return quantiles of what an evaluation would show, noise included: (m, levels).

        Corrected by what tasks held out have shown; where that was not learned, a share ``STRAY``
        of the scores is like nothing that is foretold, half of it below and half of it above all
        else, as the predictive density was learned.
        """
        levels = np.clip(levels, _LEAST, 1 - _LEAST).tolist()
        if (calibration := self.prior.calibration) is not None:
            own, n = self.prior.promise(phi), int(self.posterior.n[0])
            deviates = calibration.deviates(levels, n, self.promise, own)
        else:
            inner = [(level - STRAY / 2) / (1 - STRAY) for level in levels]
            kept = ndtri(np.clip(inner, _LEAST, 1 - _LEAST))
            deviates = np.tile(kept, (len(phi), 1))
        with torch.no_grad():
            parts = [
                self.posterior.quantiles(self.prior.view(phi[p], X[p]), _tensor(deviates[p]))
                for p in _parts(phi)
            ]
        return _array(torch.cat(parts, dim=1))

    def expected_improvement(self, phi: Floats, X: Array) -> Array:
        """Return the expected improvement on the best so far, in worth: (m,)."""
        bends = torch.from_numpy(self.prior.bends)
        with torch.no_grad():
            return _array(self.posterior.expected_improvement(self.prior.view(phi, X), bends))

    def glance(self, phi: Floats, X: Array, *, of: int) -> Array:
        """Return the expected improvement of many candidates, roughly: (m,).

        Enough to tell the promising, at a fraction of the time: in single precision.

        Parameters
        ----------
        phi, X : ndarray
        of : int
            By so many components of the likeliest hypothesis.
        """
        leading = self.posterior.leading(of).centred().to(torch.float32)
        bends = torch.from_numpy(self.prior.bends).to(torch.float32)
        with torch.no_grad():
            return _array(leading.expected_improvement(self.prior.rough_view(phi, X), bends))


def _parts(phi: Floats) -> list[slice]:
    """Divide configurations such that memory does not grow with their number."""
    return [slice(first, first + _PART) for first in range(0, max(len(phi), 1), _PART)]


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))[None]


def _array(values: Tensor) -> Array:
    array: Array = values[0].double().numpy()
    return array
