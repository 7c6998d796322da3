"""StepCount: the number of inner steps, learned by gradient beside weights and rates.

A categorical p over 0 … K_max says how many steps are worth their price. Weights and rates follow
the expected loss under it, its logits follow the expected priced loss:

    min over theta, alpha:  Σ_k stop(p_k) · L_k                                              (1)
    min over logits:        Σ_k p_k · stop(L_k + c·k) - beta · H(p)                          (2)

The entropy term keeps every count alive while the losses are still those of an untrained start;
beta falls to 0 over the first part of training. K is then fixed as the argmin of L_k + c·k on
meta-validation tasks.

Notation
--------
======= ============= =========================================================================
L       (K_max + 1,)  query loss after k steps, averaged over the batch
p       (K_max + 1,)  softmax of the logits
c                     price of a step, in units of the loss
beta                  weight of the entropy, in units of the loss
======= ============= =========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepCount:
    """Options of a learned number of inner steps.

    Parameters
    ----------
    maximum : int, default=6
        K_max, the largest number considered.
    price : float, default=0.0
        What a step costs, in units of the query loss: a further step must lower the loss by more.
    entropy : float, default=0.3
        beta at the start, relative to the size of the query loss without adaptation.
    annealed : float, default=0.6
        Share of training after which beta is 0.
    tail : float, default=0.01
        Steps are not unrolled once all later counts together have less probability.
    explosion : float, default=10.0
        A count whose loss is not finite, or more than this many times the loss without
        adaptation, is left out of (1) with all later ones; (2) sees it at that limit. Where that
        loss is negative, as a log density's may be, it may rise by as much as if it were not.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    maximum: int = 6
    price: float = 0.0
    entropy: float = 0.3
    annealed: float = 0.6
    tail: float = 0.01
    explosion: float = 10.0

    def __post_init__(self) -> None:
        if self.maximum < 1:
            raise ValueError(f"maximum is {self.maximum}; it must be at least 1")
        if min(self.price, self.entropy) < 0:
            raise ValueError("price and entropy must not be negative")
        if not 0 < self.annealed <= 1:
            raise ValueError(f"annealed is {self.annealed}; it must be in (0, 1]")
        if not 0 <= self.tail < 1:
            raise ValueError(f"tail is {self.tail}; it must be in [0, 1)")
        if self.explosion <= 1:
            raise ValueError(f"explosion is {self.explosion}; it must be above 1")

    def horizon(self, logits: Tensor) -> int:
        """Return how many steps to unroll: the later counts have less than `tail` together."""
        beyond = 1 - torch.softmax(logits.detach().double(), 0).cumsum(0)  # P(K > k)
        return int((beyond[:-1] > self.tail).sum())  # the last is 0, up to rounding

    def sound(self, losses: Tensor) -> int:
        """Return how many counts come before the first that exploded; the count 0 never does.

        Parameters
        ----------
        losses : Tensor, shape (k + 1,)
            Query losses after 0 … k steps; k may stop short of K_max.
        """
        good = losses.isfinite() & (losses <= self._limit(losses[0]))
        good[0] = True
        return int(good.long().cumprod(0).sum())

    def logit_gradient(self, losses: Tensor, logits: Tensor, progress: float) -> Tensor:
        """Return the gradient of (2).

        Parameters
        ----------
        losses : Tensor, shape (k + 1,)
            As in :meth:`sound`; a count beyond has the loss of the last.
        logits : Tensor, shape (K_max + 1,)
        progress : float
            Share of training that is over, in [0, 1].
        """
        losses = losses.detach().to(logits)
        limit = self._limit(losses[0])
        seen = torch.where(losses.isfinite(), losses, limit).clamp(max=limit)
        unseen = seen[-1:].expand(self.maximum + 1 - len(seen))
        steps = torch.arange(self.maximum + 1, device=losses.device)
        priced = torch.cat([seen, unseen]) + self.price * steps
        beta = self.entropy * losses[0].abs() * max(0.0, 1 - progress / self.annealed)
        log_p = torch.log_softmax(logits.detach(), 0)
        p, value = log_p.exp(), priced + beta * log_p
        return p * (value - (p * value).sum())

    def _limit(self, unadapted: Tensor) -> Tensor:
        """Return the loss beyond which a count has exploded."""
        return unadapted + (self.explosion - 1) * unadapted.abs()

    def best(self, losses: Tensor) -> int:
        """Return the count of least priced loss, given the losses after 0 … K_max steps."""
        return int(self._priced(losses).argmin())

    def least(self, losses: Tensor) -> float:
        """Return the least priced loss, given the losses after 0 … K_max steps."""
        return float(self._priced(losses).min())

    def _priced(self, losses: Tensor) -> Tensor:
        priced = losses + self.price * torch.arange(len(losses), device=losses.device)
        return torch.where(priced.isfinite(), priced, torch.inf)
