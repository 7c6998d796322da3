"""MetaModel: what earlier tasks taught about one space, trained, stored and asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import comb, ndtr

from metahpo.artifact import ArtifactFormat
from metahpo.metadataset import Direction, MetaDataset
from metahpo.space import Codes, Config, Space
from metahpo.surrogate.belief import ScalePrior
from metahpo.surrogate.features import FeatureNet, FeatureOptions, train_features
from metahpo.surrogate.relevance import Relevance, fit_relevance
from metahpo.surrogate.scores import KNOTS, gaussian_ranks, profile, spread
from metahpo.surrogate.tasks import TaskPrior, fit_task_prior

Array = NDArray[np.float64]

DEFAULT = "default"
_SHIPPED = Path(__file__).parent / "default"
_FORMAT = ArtifactFormat(
    "metahpo.MetaModel",
    1,
    "model.json",
    ("space", "direction", "metric", "card", "scale", "noise"),
    ("model.safetensors", "tasks.parquet", "pool.parquet"),
)
_POOL = 1000  # configurations that zero-shot suggestions are chosen from
_SHOWN = (1, 2, 5, 10)  # numbers of suggestions for which the card says what they reach
_LEAST_SPREAD = 1e-6  # a score's smallest unit that is taken seriously
_VAGUE_SCALE = (np.log(0.05), 2.0)  # of log b where no task has shown how far scores spread
_CAP = 5.0  # the largest regret that enters a mean: beyond, a trial is simply bad
_HELD_OUT = 0.2  # share of the tasks on which the card's scores are measured


@dataclass(frozen=True, eq=False)
class MetaModel:
    """A prior over tasks and a surrogate, trained on a :class:`~metahpo.MetaDataset`.

    Made by :meth:`fit` or :meth:`load`.

    Attributes
    ----------
    space : Space
        The space of the configurations it knows.
    direction : {"maximize", "minimize"}
    metric : str
    task_ids : tuple of str
        The training tasks.
    card : dict
        What it was trained on (tasks, learners, metric, evaluations) and how it scored on tasks
        held out.
    """

    space: Space
    direction: Direction
    metric: str
    task_ids: tuple[str, ...]
    pool: list[Config]
    """Configurations that were worth trying somewhere."""
    memory: Array
    """(pool, T): by how much each training task's z at a configuration of the pool differed from
    what its features say; 0 where the task has not tried it."""
    features: FeatureNet
    prior: TaskPrior
    """On the features alone; see ``belief_prior``."""
    scale: ScalePrior
    relevance: Relevance
    profiles: Array
    """(T, knots): each training task's scores by quantile, 0 worst to 1 best."""
    card: dict[str, Any]

    # ------------------------------------------------------------------ training

    @classmethod
    def fit(
        cls,
        md: MetaDataset,
        *,
        device: str = "auto",
        seed: int = 0,
        options: FeatureOptions | None = None,
    ) -> MetaModel:
        """Train on past evaluations.

        The model is trained twice: on four fifths of the tasks, to measure on the rest what the
        ``card`` reports, then on all.

        Parameters
        ----------
        md : MetaDataset
        device : str, default="auto"
            "cpu", "cuda", or "auto" for CUDA where there is one.
        seed : int, default=0
            The same seed on the same machine gives the same model.
        options : FeatureOptions, optional
            How the network is built and trained.

        Raises
        ------
        ValueError
            If no task has two different scores.
        """
        varied, where = _varied(md), _device(device)
        held_out = _held_out(varied, device=where, seed=seed, options=options)
        model = _train(varied, device=where, seed=seed, options=options)
        return replace(model, card={**_card(varied, md), "held_out": held_out, "seed": seed})

    @classmethod
    def blank(cls, direction: Direction = "maximize", metric: str = "score") -> MetaModel:
        """Return the model that knows no task and no parameter.

        A study that starts from it begins at its space's default, and learns from its own trials
        alone.
        """
        return cls(
            space=Space({}),
            direction=direction,
            metric=metric,
            task_ids=(),
            pool=[],
            memory=np.empty((0, 0)),
            features=FeatureNet((np.zeros((1, 0, 0)),), (np.zeros((1, 0)),)),
            prior=TaskPrior(np.zeros((0, 1)), np.zeros((1, 1)), noise=0.1),
            scale=ScalePrior(*_VAGUE_SCALE),
            relevance=Relevance(np.empty((0, 0)), (), np.empty(0)),
            profiles=np.empty((0, len(KNOTS))),
            card={},
        )

    # ------------------------------------------------------------------ asking

    @cached_property
    def belief_prior(self) -> TaskPrior:
        """The prior that a study starts from: on :meth:`encode`'s columns, memory included."""
        return self.prior.with_memory()

    def encode(self, configs: Sequence[Config] | pd.DataFrame | Codes) -> Array:
        """Compute features of configurations: the learned ones, then what tasks remember.

        Parameters
        ----------
        configs : sequence of dict, DataFrame or Codes
            Of the model's own space.

        Returns
        -------
        ndarray of float, shape (n, F + T)
        """
        codes = configs if isinstance(configs, Codes) else self.space.codes(configs)
        remembered = np.zeros((len(codes), len(self.task_ids)))
        for row, key in enumerate(codes.row_keys()):
            if key in self._pool_rows:
                remembered[row] = self.memory[self._pool_rows[key]]
        return np.concatenate([self.features(_inputs(self.space, codes)), remembered], axis=1)

    @cached_property
    def _pool_rows(self) -> dict[bytes, int]:
        return {key: row for row, key in enumerate(self.space.codes(self.pool).row_keys())}

    def utilities(self, phi: Array) -> Array:
        """Predict where configurations stand on every training task, from :meth:`encode`'s array.

        Returns
        -------
        ndarray of float, shape (n, T)
            0 is a task's worst score, 1 its best.
        """
        quantiles = ndtr(self.belief_prior.particles(phi))
        columns = [
            np.interp(q, KNOTS, knots) for q, knots in zip(quantiles.T, self.profiles, strict=True)
        ]
        return np.stack(columns, axis=1) if columns else quantiles

    def suggest(
        self, meta_features: Mapping[str, float] | None = None, n: int = 5
    ) -> list[Config]:
        """Return the configurations to try first on a new task, in order.

        A greedy portfolio over the training tasks, each weighted by how much the new task is
        like it: every pick maximises the expected best of the picks so far.

        Parameters
        ----------
        meta_features : mapping of str to float, optional
            Of the new task, as from :func:`metahpo.describe`. None weights all tasks equally.
        n : int, default=5

        References
        ----------
        Feurer et al., "Auto-Sklearn 2.0", JMLR 2022, section 3.
        """
        weights = np.exp(self.relevance.log_weights(meta_features))
        picks = greedy_portfolio(self._pool_utilities, weights, min(n, len(self.pool)))
        return [dict(self.pool[i]) for i in picks]

    @cached_property
    def _pool_utilities(self) -> Array:
        return self.utilities(self.encode(self.pool))

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | Path) -> None:
        """Write the model as a folder of JSON, Parquet and safetensors, with checksums.

        Raises
        ------
        OSError
            Naming the file that cannot be written.
        """
        from safetensors.numpy import save_file

        tensors = {
            **self.features.tensors(),
            "task_weights": self.prior.weights,
            "task_covariance": self.prior.covariance,
            "task_profiles": self.profiles,
            "relevance_scale": self.relevance.scale,
            "memory": self.memory,
        }
        single = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}
        tasks = pd.DataFrame(
            self.relevance.reference, columns=list(self.relevance.names), index=self.task_ids
        )
        pool = pd.DataFrame({"config": [json.dumps(config) for config in self.pool]})
        header = {
            "space": self.space.to_json(),
            "direction": self.direction,
            "metric": self.metric,
            "scale": [self.scale.mean, self.scale.sd],
            "noise": self.prior.noise,
            "card": self.card,
        }
        _FORMAT.write(
            Path(path),
            header,
            {
                "model.safetensors": lambda file: save_file(single, file),
                "tasks.parquet": lambda file: tasks.to_parquet(file, compression="zstd"),
                "pool.parquet": lambda file: pool.to_parquet(file, compression="zstd"),
            },
        )

    @classmethod
    def load(
        cls,
        path: str | Path = DEFAULT,
        *,
        learner: str = "auto",
        task: Literal["classification", "regression"] = "classification",
    ) -> MetaModel:
        """Read a model written by :meth:`save`, or the one that is shipped.

        Parameters
        ----------
        path : str or Path, default="default"
            A model's folder; "default" is the shipped model of a learner and a kind of task.
        learner : str, default="auto"
            With "default": a learner of the catalogue, or "auto" for the choice among all.
        task : {"classification", "regression"}, default="classification"
            With "default": the kind of task.

        Raises
        ------
        ValueError
            Naming the file that is missing, damaged, of a newer version or of something else.
        """
        if str(path) == DEFAULT:
            from metahpo.catalogue import resolve_learner

            path = _SHIPPED / task / resolve_learner(learner, task).name
        from safetensors import SafetensorError

        folder = Path(path)
        header = _FORMAT.read(folder)
        try:
            return cls._read(folder, header)
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ValueError(f"{folder} holds no valid MetaModel: {error}") from error

    @classmethod
    def _read(cls, folder: Path, header: Mapping[str, Any]) -> MetaModel:
        from safetensors.numpy import load_file

        space = Space.from_json(header["space"])
        tensors = {
            name: value.astype(float)
            for name, value in load_file(folder / "model.safetensors").items()
        }
        tasks = pd.read_parquet(folder / "tasks.parquet")
        prior = TaskPrior(tensors["task_weights"], tensors["task_covariance"], header["noise"])
        return cls(
            space=space,
            direction=header["direction"],
            metric=header["metric"],
            task_ids=tuple(tasks.index.astype(str)),
            pool=[json.loads(c) for c in pd.read_parquet(folder / "pool.parquet")["config"]],
            memory=tensors["memory"],
            features=FeatureNet.from_tensors(tensors),
            prior=prior,
            scale=ScalePrior(*header["scale"]),
            relevance=Relevance(
                tasks.to_numpy(dtype=float), tuple(tasks.columns), tensors["relevance_scale"]
            ),
            profiles=tensors["task_profiles"],
            card=header["card"],
        )

    def __repr__(self) -> str:
        return f"MetaModel({len(self.task_ids)} tasks, {self.space!r}, {self.metric})"


