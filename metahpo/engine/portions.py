"""Portions: into how many parts a batch of tasks is cut, so that a part's tensors stay in cache.

On a processor, whole batches of images lose: what autograd keeps of them outgrows the cache, and
every large tensor is fetched from the system anew. Small networks lose by being cut: there, every
call costs more than what it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor

from metahpo.engine.episodes import Episodes
from metahpo.engine.rule import Params

_CACHE = 32 * 2**20  # bytes: what a processor's last cache holds, give or take a factor of 2


class Portions:
    """How many parts batches of tasks are computed in, found on one task of each size.

    Parameters
    ----------
    compute : callable
        Compute an outer gradient from parameters and episodes. What it keeps must depend on
        shapes alone, so that a training taken up again is cut as it was.
    """

    def __init__(self, compute: Callable[[Params, Episodes], object]) -> None:
        self._compute = compute
        self._kept: dict[tuple[torch.Size, torch.Size], int] = {}

    def __call__(self, parameters: Params, episodes: Episodes) -> int:
        """Return the number of parts: 1 on a GPU, at most one a task."""
        if episodes.query_x.device.type != "cpu":
            return 1
        sizes = (episodes.support_x.shape[1:], episodes.query_x.shape[1:])
        if sizes not in self._kept:
            one = episodes.split(len(episodes))[0]
            self._kept[sizes] = kept_bytes(lambda: self._compute(parameters, one))
        return min(len(episodes), max(1, ceil(len(episodes) * self._kept[sizes] / _CACHE)))


def kept_bytes(compute: Callable[[], object]) -> int:
    """Return how many bytes autograd keeps for gradients while something is computed."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        size = min(tensor.nbytes, storage.nbytes())  # of one task's view, of what is expanded
        storages[storage.data_ptr()] = max(size, storages.get(storage.data_ptr(), 0))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    return sum(storages.values())
