"""Random search."""

from __future__ import annotations

import numpy as np

from metahpo.bench.problem import Problem
from metahpo.space import Config


class RandomSearch:
    """Draw from the space, or from the candidates without replacement."""

    def __init__(self, problem: Problem) -> None:
        self._space = problem.space
        self._rng = np.random.default_rng(problem.seed)
        self._left: list[Config] = []
        if problem.candidates is not None:
            rows = problem.configs()
            self._left = [rows[i] for i in self._rng.permutation(len(rows))]

    def ask(self) -> Config:
        """Return the next draw."""
        if self._left:
            return self._left.pop()
        return self._space.sample(1, seed=int(self._rng.integers(2**31)), method="random")[0]

    def tell(self, config: Config, score: float) -> None:
        """Learn nothing."""
