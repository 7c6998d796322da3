"""Proposals: where the configurations come from among which a study's next trial is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property

import numpy as np

from metahpo.candidates import Array, Candidates, Drawn, around
from metahpo.metamodel import MetaModel
from metahpo.space import Codes, Config, Space
from metahpo.transfer import Transfer
from metahpo.tried import Tried

_SPREAD = 2500  # configurations drawn over the whole space
_LASTING = 8  # trials for which they stay the same: viewing them takes long


class Proposals:
    """Configurations of one study's space, viewed as its belief reads them.

    Parameters
    ----------
    model : MetaModel
    space : Space
        The study's own.
    transfer : Transfer
        From that space to the model's.
    rng : numpy.random.Generator
    """

    def __init__(
        self, model: MetaModel, space: Space, transfer: Transfer, rng: np.random.Generator
    ) -> None:
        self._model = model
        self._space = space
        self._transfer = transfer
        self._rng = rng
        self._scattered: tuple[Space, int, Candidates] | None = None

    def afresh(self, rng: np.random.Generator) -> Proposals:
        """Return the proposals of a study that begins; what is known of the space is shared."""
        fresh = copy(self)
        fresh._rng, fresh._scattered = rng, None
        return fresh

    def view(self, configs: Sequence[Config]) -> Candidates:
        """View configurations both ways: as learned features, and in the study's own code."""
        return self._viewed(self._space.codes(configs), configs)

    @cached_property
    def _known(self) -> Candidates:
        """The configurations that are known to be good somewhere, and the default."""
        default = self.view([self._space.default])
        if self._transfer.trivial:
            return default + self._model.pool_view
        return default + self.view(self._transfer.to_user(self._model.pool))

    @cached_property
    def coverage(self) -> float:
        """How far earlier tasks have tried what can be tried here, from 0 to 1.

        The share of the configurations known to be good somewhere that the space holds as they
        are; 0 where it goes beyond what the model knows.
        """
        report, pool = self._transfer.report, self._model.pool_view.codes.row_keys
        if report.unknown or report.clipped or not pool:
            return 0.0
        read = self._known.known.row_keys[1:]  # behind the default
        return sum(a == b for a, b in zip(read, pool, strict=True)) / len(pool)

    def remembered(self, within: Space, tried: Tried) -> Candidates:
        """Return what is known to be good, moved into a part of the space."""
        if within is self._space:
            return self._known
        known = [self._known.config(i) for i in range(len(self._known))]
        inside = within.nearest(self._space.to_frame(known))
        # what is decided may be a part of something remembered: then the rest belongs to it
        decided = [name for name, d in within.distributions.items() if d.single()]
        whole = [
            config
            for config, original in zip(inside, known, strict=True)
            if all(config.get(name) == original.get(name) for name in decided)
        ]
        viewed = self.view(whole)
        free = np.flatnonzero(tried.free(viewed))
        return viewed.take(free) if len(free) else self.view(inside)

    def spread(self, within: Space, turn: int) -> Candidates:
        """Draw configurations over a part of the space, others only every few turns."""
        period = turn // _LASTING
        if self._scattered is None or self._scattered[:2] != (within, period):
            rows = within.draw(_SPREAD, seed=int(self._rng.integers(2**31)))
            self._scattered = within, period, self._view_rows(within, rows)
        return self._scattered[2]

    def near(self, within: Space, start: Candidates, n: int) -> Candidates:
        """Draw `n` configurations around given ones."""
        codes = start.codes
        if within is not self._space:
            configs = self._space.to_frame([start.config(i) for i in range(len(start))])
            codes = within.codes(within.nearest(configs))
        return self._view_rows(within, around(within, codes, n, self._rng))

    def _view_rows(self, within: Space, rows: Array) -> Candidates:
        """View encoded rows, without decoding them where that can wait."""
        if within is not self._space:
            return self.view(within.decode(rows))
        return self._viewed(self._space.snap(rows), Drawn(self._space, rows))

    def _viewed(self, codes: Codes, configs: Sequence[Config] | Drawn) -> Candidates:
        known = self._transfer.to_model(codes)
        return Candidates.of(codes, self._model.encode(known), known, configs)
