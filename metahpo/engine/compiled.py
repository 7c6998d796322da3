"""Compiled outer gradients: inner and outer backward passes as one graph.

torch.compile alone refuses a backward pass through a backward pass; traced first, gradients and
all, the function is plain tensor operations, which it compiles like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from metahpo.engine.episodes import Episodes
from metahpo.engine.rule import Params

Weighted = Callable[[Params, Episodes, int, Tensor], tuple[Params, Tensor]]
_MOST_GRAPHS = 16  # a compilation takes seconds: tasks that always differ in size run eagerly


class Compiled:
    """A function of parameters, episodes, a number of steps and weights, compiled on first use.

    Every combination of shapes and number of steps has a graph of its own; past the first
    sixteen, new ones run as they are.
    """

    def __init__(self, function: Weighted) -> None:
        self._function = function
        self._graphs: dict[object, Callable[..., tuple[Params, Tensor]]] = {}

    def __call__(
        self, parameters: Params, episodes: Episodes, steps: int, weights: Tensor
    ) -> tuple[Params, Tensor]:
        """Return what the function returns."""
        columns = {f.name: getattr(episodes, f.name) for f in fields(episodes)}
        tensors = {name: c for name, c in columns.items() if c is not None}
        shapes = tuple((name, c.shape, c.dtype) for name, c in tensors.items())
        key = (shapes, steps, len(weights), torch.is_autocast_enabled(weights.device.type))
        if key not in self._graphs:
            if len(self._graphs) >= _MOST_GRAPHS:
                return self._function(parameters, episodes, steps, weights)
            self._graphs[key] = self._compile(parameters, tensors, steps, weights)
        with torch.no_grad():
            return self._graphs[key](
                {name: p.detach() for name, p in parameters.items()}, tensors, weights
            )

    def _compile(
        self, parameters: Params, tensors: Params, steps: int, weights: Tensor
    ) -> Callable[..., tuple[Params, Tensor]]:
        def flat(parameters: Params, tensors: Params, weights: Tensor) -> tuple[Params, Tensor]:
            return self._function(parameters, Episodes(**tensors), steps, weights)

        leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        graph = make_fx(flat)(leaves, tensors, weights)
        compiled: Callable[..., tuple[Params, Tensor]] = torch.compile(graph)
        return compiled
