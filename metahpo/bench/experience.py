"""What warm methods start from: a meta-model, and the evaluations that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from metahpo import metamodel
from metahpo.catalogue import ROOT, Task
from metahpo.metadataset import MetaDataset
from metahpo.metamodel import DEFAULT, MetaModel

_SHIPPED = Path(metamodel.__file__).parent / "default"


@dataclass(frozen=True)
class Experience:
    """Where the experience with one learner lies.

    Attributes
    ----------
    learner : str
    task : {"classification", "regression"}
    model : str
        "default", or the folder of this learner's model.
    evaluations : str
        "default", or a MetaDataset's folder.
    without : tuple of str
        Tasks of the evaluations that may not be looked at.
    """

    learner: str
    task: Task
    model: str = DEFAULT
    evaluations: str = DEFAULT
    without: tuple[str, ...] = ()

    def load_model(self) -> MetaModel:
        """Return the model, loaded once a process."""
        return _model(self.model, self.learner, self.task)

    def load_evaluations(self) -> MetaDataset:
        """Return the learner's part of the evaluations, loaded once a process."""
        return _part(self.evaluations, self.learner, self.task, self.without)


def load_evaluations(where: str, task: Task) -> MetaDataset:
    """Return the evaluations of all learners for a kind of task, loaded once a process.

    Raises
    ------
    ValueError
        If the folder holds no MetaDataset.
    """
    return _whole(_SHIPPED / task / "evaluations" if where == DEFAULT else Path(where))


@lru_cache(maxsize=2)
def _whole(folder: Path) -> MetaDataset:
    return MetaDataset.load(folder)


@lru_cache(maxsize=8)
def _part(where: str, learner: str, task: Task, without: tuple[str, ...]) -> MetaDataset:
    whole = load_evaluations(where, task)
    kept = whole.subset(t for t in whole.task_ids if t not in without) if without else whole
    is_union = ROOT in whole.space.distributions
    return kept.for_learner(learner) if is_union and learner in _branches(kept) else kept


def _branches(evaluations: MetaDataset) -> set[str]:
    return set(evaluations.trials[ROOT].astype(str))


@lru_cache(maxsize=8)
def _model(model: str, learner: str, task: Task) -> MetaModel:
    return MetaModel.load(model, learner=learner, task=task)


def model_folder(model: str, learner: str) -> str:
    """Return where the model of a learner lies: "default", or a folder of models or of one.

    Raises
    ------
    ValueError
        If the folder holds no model of the learner.
    """
    if model == DEFAULT:
        return DEFAULT
    return str(metamodel.model_folder(model, learner))
