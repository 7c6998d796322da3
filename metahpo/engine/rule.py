"""InnerRule: how a task's parameters move in one inner step.

phi_{k+1} = phi_k - alpha_k · g_k
g_k = clip(∇ L_support(phi_k)) + w·phi_k + lambda·(phi_k - theta)

MAML, FOMAML, ANIL, Meta-SGD and MAML++ are settings of this one rule.

Notation
--------
======= ===================================================================================
theta   the initialisation, shared by all tasks
phi_k   a task's parameters after k steps; phi_0 = theta
alpha   learning rates, exp of what is learned, so that they stay positive
w       weight decay
lambda  strength of the pull towards the initialisation (iMAML)
======= ===================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

import torch
from torch import Tensor

Params = dict[str, Tensor]
Loss = Callable[[Params], Tensor]
"""Losses of a batch of tasks: parameters with a leading task dimension -> (B,)."""

RateShape = Literal["scalar", "tensor", "parameter", "step", "tensor_step"]
Order = Literal["second", "first", "implicit"]


@dataclass(frozen=True)
class InnerRule:
    """Options of the inner loop.

    Parameters
    ----------
    rate : float, default=0.01
        Inner learning rate, or where the learned ones start.
    rates : {"scalar", "tensor", "parameter", "step", "tensor_step"}, default="scalar"
        One rate; one a tensor; one a single parameter (Meta-SGD); one a step; one a tensor and
        step (MAML++).
    learned : bool, default=False
        Whether the outer loop learns the rates.
    order : {"second", "first", "implicit"}, default="second"
        How the outer gradient passes through the inner steps: through all of it (MAML), as if the
        inner gradients were constant (FOMAML), or by the implicit function theorem (iMAML).
    adapted : tuple of str, default=("*",)
        Names of the parameters that adapt, wildcards as in file names: ("head.*",) is ANIL.
    clip : float, optional
        Largest norm of a task's whole gradient.
    weight_decay : float, default=0.0
    proximal : float, default=0.0
        Pull towards the initialisation; order "implicit" needs it above 0.
    solver_steps : int, default=10
        Conjugate gradient steps of order "implicit".

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    rate: float = 0.01
    rates: RateShape = "scalar"
    learned: bool = False
    order: Order = "second"
    adapted: tuple[str, ...] = ("*",)
    clip: float | None = None
    weight_decay: float = 0.0
    proximal: float = 0.0
    solver_steps: int = 10

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("rates", self.rates, get_args(RateShape)),
            ("order", self.order, get_args(Order)),
        ):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        if self.rate <= 0:
            raise ValueError(f"rate is {self.rate}; it must be positive")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip is {self.clip}; it must be positive, or None")
        if min(self.weight_decay, self.proximal) < 0:
            raise ValueError("weight_decay and proximal must not be negative")
        if self.order == "implicit" and self.proximal == 0:
            raise ValueError("order 'implicit' needs proximal above 0: it holds phi near theta")
        if self.order == "implicit" and self.learned:
            raise ValueError("order 'implicit' cannot learn rates: its solution has none in it")

    def adapts(self, name: str) -> bool:
        """Tell whether the parameter of this name adapts."""
        return any(fnmatchcase(name, pattern) for pattern in self.adapted)

    def initial_log_rates(self, theta: Mapping[str, Tensor], steps: int) -> Params:
        """Return the logarithms of the rates as the outer loop starts with them.

        Parameters
        ----------
        theta : mapping of str to Tensor
            The initialisation, without a task dimension.
        steps : int
            How many steps have rates of their own, where steps do; later ones take the last.

        Raises
        ------
        ValueError
            If no parameter adapts.
        """
        adapted = {name: tensor for name, tensor in theta.items() if self.adapts(name)}
        if not adapted:
            raise ValueError(f"no parameter matches {self.adapted}; there are {', '.join(theta)}")
        steps = max(steps, 1)
        if self.rates in ("scalar", "step"):
            shapes: dict[str, tuple[int, ...]] = {"all": (steps,) if self.rates == "step" else ()}
        else:
            own: dict[str, Callable[[Tensor], tuple[int, ...]]] = {
                "tensor": lambda _: (),
                "tensor_step": lambda _: (steps,),
                "parameter": lambda tensor: tuple(tensor.shape),
            }
            shapes = {name: own[self.rates](tensor) for name, tensor in adapted.items()}
        like = next(iter(theta.values()))
        log = torch.log(torch.tensor(self.rate, dtype=torch.float64)).to(like)
        return {name: log.expand(shape).clone() for name, shape in shapes.items()}

    def rate_at(self, rates: Mapping[str, Tensor], name: str, step: int) -> Tensor:
        """Return the rate of a parameter at a step: a scalar, or its shape for "parameter".

        Parameters
        ----------
        rates : mapping of str to Tensor
            exp of what :meth:`initial_log_rates` returned.
        name : str
        step : int
        """
        rate = rates["all" if self.rates in ("scalar", "step") else name]
        if self.rates in ("step", "tensor_step"):
            rate = rate[min(step, len(rate) - 1)]
        return rate
