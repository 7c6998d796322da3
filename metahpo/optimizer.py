"""MetaOptimizer: ask for a configuration, tell its score. All tuning goes through here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from metahpo.candidates import Candidates
from metahpo.metadataset import Direction, check_direction
from metahpo.metamodel import MetaModel
from metahpo.observed import checked_fixed
from metahpo.parameter import identity
from metahpo.portfolio import greedy_portfolio
from metahpo.proposals import Proposals
from metahpo.space import Config, Space, as_space
from metahpo.surrogate.cost import CostBelief
from metahpo.surrogate.scores import told
from metahpo.transfer import Transfer, TransferReport
from metahpo.tried import Tried

if TYPE_CHECKING:
    from metahpo.surrogate.study import Prior, StudyBelief

Array = NDArray[np.float64]

_INCUMBENTS = 5  # the best trials that candidates are drawn around
_LOCAL = 300  # candidates that are
_ROUGH = 8  # components of the belief that choose the short list of candidates
_SHORT_LIST = 200  # candidates that are judged by all of them
_ROUNDS = 2  # of drawing more candidates, around the most promising
_PROMISING = 5  # of these
_STEP = 400  # of those, a round
_DRAWN = 64  # configurations among which one is found that has not been tried
# scored trials before which only what an earlier task has tried is chosen: where no earlier task
# helps, and where one surely does and the space is all theirs
_REMEMBERED = (3, 20)
_SHARE = 0.2  # of what they have tried: behind it little is left that was good anywhere
_RECALLED = 8  # number of the first trial that is the greedy portfolio's whatever is believed
_NEIGHBOURS = 5  # tasks that an explanation names
_EXPLAINED = 0.8  # share of the scores that its interval holds
_OVERHEAD = 0.05  # seconds that a trial takes beside its evaluation
_VAST = 1e100  # no score, nor seconds: its square is infinite


@dataclass(frozen=True)
class Explanation:
    """Why a configuration is worth trying.

    Attributes
    ----------
    mean, low, high : float
        Predicted score, and the interval that should hold it with 80%; see
        :meth:`MetaOptimizer.predict` for when it holds fewer. NaN before the first trial, when
        the scores' scale is unknown.
    expected_rank : float
        Where it is expected to stand between this task's worst score, 0, and its best, 1, by the
        training tasks alone.
    trust : float
        In [0, 1]: how far the training tasks can be relied on here, see
        :attr:`MetaOptimizer.trust`.
    tasks : DataFrame
        The training tasks that count most: ``name``, ``weight``, ``distance`` (by meta-features),
        and ``rank``, where the configuration is predicted to stand on each, from 0 to 1.
    """

    mean: float
    low: float
    high: float
    expected_rank: float
    trust: float
    tasks: pd.DataFrame


class MetaOptimizer:
    """Sequential tuning from a meta-model's experience and the study's own trials.

    Parameters
    ----------
    model : MetaModel
    meta_features : mapping of str to float, optional
        Of the dataset, from :func:`metahpo.describe`. None: all training tasks count equally.
    space : Space or mapping of str to Optuna distribution, optional
        What is searched; the model's own space by default. It may differ from the model's: see
        ``transfer``. A mapping is a space without conditions.
    candidates : DataFrame, optional
        Restricts the search to these rows: one column a parameter, missing where inactive.
    seed : int or None, default=0
    fixed : mapping, optional
        Values of known parameters that the space does not search.
    direction : {"maximize", "minimize"}, optional
        Of the scores told; the model's by default.
    cost_aware : bool, default=False
        Whether what an evaluation takes counts: the largest expected improvement per second is
        asked for, instead of the largest. For budgets in time.

    Attributes
    ----------
    transfer : TransferReport
        What of the space is known to the model.
    trials : list of (dict, float)
        What was told, in order; NaN where it failed.

    Raises
    ------
    ValueError
        If `meta_features` are none of the model's or no numbers; if the space has no parameter;
        if `candidates` is empty, has none of the parameters, or holds what the space cannot; if
        `fixed` names what the model does not know; if `direction` is none; or if `cost_aware` is
        asked of a model that was trained without seconds.
    TypeError
        If `model` is no MetaModel, `meta_features` no mapping, `space` no space, or `candidates`
        no table.

    Notes
    -----
    The first configurations are chosen among those that earlier tasks have tried, for 3 to 20
    trials with a score: the longer, the surer it is that such a task is like this one, and the
    more of what they have tried the space can hold; but beyond 3 no longer than for a fifth of
    what they have tried. No seed moves these. The 8th, 16th, 32nd, ... trial is the next of the
    greedy portfolio, as the first is, whatever the trials have shown.

    Examples
    --------
    >>> opt = MetaOptimizer(MetaModel.load("default", learner="svc"))  # doctest: +SKIP
    >>> config = opt.ask()                                             # doctest: +SKIP
    >>> opt.tell(config, 0.91)                                         # doctest: +SKIP
    """

    def __init__(
        self,
        model: MetaModel,
        meta_features: Mapping[str, float] | None = None,
        space: Space | Mapping[str, BaseDistribution] | None = None,
        candidates: pd.DataFrame | None = None,
        seed: int | None = 0,
        *,
        fixed: Mapping[str, Any] | None = None,
        direction: Direction | None = None,
        cost_aware: bool = False,
    ) -> None:
        self.model = _checked_model(model)
        self.cost_aware = cost_aware
        self.meta_features = meta_features
        searched = model.space if space is None else as_space(space)
        self.space = model.space if searched == model.space else searched
        if not len(self.space):
            raise ValueError("the space has no parameter; give one to search, as space=...")
        self.direction: Direction = check_direction(direction or model.direction)
        self.trials: list[tuple[Config, float]] = []
        self._transfer = Transfer(self.space, model.space, checked_fixed(fixed or {}, model.space))
        self._log_relevance = model.relevance.log_weights(meta_features)
        self._rng = np.random.default_rng(seed)
        self._proposals = Proposals(model, self.space, self._transfer, self._rng)
        self._pending: list[Config] = []
        self._seconds: list[float] = []
        self._first_cost = model.cost_belief(meta_features) if cost_aware else None
        self._viewed = self._proposals.view([])
        self._given: Candidates | None = None
        if candidates is not None:
            self._given = self._proposals.view(_rows(candidates, self.space))
            if not len(self._given):
                raise ValueError("candidates is empty; there is nothing to choose from")

    def afresh(self, seed: int | None = 0) -> MetaOptimizer:
        """Return an optimizer like this one that has been told nothing.

        It shares what has been computed, which is most of what asking takes: of the space, and of
        the trials, for where it is told the same ones.

        Parameters
        ----------
        seed : int or None, default=0
        """
        fresh = copy(self)
        fresh.trials, fresh._pending, fresh._seconds = [], [], []
        fresh._rng = np.random.default_rng(seed)
        fresh._proposals = self._proposals.afresh(fresh._rng)
        fresh._viewed = fresh._proposals.view([])
        if "_prior" in vars(fresh):
            fresh._prior = replace(fresh._prior)  # without the candidates that it has looked at
        return fresh

    @property
    def transfer(self) -> TransferReport:
        """What of the space is known to the model: mapped, clipped, fixed, unknown."""
        return self._transfer.report

    @property
    def trust(self) -> float:
        """How far the training tasks can be relied on here: 1 wholly, 0 not at all.

        The posterior probability that some training task is like this one, times the share of
        the scores' variation over the trials that the training tasks foretell; 0.9 before there
        are trials to judge by.
        """
        return _trust(self._belief())

    @property
    def best(self) -> tuple[Config, float] | None:
        """The best trial so far and its score; None while every trial has failed."""
        finite = [trial for trial in self.trials if not math.isnan(trial[1])]
        if not finite:
            return None
        pick = max if self.direction == "maximize" else min
        return pick(finite, key=lambda trial: trial[1])

    # ------------------------------------------------------------------ ask and tell

    @overload
    def ask(self, *, within: Space | None = None) -> Config: ...

    @overload
    def ask(self, n: int, *, within: Space | None = None) -> list[Config]: ...

    def ask(self, n: int | None = None, *, within: Space | None = None) -> Config | list[Config]:
        """Return the configuration to try next, or a list of `n` to try side by side.

        Parameters
        ----------
        n : int, optional
        within : Space, optional
            A part of the space to choose from: narrower or single-valued distributions of the
            same parameters. The belief stays that of the whole space.

        Raises
        ------
        ValueError
            If `candidates` was given and every row has been tried, or if it was given together
            with `within`; or if `n` is below 1.
        """
        if within is not None and self._given is not None:
            raise ValueError("ask(within=...) and candidates exclude each other")
        if n is None:
            config = self._next(self.space if within is None else within)
            self._pending.append(config)
            return dict(config)
        if n < 1:
            raise ValueError(f"n is {n}; give 1 or more")
        before = len(self._pending)
        try:
            return [self.ask(within=within) for _ in range(n)]
        except ValueError:
            del self._pending[before:]  # of these nobody will tell a score
            raise

    def begin(self, config: Mapping[str, Any]) -> None:
        """Report a configuration whose evaluation has begun without being asked for here.

        Until its score is told, :meth:`ask` keeps clear of it.

        Raises
        ------
        ValueError
            If the space cannot hold the configuration.
        """
        self._pending.append(self.space.validate(config, partial=True))

    def anticipate(self, within: Space) -> None:
        """Report that elsewhere a trial is being chosen by an optimizer like this one.

        What it chooses is taken to be the best of what is known to be good: of all candidates
        that alone could be chosen twice.

        Parameters
        ----------
        within : Space
            As for :meth:`ask`: what of that trial is known.
        """
        self._pending.append(self._next(within, known_alone=True))

    def tell(
        self, config: Mapping[str, Any], score: float, *, seconds: float | None = None
    ) -> None:
        """Report the score of a configuration, asked for or not.

        Parameters
        ----------
        config : mapping
        score : float
            In the metric's own unit; NaN for a failed trial, as which anything infinite or
            beyond 1e100 counts.
        seconds : float, optional
            What the evaluation took, if finite; of use to a ``cost_aware`` optimizer.

        Raises
        ------
        ValueError
            If the space cannot hold the configuration, or `score` or `seconds` is no number.
        """
        valid = self.space.validate(config, partial=True)
        scored = _finite(score, "score", "NaN for a failed trial")
        took = math.nan if seconds is None else _finite(seconds, "seconds", "None if not known")
        self._end(valid)
        self.trials.append((valid, scored))
        self._seconds.append(took)

    def forget(self, config: Mapping[str, Any]) -> None:
        """Report that the score of a configuration that was asked for will never be told.

        It may be asked for again.

        Raises
        ------
        ValueError
            If the configuration is not among those whose score is awaited.
        """
        if not self._end(self.space.validate(config, partial=True)):
            raise ValueError(f"no score of {dict(config)} is awaited; nothing can be forgotten")

    def _end(self, config: Config) -> bool:
        """Await the score of a configuration no longer; of several that are equal, of one."""
        keys = [_key(pending) for pending in self._pending]
        if (key := _key(config)) not in keys:
            return False
        del self._pending[keys.index(key)]
        return True

    def _next(self, within: Space, *, known_alone: bool = False) -> Config:
        tried = Tried.of(self.space, self.trials, self._tried.codes, self._pending)
        candidates = self._given or self._proposals.remembered(within, tried)
        free = tried.free(candidates)
        if free.any() and self._recalls():
            return candidates.config(self._portfolio_pick(candidates, free))
        belief = self._belief(fantasies=True)
        drawing = not (known_alone or self._given or belief is None) and (
            self._ventures(belief) or not free.any()
        )
        if drawing:
            drawn = self._proposals.spread(within, len(self.trials))
            drawn = drawn + self._proposals.near(within, self._incumbents(), _LOCAL)
            candidates = candidates + drawn
            free = np.concatenate([free, tried.free(drawn)])
        if self._given is not None and not free.any():
            raise ValueError(f"all {len(candidates)} candidates have been tried")
        if belief is None or not free.any():
            return self._any(within, tried)
        promising = np.flatnonzero(free)
        if len(promising) > _SHORT_LIST:
            glance = belief.glance(candidates.phi, candidates.codes.array, of=_ROUGH)
            rough = (glance / self._price(candidates))[promising]
            promising = promising[np.argsort(-rough, kind="stable")[:_SHORT_LIST]]
        short = candidates.take(promising)
        gain = self._gain(belief, short)
        for _ in range(_ROUNDS if drawing else 0):
            short, gain = self._nearer(within, belief, short, gain, tried)
        return short.config(int(gain.argmax()))

    def _any(self, within: Space, tried: Tried) -> Config:
        """Draw a configuration, one that has not been tried if some are left."""
        seed = int(self._rng.integers(2**31))
        drawn = self._proposals.view(within.sample(_DRAWN, seed=seed, method="random"))
        return drawn.config(int(tried.free(drawn).argmax()))  # the first, where none is

    def _recalls(self) -> bool:
        """Whether the next trial is what the training tasks alone say, whatever trials have shown.

        The first trials may rule out the tasks that this one is like, and what a belief has ruled
        out it looks for no more. To look again each time that the trials have doubled costs few.
        """
        number = len(self.trials) + len(self._pending) + 1
        return self._n_scored == 0 or (number >= _RECALLED and number.bit_count() == 1)

    def _ventures(self, belief: StudyBelief) -> bool:
        """Whether what no earlier task has tried may be chosen.

        Of thousands of such configurations the most promising is the one of which too much is
        expected. What has been tried is better known: while there is enough of it, that pays.
        """
        least, most = _REMEMBERED
        enough = min(most, max(least, _SHARE * len(self.model.pool)))
        known = (1.0 - float(belief.task_weight[-1])) * self._proposals.coverage
        return self._n_scored >= least + known * (enough - least)

    def _gain(self, belief: StudyBelief, candidates: Candidates) -> Array:
        """Return the expected improvement for its price, by all that is believed."""
        gain = belief.expected_improvement(candidates.phi, candidates.codes.array)
        return gain / self._price(candidates)

    def _nearer(
        self, within: Space, belief: StudyBelief, short: Candidates, gain: Array, tried: Tried
    ) -> tuple[Candidates, Array]:
        """Draw more around the most promising; return both, and what they promise."""
        best = np.argsort(-gain, kind="stable")[:_PROMISING]
        short, gain = short.take(best), gain[best]
        near = self._proposals.near(within, short, _STEP)
        near = near.take(np.flatnonzero(tried.free(near)))
        return short + near, np.concatenate([gain, self._gain(belief, near)])

    def _incumbents(self) -> Candidates:
        """Return the best trials."""
        scores = np.array([score for _, score in self.trials])
        sign = -1.0 if self.direction == "maximize" else 1.0
        best = np.argsort(sign * scores, kind="stable")  # NaN last
        return self._tried.take(best[: min(_INCUMBENTS, self._n_scored)])

    @property
    def _n_scored(self) -> int:
        return sum(not math.isnan(score) for _, score in self.trials)

    def _portfolio_pick(self, candidates: Candidates, free: NDArray[np.bool_]) -> int:
        """Pick what adds most to what was tried or is running; failed trials cover nothing."""
        scored = [not math.isnan(score) for _, score in self.trials]
        running = self._proposals.view(self._pending)
        covered = np.concatenate([self._tried.phi[scored], running.phi])
        utilities = self.model.utilities(np.concatenate([candidates.phi, covered]))
        chosen = range(len(candidates), len(utilities))
        weights = np.exp(self._log_relevance)
        price = np.pad(self._price(candidates), (0, len(covered)), constant_values=1.0)
        return greedy_portfolio(utilities, weights, 1, chosen, np.flatnonzero(~free), price)[0]

    # ------------------------------------------------------------------ belief

    @property
    def _tried(self) -> Candidates:
        """The trials, viewed once each."""
        new = self.trials[len(self._viewed) :]
        if new:
            self._viewed = self._viewed + self._proposals.view([config for config, _ in new])
        return self._viewed

    def _belief(self, *, fantasies: bool = False) -> StudyBelief | None:
        """Condition on the trials; None while no trial has a score.

        With `fantasies`, running trials count as if they had come out as predicted.
        """
        if self._n_scored == 0:
            return None
        y = self._oriented_scores()
        belief = self._condition(self._tried, y)
        if fantasies and self._pending:
            running = self._proposals.view(self._pending)
            expected, _ = belief.predict(running.phi, running.codes.array)
            belief = self._condition(self._tried + running, np.concatenate([y, expected]))
        return belief

    def _condition(self, trials: Candidates, y: Array) -> StudyBelief:
        return self._prior.condition(trials.phi, trials.codes.array, y)

    @cached_property
    def _prior(self) -> Prior:
        return self.model.prior(self.meta_features, self.space)

    def _oriented_scores(self) -> Array:
        scores = np.array([score for _, score in self.trials])
        return told(scores if self.direction == "maximize" else -scores)

    # ------------------------------------------------------------------ cost

    def predict_seconds(
        self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame
    ) -> NDArray[np.float64]:
        """Predict what evaluations take, in seconds: the medians of what is believed.

        Parameters
        ----------
        configs : sequence of mapping, or DataFrame
            As for :meth:`predict`.

        Raises
        ------
        ValueError
            If the optimizer is not ``cost_aware``, or the space cannot hold a configuration.
        TypeError
            If `configs` is a single configuration.
        """
        belief = self._cost
        if belief is None:
            raise ValueError("this optimizer knows no seconds; make it with cost_aware=True")
        viewed = self._proposals.view(self._valid(configs))
        return belief.seconds(self.model.cost_features(viewed.known))

    @property
    def _cost(self) -> CostBelief | None:
        """What is believed of the seconds, given what the trials took; None if they count not."""
        if self._first_cost is None or not self.trials:
            return self._first_cost
        phi = self.model.cost_features(self._tried.known)
        return self._first_cost.given(phi, np.array(self._seconds))

    def _price(self, candidates: Candidates) -> Array:
        """Return what improvements are divided by: seconds a trial, or 1 where they count not."""
        belief = self._cost
        if belief is None:
            return np.ones(len(candidates))
        return belief.seconds(self.model.cost_features(candidates.known)) + _OVERHEAD

    # ------------------------------------------------------------------ explanation

    def predict(
        self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame, coverage: float = 0.8
    ) -> pd.DataFrame:
        """Predict the scores of configurations, many at once.

        Parameters
        ----------
        configs : sequence of mapping, or DataFrame
            In a table: one column a parameter, missing where inactive.
        coverage : float, default=0.8
            Share of the scores that the intervals are to hold, in (0, 1). They hold far fewer
            where the model has not learned how far predictions miss, for which it takes 4 tasks
            of 10 evaluations or more, one of them of 50.

        Returns
        -------
        DataFrame
            One row a configuration, ``mean``, ``low`` and ``high``, in the scores' own unit. NaN
            before the first trial that has a score, when that unit is unknown.

        Raises
        ------
        ValueError
            If the space cannot hold a configuration, or `coverage` is no such share.
        TypeError
            If `configs` is a single configuration.
        """
        if not 0.0 < coverage < 1.0:
            raise ValueError(f"coverage is {coverage}; give a share between 0 and 1")
        viewed = self._proposals.view(self._valid(configs))
        predicted = self._predicted(self._belief(), viewed, coverage)
        return pd.DataFrame(predicted, columns=["mean", "low", "high"])

    def _predicted(self, belief: StudyBelief | None, viewed: Candidates, coverage: float) -> Array:
        if belief is None or not len(viewed):
            return np.full((len(viewed), 3), np.nan)
        phi, X = viewed.phi, viewed.codes.array
        tail = (1 - coverage) / 2
        mean, _ = belief.predict(phi, X)
        low, high = belief.quantiles(phi, X, (tail, 1 - tail)).T
        # where scores are skewed a narrow interval may lie beside the mean
        predicted = np.column_stack([mean, np.minimum(low, mean), np.maximum(high, mean)])
        return predicted if self.direction == "maximize" else -predicted[:, [0, 2, 1]]

    def _valid(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> list[Config]:
        if isinstance(configs, pd.DataFrame):
            return _rows(configs, self.space)
        if isinstance(configs, Mapping):
            raise TypeError("configs is a single configuration; give a list of them: [config]")
        return [self.space.validate(config, partial=True) for config in configs]

    def explain(self, config: Mapping[str, Any]) -> Explanation:
        """Say what is expected of a configuration, and on which earlier tasks that rests."""
        valid = self.space.validate(config, partial=True)
        viewed = self._proposals.view([valid])
        prior = np.exp(self._log_relevance)
        rank = self.model.utilities(viewed.phi)[0]
        belief, weights = self._belief(), prior
        mean, low, high = self._predicted(belief, viewed, _EXPLAINED)[0]
        if belief is not None:
            weights = belief.task_weight[:-1] / max(belief.task_weight[:-1].sum(), 1e-12)
        names = self.model.card.get("tasks", {})
        tasks = pd.DataFrame(
            {
                "name": [names.get(t, t) for t in self.model.task_ids],
                "weight": weights,
                "distance": self.model.relevance.distances(self.meta_features),
                "rank": rank,
            },
            index=pd.Index(self.model.task_ids, name="task_id"),
        )
        return Explanation(
            mean=float(mean),
            low=float(low),
            high=float(high),
            expected_rank=float(rank @ prior),
            trust=_trust(belief),
            tasks=tasks.nlargest(_NEIGHBOURS, "weight"),
        )


def _checked_model(model: Any) -> MetaModel:
    if not isinstance(model, MetaModel):
        raise TypeError(
            f"model is {_said(model)}; a MetaModel is needed: "
            'MetaModel.load("default", learner=...) loads one'
        )
    return model


def _finite(value: float, name: str, otherwise: str) -> float:
    """Return a number, NaN where it is vast, or say what else to give."""
    try:
        return float(value) if math.fabs(value) < _VAST else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        return math.nan
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {_said(value)}; give a number, {otherwise}") from None


def _said(value: Any) -> str:
    """Say a value where it is short, else its kind."""
    short = value is None or isinstance(value, str)
    return repr(value) if short else f"of type {type(value).__name__}"


def _trust(belief: StudyBelief | None) -> float:
    return 0.9 if belief is None else belief.trust


def _rows(candidates: pd.DataFrame, space: Space) -> list[Config]:
    """Read candidates as they stand, so that rows can be found again.

    An int in a column of floats becomes one again; an empty cell is the choice None where that is
    one and the parameter is active.
    """
    if not isinstance(candidates, pd.DataFrame):
        raise TypeError(
            f"candidates is {_said(candidates)}; give a DataFrame, as space.to_frame(configs) is"
        )
    named = candidates[[name for name in space.names if name in candidates]]
    if not named.shape[1]:
        raise ValueError(f"candidates has no column of {', '.join(space.names)}")
    rows = zip(space.from_frame(named), named.to_dict("records"), strict=True)
    found = [
        {
            name: value if value is None or type(value) is int else row[name]
            for name, value in config.items()
            if name in row
        }
        for config, row in rows
    ]
    for config in found:
        space.validate(config, partial=True)
    return found


def _key(config: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset((name, identity(value)) for name, value in config.items())
