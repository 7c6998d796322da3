"""Training: from past evaluations to what a MetaModel holds.

The surrogate's parts in the order in which they rest on each other: features over all tasks, every
task as a weight vector on them, what tasks showed beyond that at configurations worth remembering,
and a metric on meta-features that tells similar tasks from others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from metahpo.metadataset import MetaDataset
from metahpo.space import Codes, Config, Space
from metahpo.surrogate.calibration import Calibration
from metahpo.surrogate.cost import CostHead, fit_cost
from metahpo.surrogate.features import FeatureNet, FeatureOptions, train_features
from metahpo.surrogate.relevance import Relevance, fit_relevance
from metahpo.surrogate.scores import KNOTS, gaussian_ranks, profile, spread
from metahpo.surrogate.stopping import Ranked
from metahpo.surrogate.tasks import TaskPrior, fit_task_prior, memory

Array = NDArray[np.float64]

_POOL = 1000  # configurations that zero-shot suggestions are chosen from


@dataclass(frozen=True, eq=False)
class Experience:
    """What the training tasks left behind."""

    task_ids: tuple[str, ...]
    pool: list[Config]
    """Configurations that were worth trying somewhere."""
    memory: Array
    """(pool, T): by how much each training task's z at a configuration of the pool differed from
    what its features say; 0 where the task has not tried it."""
    features: FeatureNet
    prior: TaskPrior
    """On the features alone."""
    spreads: Array
    """(T,): each training task's score per unit of z; 0 where its better half is constant."""
    relevance: Relevance
    profiles: Array
    """(T, knots): each training task's scores by quantile, 0 worst to 1 best."""
    adaptation: Mapping[str, Array] = field(default_factory=dict)
    """How a study's trials move the belief, see :mod:`metahpo.surrogate.adaptation`; empty where
    no tasks were left to learn it on."""
    calibration: Calibration | None = None
    """Where scores lie in what is foretold of them; None where no tasks were left to learn it."""
    cost: CostHead | None = None
    """What the tasks' evaluations took; None where that is not known."""

    @classmethod
    def none(cls) -> Experience:
        """Return the experience of no task and no parameter."""
        return cls(
            task_ids=(),
            pool=[],
            memory=np.empty((0, 0)),
            features=FeatureNet((np.zeros((1, 0, 0)),), (np.zeros((1, 0)),)),
            prior=TaskPrior(np.zeros((0, 1)), np.zeros((1, 1)), noise=0.1),
            spreads=np.empty(0),
            relevance=Relevance(np.empty((0, 0)), (), np.empty(0)),
            profiles=np.empty((0, len(KNOTS))),
        )


def train(
    md: MetaDataset,
    *,
    device: str,
    seed: int,
    options: FeatureOptions | None = None,
    steps: int | None = None,
) -> Experience:
    """Train on the evaluations of tasks that each have two different scores.

    Parameters
    ----------
    md : MetaDataset
        As from :func:`varied`.
    device : str
        As from :func:`resolve_device`.
    seed : int
    options : FeatureOptions, optional
    steps : int, optional
        Of training on the scores, where `options` leave that open.
    """
    scores = oriented_scores(md)
    codes = md.space.codes(md.trials)
    trials = _ranked(md.space, codes, scores)
    X, owner, z = trials.X, trials.task, np.concatenate(trials.z)
    network = options or FeatureOptions()
    network = replace(network, steps=network.steps or steps)
    features = train_features(X, owner, z, options=network, device=device, seed=seed)
    phi = [own for own, _ in trials.seen(features)]
    prior = fit_task_prior(zip(phi, trials.z, strict=True))
    pool = _pool(md, scores)
    pool_codes = md.space.codes(pool)
    remembered = _memory(codes, owner, z, phi, prior, pool_codes)
    pool_phi = features(network_inputs(md.space, pool_codes)).astype(float)
    responses = (prior.particles(pool_phi) + remembered).T  # (T, pool)
    return Experience(
        task_ids=tuple(scores),
        pool=pool,
        memory=remembered,
        features=features,
        prior=prior,
        spreads=np.array([spread(s) for s in scores.values()]),
        relevance=fit_relevance(md.tasks, responses, seed=seed),
        profiles=np.stack([profile(s) for s in scores.values()]),
        cost=fit_cost(X, owner, seconds_of(md), options=options, device=device, seed=seed),
    )


