"""Rehearsal: tasks that a model was not trained on show how it fares, and teach it to adapt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import comb

from metahpo.metadataset import MetaDataset
from metahpo.portfolio import greedy_portfolio
from metahpo.surrogate.calibration import (
    Calibration,
    Look,
    is_learnable,
    learn_calibration,
    rehearse,
)
from metahpo.surrogate.features import FeatureOptions, Floats
from metahpo.surrogate.stopping import steps_that_pay
from metahpo.training import oriented_scores, ranked, seconds_of

if TYPE_CHECKING:
    from metahpo.metamodel import MetaModel
    from metahpo.surrogate.study import Prior

Array = NDArray[np.float64]

_SHOWN = (1, 2, 5, 10)  # numbers of suggestions for which the card says what they reach
_CAP = 5.0  # the largest regret that enters a mean: beyond, a trial is simply bad
_HELD_OUT = 0.2  # share of the tasks that are held out
_MOST_HELD_OUT = 100  # more hardly tell more, and each is held against every training task
_ROWS = 500  # a held-out task's evaluations that are learned from, at most
_TELLING = 4  # tasks held out of which fewer say nothing of how long to train
_REHEARSED = 60  # tasks on which studies are played, each as long as tuning it takes


def splits(md: MetaDataset, *, seed: int) -> list[tuple[MetaDataset, MetaDataset]]:
    """Divide the tasks into those to train on and those held out, families whole.

    Returns
    -------
    list of (MetaDataset, MetaDataset)
        As many divisions, each with others held out, as it takes to rehearse on enough tasks, or
        until fewer are left; one where tasks are too small for that, none where they are too few.
    """
    groups = _families(md)
    names = sorted(set(groups.values()))
    n_held = min(round(_HELD_OUT * len(names)), _MOST_HELD_OUT)
    if n_held == 0 or len(names) - n_held < 2:
        return []
    drawn = np.random.default_rng(seed).permutation(names)
    rehearsed = is_learnable([len(scores) for scores in oriented_scores(md).values()])
    parts: list[tuple[MetaDataset, MetaDataset]] = []
    for start in range(0, len(names) - n_held + 1, n_held):
        held = set(drawn[start : start + n_held])
        own = md.subset(t for t in md.task_ids if groups[t] not in held)
        parts.append((own, md.subset(t for t in md.task_ids if groups[t] in held)))
        if not rehearsed or sum(len(out.task_ids) for _, out in parts) >= _REHEARSED:
            break
    return parts


def paying_steps(
    own: MetaDataset,
    held: MetaDataset,
    options: FeatureOptions | None = None,
    *,
    device: str,
    seed: int,
) -> int | None:
    """Return for how many steps it pays to train on scores; None where options say how many.

    None, too, where fewer tasks are held out than can tell.
    """
    options = options or FeatureOptions()
    if options.steps is not None or len(held.task_ids) < _TELLING:
        return None
    return steps_that_pay(ranked(own), ranked(held), options=options, device=device, seed=seed)


def first_suggestions(model: MetaModel, held: MetaDataset) -> dict[str, Any] | None:
    """Measure how far a model's first suggestions are from the best of tasks held out."""
    regrets = []
    for meta_features, part, score in _tasks(held):
        best, median = np.nanmax(score), np.nanmedian(score)
        if best == median:
            continue
        regret = np.nan_to_num((best - score) / (best - median), nan=np.inf)
        weights = np.exp(model.relevance.log_weights(meta_features))
        predicted = model.utilities(model.encode(part.trials))
        picks = greedy_portfolio(predicted, weights, max(_SHOWN))
        regrets.append(
            [min(regret[picks[:n]].min(), _CAP) for n in _SHOWN]
            + [_expected_least(np.minimum(regret, _CAP), n) for n in _SHOWN]
        )
    if not regrets:
        return None
    mean = np.mean(regrets, axis=0).round(4).tolist()
    return {
        "what": "mean regret, (best - best of the first n) / (best - median), at most 5",
        "n_tasks": len(regrets),
        "n": list(_SHOWN),
        "suggested": mean[: len(_SHOWN)],
        "random": mean[len(_SHOWN) :],
    }