def greedy_portfolio(
    utilities: Array,
    weights: Array,
    n: int,
    chosen: Iterable[int] = (),
    banned: Iterable[int] = (),
) -> list[int]:
    """Pick rows greedily so that the weighted mean of every task's best pick grows most.

    Parameters
    ----------
    utilities : ndarray, shape (m, T)
        Higher is better.
    weights : ndarray, shape (T,)
    n : int
        How many rows.
    chosen : iterable of int, optional
        Rows that are taken already.
    banned : iterable of int, optional
        Rows that may not be picked, and that count for nothing.

    Returns
    -------
    list of int
        The new rows, in order.
    """
    taken = list(chosen)
    best = utilities[taken].max(0) if taken else np.full(utilities.shape[1], -np.inf)
    allowed = np.ones(len(utilities), dtype=bool)
    allowed[[*taken, *banned]] = False
    picks = []
    for _ in range(n):
        gain = np.maximum(utilities, best) @ weights
        picks.append(int(np.where(allowed, gain, -np.inf).argmax()))
        allowed[picks[-1]] = False
        best = np.maximum(best, utilities[picks[-1]])
    return picks


# ---------------------------------------------------------------------- training


def _device(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _inputs(space: Space, codes: Codes) -> Array:
    """Append to encoded configurations which of the numbers are active."""
    numbers = [column.choice is None for column in space.columns]
    return np.concatenate([codes.array, codes.active[:, numbers]], axis=1)


def _oriented(md: MetaDataset) -> dict[str, Array]:
    """Return every task's scores, higher being better; NaN for failures."""
    sign = 1.0 if md.direction == "maximize" else -1.0
    return {
        str(task_id): sign * scores.to_numpy(dtype=float)
        for task_id, scores in md.trials.groupby("task_id", sort=False, observed=True)["score"]
    }


def _varied(md: MetaDataset) -> MetaDataset:
    """Keep the tasks on which it matters what is tried."""
    varied = [
        task_id
        for task_id, scores in _oriented(md).items()
        if len(np.unique(scores[~np.isnan(scores)])) > 1
    ]
    if not varied:
        raise ValueError("no task has two trials with different scores; there is nothing to learn")
    return md.subset(varied)


def _train(
    md: MetaDataset, *, device: str, seed: int, options: FeatureOptions | None = None
) -> MetaModel:
    scores = _oriented(md)
    codes = md.space.codes(md.trials)
    X = _inputs(md.space, codes)
    counts = np.array([len(s) for s in scores.values()])
    owner = np.repeat(np.arange(len(counts)), counts)
    z = [gaussian_ranks(s) for s in scores.values()]
    features = train_features(
        X, owner, np.concatenate(z), options=options, device=device, seed=seed
    )
    phi = np.split(features(X), np.cumsum(counts)[:-1])
    prior = fit_task_prior(zip(phi, z, strict=True))
    pool = _pool(md, scores)
    pool_codes = md.space.codes(pool)
    memory = _memory(codes, owner, np.concatenate(z), phi, prior, pool_codes)
    responses = (prior.particles(features(_inputs(md.space, pool_codes))) + memory).T  # (T, pool)
    logs = np.log([max(spread(s), _LEAST_SPREAD) for s in scores.values()])
    return MetaModel(
        space=md.space,
        direction=md.direction,
        metric=md.metric,
        task_ids=tuple(scores),
        pool=pool,
        memory=memory,
        features=features,
        prior=prior,
        scale=ScalePrior(float(np.median(logs)), float(max(logs.std(), 0.5))),
        relevance=fit_relevance(md.tasks, responses, seed=seed),
        profiles=np.stack([profile(s) for s in scores.values()]),
        card={},
    )


def _memory(
    codes: Codes,
    owner: NDArray[np.int64],
    z: Array,
    phi: Sequence[Array],
    prior: TaskPrior,
    pool: Codes,
) -> Array:
    """Return what each task's trials showed beyond its features, at the pool: (pool, T)."""
    rows = {key: row for row, key in enumerate(pool.row_keys())}
    explained = np.concatenate(
        [own @ weights for own, weights in zip(phi, prior.weights, strict=True)]
    )
    memory = np.zeros((len(pool), len(phi)))
    for key, task, residual in zip(codes.row_keys(), owner, z - explained, strict=True):
        if key in rows:
            memory[rows[key], task] = residual
    return memory


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


def _held_out(
    md: MetaDataset, *, device: str, seed: int, options: FeatureOptions | None = None
) -> dict[str, Any] | None:
    """Measure, on tasks held out, how far the first suggestions are from each task's best."""
    groups = _families(md)
    names = sorted(set(groups.values()))
    n_held = round(_HELD_OUT * len(names))
    if n_held == 0 or len(names) - n_held < 2:
        return None
    held = set(np.random.default_rng(seed).permutation(names)[:n_held])
    kept = md.subset(t for t in md.task_ids if groups[t] not in held)
    model = _train(kept, device=device, seed=seed, options=options)
    regrets = []
    for task_id in (t for t in md.task_ids if groups[t] in held):
        part = md.subset([task_id])
        score = _oriented(part)[task_id]
        best, median = np.nanmax(score), np.nanmedian(score)
        if best == median:
            continue
        regret = np.nan_to_num((best - score) / (best - median), nan=np.inf)
        meta_features = None
        if md.tasks is not None:
            values = md.tasks.loc[task_id].to_numpy(dtype=float)
            meta_features = dict(zip(map(str, md.tasks), values, strict=True))
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


def _card(md: MetaDataset, given: MetaDataset) -> dict[str, Any]:
    names = {} if md.info is None or "name" not in md.info else md.info["name"].to_dict()
    return {
        "metric": md.metric,
        "direction": md.direction,
        "n_tasks": len(md),
        "n_tasks_constant": len(given) - len(md),
        "n_evaluations": md.n_evaluations,
        "n_failed": int(md.trials["score"].isna().sum()),
        "parameters": list(md.space.names),
        "meta_features": 0 if md.tasks is None else md.tasks.shape[1],
        "tasks": {task_id: str(names.get(task_id, task_id)) for task_id in md.task_ids},
    }