def ranked(md: MetaDataset) -> Ranked:
    """Return the evaluations as networks are trained on them."""
    return _ranked(md.space, md.space.codes(md.trials), oriented_scores(md))


def _ranked(space: Space, codes: Codes, scores: Mapping[str, Array]) -> Ranked:
    return Ranked(network_inputs(space, codes), [gaussian_ranks(s) for s in scores.values()])


def varied(md: MetaDataset) -> MetaDataset:
    """Keep the tasks on which it matters what is tried."""
    varied = [
        task_id
        for task_id, scores in oriented_scores(md).items()
        if len(np.unique(scores[~np.isnan(scores)])) > 1
    ]
    if not varied:
        raise ValueError("no task has two trials with different scores; there is nothing to learn")
    return md.subset(varied)


def oriented_scores(md: MetaDataset) -> dict[str, Array]:
    """Return every task's scores, higher being better; NaN for failures."""
    sign = 1.0 if md.direction == "maximize" else -1.0
    return {
        str(task_id): sign * scores.to_numpy(dtype=float)
        for task_id, scores in md.trials.groupby("task_id", sort=False, observed=True)["score"]
    }


def seconds_of(md: MetaDataset) -> Array:
    """Return what the trials took; NaN where that is not known."""
    if "fit_seconds" not in md.trials:
        return np.full(md.n_evaluations, np.nan)
    return md.trials["fit_seconds"].to_numpy(dtype=float)


def resolve_device(device: str) -> str:
    """Return the device to train on: "auto" is CUDA where there is one.

    Raises
    ------
    ValueError
        For a name that is none, and for a device that cannot be used here; the message says which.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)  # only reads the name
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}; choose 'auto', 'cpu' or 'cuda'") from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without it
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")  # the rest is long
        raise ValueError(
            f"device is {device!r}, which cannot be used here ({reason}); choose 'cpu' or 'auto'"
        ) from error
    return device


def network_inputs(space: Space, codes: Codes) -> Array:
    """Return what the network reads: the code, and which of the numbers are active."""
    numbers = [column.choice is None for column in space.columns]
    return np.concatenate([codes.array, codes.active[:, numbers]], axis=1)


def _memory(
    codes: Codes,
    owner: NDArray[np.int64],
    z: Array,
    phi: Sequence[Array],
    prior: TaskPrior,
    pool: Codes,
) -> Array:
    """Return what each task's trials showed beyond its features, at the pool: (pool, T)."""
    explained = np.concatenate(
        [own @ weights for own, weights in zip(phi, prior.weights, strict=True)]
    )
    return memory(pool.row_keys, codes.row_keys, owner, z - explained, len(phi))


def _pool(md: MetaDataset, scores: Mapping[str, Array]) -> list[Config]:
    """Choose the configurations worth remembering: the best of each task in turn, the default."""
    configs = md.space.from_frame(md.trials)
    start = np.cumsum([0, *(len(s) for s in scores.values())])
    order = [
        first + np.argsort(-np.nan_to_num(s, nan=-np.inf), kind="stable")
        for first, s in zip(start, scores.values(), strict=False)
    ]
    pool = {json.dumps(md.space.default): md.space.default}
    for rank in range(max(len(o) for o in order)):
        for rows in order:
            if rank < len(rows) and len(pool) < _POOL:
                config = configs[rows[rank]]
                pool.setdefault(json.dumps(config), config)
    return list(pool.values())
