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
        beta at the start, relative to the query loss without adaptation.
    annealed : float, default=0.6
        Share of training after which beta is 0.
    tail : float, default=0.01
        Steps are not unrolled once all later counts together have less probability.
    explosion : float, default=10.0
        A step whose loss is not finite, or this many times the loss without adaptation, is left
        out of (1) with all later ones; (2) still sees that it is bad.

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
        return int((beyond > self.tail).sum())

    def objective(self, losses: Tensor, logits: Tensor, progress: float) -> Tensor:
        """Return the sum of (1) and (2), whose gradients do not meet.

        Parameters
        ----------
        losses : Tensor, shape (k + 1,)
            Query losses after 0 … k steps; k may stop short of K_max.
        logits : Tensor, shape (K_max + 1,)
        progress : float
            Share of training that is over, in [0, 1].
        """
        seen = losses.detach()
        sound = int(self._sound(seen).sum())
        p = torch.softmax(logits, 0)
        q = torch.log_softmax(logits, 0)
        weights = p[:sound].detach()
        expected = (weights * losses[:sound]).sum() / weights.sum()
        beta = self.entropy * seen[0] * max(0.0, 1 - progress / self.annealed)
        return expected + (p * self._priced(seen, sound)).sum() + beta * (p * q).sum()

    def best(self, losses: Tensor) -> int:
        """Return the count of least priced loss, given the losses after 0 … K_max steps."""
        priced = losses + self.price * torch.arange(len(losses), device=losses.device)
        return int(torch.where(priced.isfinite(), priced, torch.inf).argmin())

    def _sound(self, losses: Tensor) -> Tensor:
        """Mark the counts before the first that exploded."""
        good = losses.isfinite() & (losses <= self.explosion * losses[0].clamp(min=1e-12))
        good[0] = True
        return good.long().cumprod(0).bool()

    def _priced(self, losses: Tensor, sound: int) -> Tensor:
        """Return L_k + c·k for all counts; what exploded or was not unrolled counts as bad."""
        worst = losses[:sound].max()
        late = torch.full_like(losses[sound:], 1.0) * self.explosion * losses[0]
        unseen = worst.expand(self.maximum + 1 - len(losses))
        steps = torch.arange(self.maximum + 1, device=losses.device)
        return torch.cat([losses[:sound], late, unseen]) + self.price * steps
