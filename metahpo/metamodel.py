"""MetaModel: what earlier tasks taught about one space, trained, stored and asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from metahpo.artifact import ArtifactFormat
from metahpo.candidates import Candidates
from metahpo.card import origin, with_study
from metahpo.growth import Trials, finished_trials, grown
from metahpo.metadataset import Direction, MetaDataset, check_direction
from metahpo.observed import checked_fixed, nearest_configs
from metahpo.portfolio import greedy_portfolio
from metahpo.rehearsal import (
    first_suggestions,
    foretold_seconds,
    learned_adaptation,
    learned_calibration,
    paying_steps,
    splits,
)
from metahpo.space import Codes, Config, Space
from metahpo.surrogate.calibration import Calibration
from metahpo.surrogate.cost import CostBelief, CostHead, CostPrior
from metahpo.surrogate.features import FeatureNet, FeatureOptions, Floats
from metahpo.surrogate.relevance import Relevance, principal_components
from metahpo.surrogate.scale import ScalePrior
from metahpo.surrogate.scores import KNOTS, told
from metahpo.surrogate.tasks import TaskPrior
from metahpo.training import Experience, network_inputs, resolve_device, train, varied

if TYPE_CHECKING:
    from metahpo.surrogate.adaptation import Adaptation
    from metahpo.surrogate.study import Prior, StudyBelief

Array = NDArray[np.float64]

DEFAULT = "default"
_SHIPPED = Path(__file__).parent / "default"
_DIMENSIONS = 8  # of the space in which tasks are placed
_FORMAT = ArtifactFormat(
    "metahpo.MetaModel",
    2,
    "model.json",
    ("space", "direction", "metric", "card", "noise"),
    ("model.safetensors", "tasks.parquet", "pool.parquet"),
)


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
    experience : Experience
        What the training tasks left behind.
    card : dict
        What it was trained on (tasks, learners, metric, evaluations) and how it scored on tasks
        held out.
    """

    space: Space
    direction: Direction
    metric: str
    experience: Experience
    card: dict[str, Any]

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The training tasks."""
        return self.experience.task_ids

    @property
    def pool(self) -> list[Config]:
        """Configurations that were worth trying somewhere."""
        return self.experience.pool

    @property
    def relevance(self) -> Relevance:
        """How much a new task is like each training task."""
        return self.experience.relevance

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

        The model is trained on all tasks, and another without a fifth of them, at most 100. These
        tell for how long training pays, teach how to adapt to a study's trials, and measure, a
        little too kindly for that, what the ``card`` reports. Where they are fewer than 60, models
        without others are trained, too, so that more tasks tell how wide intervals must be.

        Parameters
        ----------
        md : MetaDataset
        device : str, default="auto"
            "cpu", "cuda", or "auto" for CUDA where there is one.
        seed : int, default=0
            The same seed on the same machine gives the same model.
        options : FeatureOptions, optional
            How the networks are built and trained: for scores, and for seconds where known.

        Raises
        ------
        ValueError
            If no task has two different scores.
        TypeError
            If `md` is no MetaDataset.
        """
        if not isinstance(md, MetaDataset):
            raise TypeError(
                f"md is of type {type(md).__name__}; MetaDataset.from_frames makes one of a table"
            )
        where, known = resolve_device(device), varied(md)
        parts = splits(known, seed=seed)
        steps = paying_steps(*parts[0], options, device=where, seed=seed) if parts else None

        def trained(part: MetaDataset) -> MetaModel:
            learned = train(part, device=where, seed=seed, options=options, steps=steps)
            return cls(md.space, md.direction, md.metric, learned, card={})

        card = {**origin(known, md), "held_out": None, "seconds": None, "seed": seed}
        model = trained(known)
        if not parts:
            return replace(model, card=card)
        rehearsing, held = trained(parts[0][0]), parts[0][1]
        adaptation = learned_adaptation(rehearsing, held, device=where, seed=seed)
        rehearsing = rehearsing._with(adaptation=adaptation)
        others = ((trained(own)._with(adaptation=adaptation), held) for own, held in parts[1:])
        calibration = learned_calibration(chain([(rehearsing, held)], others), seed=seed)
        card["held_out"] = first_suggestions(rehearsing, held)
        card["seconds"] = foretold_seconds(rehearsing, held)
        return replace(model._with(adaptation=adaptation, calibration=calibration), card=card)

    def _with(self, **learned: Any) -> MetaModel:
        """Return the model with other parts of its experience."""
        return replace(self, experience=replace(self.experience, **learned))

    @classmethod
    def blank(cls, direction: Direction = "maximize", metric: str = "score") -> MetaModel:
        """Return the model that knows no task and no parameter.

        A study that starts from it begins at its space's default, and learns from its own trials
        alone.
        """
        return cls(Space({}), check_direction(direction), metric, Experience.none(), card={})

    def update(
        self,
        trials: Trials,
        meta_features: Mapping[str, float] | None = None,
        *,
        task_id: str | int | None = None,
        fixed: Mapping[str, Any] | None = None,
        direction: Direction | None = None,
        prefix: str = "",
    ) -> MetaModel:
        """Return a model that knows one more task: a study of yours, finished.

        Nothing is trained anew and nothing that the model knew is changed; it takes a fraction
        of a second. Parameters that the model does not know are left out; configurations that
        lack one that it does are learned from, but never suggested.

        Parameters
        ----------
        trials : optuna.Study, DataFrame, or iterable of (dict, float)
            A study; a table with one column a parameter, missing where inactive, ``score``, and
            where known ``fit_seconds``; or pairs as in ``MetaOptimizer.trials``. A score of NaN
            is a failure.
        meta_features : mapping of str to float, optional
            Of the study's dataset, from :func:`metahpo.describe`.
        task_id : str or int, optional
            A name that no training task has; the study's name, that in a table's column
            ``task_id``, or a number, by default.
        fixed : mapping, optional
            Values that the study left as they are, of parameters that the model knows:
            ``MetaOptimizer.transfer.fixed``, or ``search.transfer_.fixed`` with its prefix.
        direction : {"maximize", "minimize"}, optional
            Of the scores; the model's by default.
        prefix : str, default=""
            What the study puts in front of the model's names: "svc__" where it tuned "svc__C", as
            ``search.study_`` of a pipeline does.

        Raises
        ------
        ValueError
            If the model knows nothing of what was tuned, no two scores differ, a study's direction
            is another, a table is of several tasks, the name is taken, `fixed` names what the
            model does not know, or `meta_features` are none of the model's.
        TypeError
            If `meta_features` is no mapping.
        """
        direction = check_direction(direction or self.direction)
        configs, scores, seconds, name = finished_trials(trials, self.space, direction, prefix)
        left = checked_fixed(fixed or {}, self.space.prefixed(prefix))
        bare = {name.removeprefix(prefix): value for name, value in left.items()}
        configs = [{**bare, **config} for config in configs]
        if len(np.unique(scores[~np.isnan(scores)])) < 2:
            raise ValueError("no two trials have different scores; there is nothing to learn")
        numbered = (f"study {number}" for number in count(len(self.task_ids)))
        name = name or next(n for n in numbered if n not in self.task_ids)
        name = name if task_id is None else str(task_id)
        if name in self.task_ids:
            raise ValueError(f"the model knows a task {name!r} already; give another task_id")
        viewed, y = self._viewed(configs), told(scores)
        belief = self._believe(viewed, y, meta_features)
        pool = self.pool_view.codes
        held = [viewed.config(i) for i in range(len(viewed))]
        whole = [set(self.space.active(config)) == set(config) for config in held]
        suggestable = np.array(whole) & ~np.isnan(scores)
        experience = grown(
            self.experience, pool, viewed, y, belief, suggestable, name, meta_features
        )
        if (head := self.experience.cost) is not None:
            phi = self.cost_features(viewed.known)
            cost = head.with_task(self.cost_belief(meta_features), phi, seconds)
            experience = replace(experience, cost=cost)
        return replace(self, experience=experience, card=with_study(self.card, name, len(scores)))

    def _viewed(self, configs: Sequence[Mapping[str, Any]]) -> Candidates:
        known = nearest_configs(self.space, configs)
        codes = self.space.codes(known)
        return Candidates.of(codes, self.encode(codes), codes, known)

    def _believe(
        self, trials: Candidates, y: Array, meta_features: Mapping[str, float] | None
    ) -> StudyBelief:
        return self.prior(meta_features).condition(trials.phi, trials.codes.array, y)

    # ------------------------------------------------------------------ asking

    @cached_property
    def belief_prior(self) -> TaskPrior:
        """The prior that a study starts from: on :meth:`encode`'s columns, memory included."""
        return replace(self.experience.prior, remembers=True)

    @cached_property
    def scale(self) -> ScalePrior:
        """What the training tasks say about the unit of a new task's scores."""
        return ScalePrior.from_spreads(self.experience.spreads)

    @cached_property
    def adaptation(self) -> Adaptation:
        """How a study's trials move its kernel, scales and noise."""
        from metahpo.surrogate.adaptation import Adaptation

        if not self.experience.adaptation:  # too few tasks to learn it from
            return Adaptation.unlearned(len(self.space.columns))
        return Adaptation.from_tensors(self.experience.adaptation)

    def prior(
        self, meta_features: Mapping[str, float] | None = None, space: Space | None = None
    ) -> Prior:
        """Return what is believed of a new study before its first trial.

        Parameters
        ----------
        meta_features : mapping of str to float, optional
            Of its dataset. None: all training tasks count equally.
        space : Space, optional
            What it searches; the model's own space by default.
        """
        from metahpo.surrogate.study import Prior
        from metahpo.surrogate.worth import bends

        columns = (space or self.space).slices
        return Prior(
            self.belief_prior,
            self.scale,
            self.adaptation.on_columns(self.space.slices, columns),
            self.relevance.log_weights(meta_features),
            bends(self.experience.profiles),
            self.experience.calibration,
        )

    def encode(self, configs: Sequence[Config] | pd.DataFrame | Codes) -> Floats:
        """Compute features of configurations: the learned ones, then what tasks remember.

        Parameters
        ----------
        configs : sequence of dict, DataFrame or Codes
            Of the model's own space.

        Returns
        -------
        ndarray of float32, shape (n, F + T)
            In single precision, as the network computes them.
        """
        codes = configs if isinstance(configs, Codes) else self.space.codes(configs)
        features = self.experience.features
        phi = np.zeros((len(codes), features.size + len(self.task_ids)), dtype=np.float32)
        phi[:, : features.size] = features(network_inputs(self.space, codes))
        for row, key in enumerate(codes.row_keys):
            if key in self._pool_rows:
                phi[row, features.size :] = self.experience.memory[self._pool_rows[key]]
        return phi

    @cached_property
    def _pool_rows(self) -> dict[bytes, int]:
        return {key: row for row, key in enumerate(self.space.codes(self.pool).row_keys)}

    def utilities(self, phi: Floats) -> Array:
        """Predict where configurations stand on every training task, from :meth:`encode`'s array.

        Returns
        -------
        ndarray of float, shape (n, T)
            0 is a task's worst score, 1 its best.
        """
        quantiles: Array = ndtr(self.belief_prior.particles(phi)).astype(float)
        profiles = self.experience.profiles
        columns = [
            np.interp(q, KNOTS, knots) for q, knots in zip(quantiles.T, profiles, strict=True)
        ]
        return np.stack(columns, axis=1) if columns else quantiles

    def cost_belief(self, meta_features: Mapping[str, float] | None = None) -> CostBelief:
        """Return what is believed of a new task's seconds before its first trial.

        Parameters
        ----------
        meta_features : mapping of str to float, optional
            Of the new task.

        Raises
        ------
        ValueError
            If the model was trained without seconds.
        """
        return self._cost_prior.belief(meta_features)

    @cached_property
    def _cost_prior(self) -> CostPrior:
        relevance = self.relevance
        return self._cost_head.prior(relevance.reference, relevance.names)

    @property
    def _cost_head(self) -> CostHead:
        if self.experience.cost is None:
            raise ValueError(
                "this model was trained without seconds, so it cannot be cost_aware; train one on "
                "evaluations with a column fit_seconds"
            )
        return self.experience.cost

    def cost_features(self, codes: Codes) -> Floats:
        """Compute the features of configurations that their seconds are linear in: (n, F)."""
        return self._cost_head.features(network_inputs(self.space, codes))

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

        Raises
        ------
        ValueError
            If `meta_features` are none of the model's or no numbers.
        TypeError
            If `meta_features` is no mapping.

        References
        ----------
        Feurer et al., "Auto-Sklearn 2.0", JMLR 2022, section 3.
        """
        weights = np.exp(self.relevance.log_weights(meta_features))
        picks = greedy_portfolio(self._pool_utilities, weights, min(n, len(self.pool)))
        return [dict(self.pool[i]) for i in picks]

    @cached_property
    def pool_view(self) -> Candidates:
        """The pool as beliefs read it."""
        codes = self.space.codes(self.pool)
        return Candidates.of(codes, self.encode(codes), codes, self.pool)

    @cached_property
    def _pool_utilities(self) -> Array:
        return self.utilities(self.pool_view.phi)

    @cached_property
    def embeddings(self) -> pd.DataFrame:
        """The training tasks as points: tasks that the same configurations suit lie together.

        Principal components of the tasks' responses on the pool, the first spreading most; one
        row a task. The unit is that of z, the Gaussian rank of a score.
        """
        responses = self.belief_prior.particles(self.pool_view.phi).T.astype(float)  # (T, pool)
        points = principal_components(responses, _DIMENSIONS) / np.sqrt(max(len(self.pool), 1))
        return pd.DataFrame(points, index=pd.Index(self.task_ids, name="task_id"))

    def embed(
        self,
        meta_features: Mapping[str, float] | None = None,
        trials: Trials | None = None,
        *,
        prefix: str = "",
    ) -> Array:
        """Place a new task among the training tasks.

        Parameters
        ----------
        meta_features : mapping of str to float, optional
            Of its dataset.
        trials : optuna.Study, DataFrame, or iterable of (dict, float), optional
            What was scored on it, as for :meth:`update`.
        prefix : str, default=""
            As for :meth:`update`.

        Returns
        -------
        ndarray of float, shape (n_dimensions,)
            The expected point, in the coordinates of ``embeddings``: every training task's,
            weighted by how much the new task is like it.

        Raises
        ------
        ValueError
            If no trial has a score, the model knows nothing of what was tuned, or `meta_features`
            are none of the model's or no numbers.
        TypeError
            If `meta_features` is no mapping.
        """
        points = self.embeddings.to_numpy()
        if trials is None:
            weights = np.exp(self.relevance.log_weights(meta_features))
        else:
            configs, scores, _, _ = finished_trials(trials, self.space, self.direction, prefix)
            if np.isnan(scores).all():
                raise ValueError("no trial has a score; leave trials out, or give some that have")
            belief = self._believe(self._viewed(configs), told(scores), meta_features)
            # what is like no training task lies in the middle, where the points' mean is
            weights = belief.task_weight[:-1]
        place: Array = weights @ points
        return place

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | Path) -> None:
        """Write the model as a folder of JSON, Parquet and safetensors, with checksums.

        Raises
        ------
        OSError
            Naming the file that cannot be written.
        """
        from safetensors.numpy import save_file

        learned = self.experience
        tensors = {
            **learned.features.tensors(),
            "task_weights": learned.prior.weights,
            "task_covariance": learned.prior.covariance,
            "task_profiles": learned.profiles,
            "task_spreads": learned.spreads,
            "relevance_scale": learned.relevance.scale,
            "memory": learned.memory,
            **learned.adaptation,
            **({} if learned.calibration is None else learned.calibration.tensors()),
            **({} if learned.cost is None else learned.cost.tensors()),
        }
        single = {k: np.asarray(v, dtype=np.float32, order="C") for k, v in tensors.items()}
        tasks = pd.DataFrame(
            self.relevance.reference, columns=list(self.relevance.names), index=self.task_ids
        )
        pool = pd.DataFrame({"config": [json.dumps(config) for config in self.pool]})
        header = {
            "space": self.space.to_json(),
            "direction": self.direction,
            "metric": self.metric,
            "noise": learned.prior.noise,
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
        learner: str | None = None,
        task: Literal["classification", "regression"] | None = None,
    ) -> MetaModel:
        """Read a model written by :meth:`save`, or the one that is shipped.

        Parameters
        ----------
        path : str or Path, default="default"
            A model's folder; one that holds the models of several learners, as ``metahpo train``
            writes it; or "default" for those that are shipped.
        learner : str, optional
            Which of several: a learner of the catalogue, or "auto" for the choice among all, the
            default.
        task : {"classification", "regression"}, optional
            What the learner is to do: what its name says, by default, or classification.

        Raises
        ------
        ValueError
            Naming the file that is missing, damaged, of a newer version or of something else; if
            there is no such learner.
        """
        from safetensors import SafetensorError

        folder = model_folder(path, learner, task)
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
        experience = Experience(
            task_ids=tuple(tasks.index.astype(str)),
            pool=[json.loads(c) for c in pd.read_parquet(folder / "pool.parquet")["config"]],
            memory=tensors["memory"],
            features=FeatureNet.from_tensors(tensors),
            prior=TaskPrior(
                tensors["task_weights"], tensors["task_covariance"], float(header["noise"])
            ),
            spreads=tensors["task_spreads"],
            relevance=Relevance(
                tasks.to_numpy(dtype=float), tuple(tasks.columns), tensors["relevance_scale"]
            ),
            profiles=tensors["task_profiles"],
            adaptation={n: v for n, v in tensors.items() if n.startswith("adaptation.")},
            calibration=Calibration.from_tensors(tensors),
            cost=CostHead.from_tensors(tensors),
        )
        return cls(space, header["direction"], header["metric"], experience, header["card"])

    def __repr__(self) -> str:
        return f"MetaModel({len(self.task_ids)} tasks, {self.space!r}, {self.metric})"


def model_folder(
    path: str | Path,
    learner: str | None = None,
    task: Literal["classification", "regression"] | None = None,
) -> Path:
    """Find the folder that holds a model itself; parameters as for :meth:`MetaModel.load`.

    Raises
    ------
    ValueError
        If there is no model, or of other learners alone, or the learner is none.
    """
    from metahpo.catalogue import resolve_learner, task_named

    task = task or task_named(learner)
    shipped = str(path) == DEFAULT
    folder = _SHIPPED / task if shipped else Path(path)
    several = sorted(header.parent.name for header in folder.glob(f"*/{_FORMAT.header}"))
    if not shipped and (folder / _FORMAT.header).exists():
        return folder
    if not several:
        _refuse_learner(folder)
        _FORMAT.read(folder)  # which says what it lacks
    name = learner if learner in several else resolve_learner(learner or "auto", task).name
    if name not in several:
        raise ValueError(
            f"{folder} holds models of {', '.join(several)}, and none of {name}; give one of "
            "these as the learner"
        )
    return folder / name


def _refuse_learner(folder: Path) -> None:
    """Say how a learner is given where its name stands for a folder that holds no model."""
    from metahpo.catalogue import learners

    for learner in learners.values():
        if str(folder) in (learner.name, learner.family):
            raise ValueError(
                f"{folder} is a learner, not the folder of a MetaModel; for its shipped model "
                f"give learner={str(folder)!r}"
            )