def foretold_seconds(model: MetaModel, held: MetaDataset) -> dict[str, Any] | None:
    """Measure how well a model foretells what evaluations take on tasks held out."""
    shares = []
    for meta_features, part, _ in _tasks(held):
        seconds = seconds_of(part)
        known = seconds > 0
        c = np.log(seconds[known])
        if model.experience.cost is None or len(c) < 2 or np.ptp(c) == 0:
            continue
        codes = model.space.codes(part.trials[known])
        mean, _ = model.cost_belief(meta_features).log_seconds(model.cost_features(codes))
        shares.append(1 - (c - mean).var() / c.var())
    if not shares:
        return None
    return {
        "what": "median R² of log seconds within a task, up to its level, before the first trial",
        "n_tasks": len(shares),
        "r2": round(float(np.median(shares)), 4),
    }


def learned_adaptation(
    model: MetaModel, held: MetaDataset, *, device: str, seed: int
) -> dict[str, Array]:
    """Learn on tasks held out how a study's trials are to move the belief.

    Returns
    -------
    dict of ndarray
        :meth:`metahpo.surrogate.adaptation.Adaptation.tensors`; empty from too few tasks.
    """
    from metahpo.surrogate.adaptation import HeldOutTask, learn_adaptation

    rng = np.random.default_rng(seed)
    tasks = []
    for task in _tasks(held):
        seen = _seen(model, *task, rng)
        view = seen.prior.view(seen.phi, seen.X)
        tasks.append(HeldOutTask(view, seen.y, seen.prior.log_relevance, seen.utility))
    learned = learn_adaptation(tasks, model.scale, device=device, seed=seed)
    return {} if learned is None else learned.tensors()


def learned_calibration(
    rehearsals: Iterable[tuple[MetaModel, MetaDataset]], *, seed: int
) -> Calibration | None:
    """Learn on tasks held out where scores lie in what is foretold of them.

    Parameters
    ----------
    rehearsals : iterable of (MetaModel, MetaDataset)
        Models, each with tasks that it was not trained on.
    seed : int

    Returns
    -------
    Calibration or None
        None from too few tasks.
    """
    rng = np.random.default_rng(seed)
    looks: list[list[Look]] = []
    for model, held in rehearsals:
        chosen = set(rng.permutation(held.task_ids)[: _REHEARSED - len(looks)])
        for task in _tasks(held.subset(t for t in held.task_ids if t in chosen)):
            seen = _seen(model, *task, rng)
            played = rehearse(seen.prior, seen.phi, seen.X, seen.y, seen.utility, rng)
            looks.append(list(played))
    return learn_calibration(looks)


class _Seen(NamedTuple):
    """A task held out, as a model sees it."""

    prior: Prior
    phi: Floats
    X: Array
    y: Array
    utility: Array
    """How promising each configuration looks before any trial."""


def _seen(
    model: MetaModel,
    meta_features: Mapping[str, float] | None,
    part: MetaDataset,
    score: Array,
    rng: np.random.Generator,
) -> _Seen:
    rows = np.sort(rng.permutation(len(score))[:_ROWS])
    codes = model.space.codes(part.trials.iloc[rows])
    phi, prior = model.encode(codes), model.prior(meta_features)
    y = np.where(np.isnan(score[rows]), np.nanmin(score), score[rows])
    utility = model.utilities(phi) @ np.exp(prior.log_relevance)
    return _Seen(prior, phi, codes.array, y, utility)


def _tasks(held: MetaDataset) -> Iterator[tuple[Mapping[str, float] | None, MetaDataset, Array]]:
    """Yield each task's meta-features, evaluations and scores, higher being better."""
    for task_id in held.task_ids:
        part = held.subset([task_id])
        meta_features = None
        if held.tasks is not None:
            values = held.tasks.loc[task_id].to_numpy(dtype=float)
            meta_features = dict(zip(map(str, held.tasks), values, strict=True))
        yield meta_features, part, oriented_scores(part)[task_id]


def _expected_least(values: Array, n: int) -> float:
    """Return the expected minimum of `n` draws without replacement."""
    ascending = np.sort(values)
    m, n = len(ascending), min(n, len(values))
    # P(the least is the i-th) = C(m - 1 - i, n - 1) / C(m, n)
    chances = comb(m - 1 - np.arange(m), n - 1) / comb(m, n)
    return float(ascending @ chances)


def _families(md: MetaDataset) -> dict[str, str]:
    """Return the group of each task: datasets of one family are held out together."""
    if md.info is None or "family" not in md.info:
        return {task_id: task_id for task_id in md.task_ids}
    family = md.info["family"]
    return {t: str(family[t]) if pd.notna(family[t]) else t for t in md.task_ids}
