"""Tried: what a study need not try again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metahpo.candidates import Candidates
from metahpo.space import Codes, Config, Space

Part = tuple[NDArray[np.intp], bytes]
"""Columns of a code, and the key of what stands there."""


@dataclass(frozen=True)
class Tried:
    """Configurations that were tried or are running, and parts of some that have failed.

    An objective need not use all of a space. Where a trial has failed that showed a part of a
    configuration alone, all that agree with it there would show the same, and fail again; unless
    one that does has gone well.
    """

    keys: set[bytes]
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(
        cls,
        space: Space,
        trials: Sequence[tuple[Config, float]],
        codes: Codes,
        running: Sequence[Config],
    ) -> Tried:
        """Look at a study's trials, NaN the score of those that failed, as told and encoded."""
        keys = {*codes.row_keys, *space.codes(running).row_keys}
        failed = np.isnan([score for _, score in trials])
        parts = []
        for i in np.flatnonzero(failed).tolist():
            config = trials[i][0]
            if config and config.keys() != set(space.active(config)):
                columns = np.concatenate([np.r_[space.slices[name]] for name in config])
                part = columns, _keys(codes, columns)[i]
                if not _agree(part, codes)[~failed].any():
                    parts.append(part)
        return cls(keys, tuple(parts))

    def free(self, candidates: Candidates) -> NDArray[np.bool_]:
        """Tell which of some configurations may be tried."""
        free = np.array([key not in self.keys for key in candidates.codes.row_keys], dtype=bool)
        for part in self.parts:
            free &= ~_agree(part, candidates.codes)
        return free


def _agree(part: Part, codes: Codes) -> NDArray[np.bool_]:
    columns, own = part
    return np.array([key == own for key in _keys(codes, columns)], dtype=bool)


def _keys(codes: Codes, columns: NDArray[np.intp]) -> list[bytes]:
    return Codes(codes.array[:, columns], codes.active[:, columns]).row_keys
