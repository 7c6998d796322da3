"""Meta-training of a declared task: every seed, the joint baseline, the second family.

A folder of trained learners holds::

    task.json             the declaration
    seed-0/               a learner, as MetaLearner.save writes it, and training.json
    seed-0/joint/         the baseline: the same net trained on all tasks at once
    seed-0/second/        seed-0 after its training went on with the second family

Whatever is finished stays finished; what was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from metahpo.engine import Episodes, OuterOptions, Progress, TaskSource
from metahpo.fewshot.baselines import can_be_joint, joint_learner, loss_of
from metahpo.fewshot.learners import MetaLearner
from metahpo.fewshot.source import Source, Split
from metahpo.fewshot.taskfile import FewShotPlan, TrainingPlan
from metahpo.files import replace_file

TASK, TRAINED = "task.json", "training.json"
_CHECKPOINT, _ELAPSED = "checkpoint", "elapsed.json"
_TRAINED_BY = ("source", "net", "learner", "training", "second")
_VALIDATION_SEED = 1_000_003  # apart from the seeds of training

Watch = Callable[[str, Progress], None]
"""Called after every iteration with the job's name and where it stands."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes
    ----------
    name : str
        Its folder below the run's.
    seed : int
    source : Source
        What it is trained on.
    start : str or None
        The job whose learner it goes on from.
    joint : bool
        Whether it is the baseline without an inner loop.
    """

    name: str
    seed: int
    source: Source
    start: str | None = None
    joint: bool = False


def jobs(plan: FewShotPlan) -> Iterator[Job]:
    """List a plan's trainings, in the order in which they are run."""
    for seed in range(plan.seeds):
        name = f"seed-{seed}"
        yield Job(name, seed, plan.source)
        if "joint" in plan.evaluation.baselines and can_be_joint(plan.source):
            yield Job(f"{name}/joint", seed, plan.source, joint=True)
        if plan.second is not None:
            yield Job(f"{name}/second", seed, plan.second, start=name)


def train_task(plan: FewShotPlan, out: Path, watch: Watch = lambda name, at: None) -> None:
    """Run all of a plan's trainings that are not finished yet.

    Parameters
    ----------
    plan : FewShotPlan
    out : Path
        The folder; see the module.
    watch : callable, optional

    Raises
    ------
    ValueError
        If the folder holds the learners of another declaration.
    OSError
        If something cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    _agree(plan, out)
    for job in jobs(plan):
        if not (out / job.name / TRAINED).exists():
            _train(plan, job, out, watch)


def load_trained(out: Path, name: str) -> MetaLearner:
    """Read one of the learners of a folder.

    Raises
    ------
    ValueError
        If it is not there, not finished or damaged.
    """
    if not (out / name / TRAINED).exists():
        raise ValueError(f"{out} holds no finished {name}; train the task first")
    return MetaLearner.load(out / name)


def read_training(out: Path, name: str) -> dict[str, Any]:
    """Read how a training went: its seconds, iterations, history, and where it ran."""
    facts: dict[str, Any] = json.loads((out / name / TRAINED).read_text())
    return facts


def _agree(plan: FewShotPlan, out: Path) -> None:
    """Check that the folder is of this declaration, or make it so.

    More seeds and other evaluations may be asked for later.
    """
    declared = {key: plan.declared[key] for key in _TRAINED_BY if key in plan.declared}
    path = out / TASK
    if path.exists():
        begun = json.loads(path.read_text())
        for name in sorted(begun.keys() | declared.keys()):
            if begun.get(name) != declared.get(name):
                raise ValueError(
                    f"{out} holds learners of another task: [{name}] differs; use another folder"
                )
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(declared, indent=1) + "\n")


def _train(plan: FewShotPlan, job: Job, out: Path, watch: Watch) -> None:
    folder = out / job.name
    folder.mkdir(parents=True, exist_ok=True)
    learner, tasks = _prepared(plan, job, out)
    options = _seeded(plan, job.seed)
    if job.start is not None and plan.training.second_iterations is not None:
        options = replace(options, iterations=plan.training.second_iterations)
    clock = _Clock(folder / _ELAPSED, options)

    def progress(at: Progress) -> None:
        clock.at(at.iteration)
        watch(job.name, at)

    learner.fit(
        tasks,
        validation=None if job.joint else _validation(plan, job.source),
        options=options,
        checkpoint=folder / _CHECKPOINT,
        progress=progress,
    )
    learner.save(folder)
    done = learner.training_
    facts = {
        "seconds": round(clock.seconds, 2),
        "iterations": done.iteration,
        "skipped": done.skipped,
        "steps": learner.steps_,
        "history": done.history,
        "options": asdict(options),
    }
    with replace_file(folder / TRAINED) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n")


def _prepared(plan: FewShotPlan, job: Job, out: Path) -> tuple[MetaLearner, TaskSource]:
    """Return a job's learner before training, and its tasks."""
    if job.joint:
        return joint_learner(plan, job.seed)
    tasks = split_tasks(plan, job.source, "train")
    if job.start is not None:
        return load_trained(out, job.start), tasks
    return _untrained(plan, job.seed), tasks


def fit_seed(plan: FewShotPlan, seed: int) -> MetaLearner:
    """Meta-train a plan's learner with one seed, in memory."""
    return _untrained(plan, seed).fit(
        split_tasks(plan, plan.source, "train"),
        validation=_validation(plan, plan.source),
        options=_seeded(plan, seed),
    )


def _untrained(plan: FewShotPlan, seed: int) -> MetaLearner:
    return MetaLearner(
        plan.net.build(plan.source),
        plan.method,
        loss=loss_of(plan.source),
        transductive=plan.training.transductive,
        seed=seed,
    )


def split_tasks(plan: FewShotPlan, source: Source, split: Split) -> TaskSource:
    """Return a source's tasks with as many shots and queries as in a plan's training."""
    training = plan.training
    tasks = source.tasks(split, shots=training.shots, queries=training.queries)
    return tasks if training.fewest_shots is None else FewerShots(tasks, training)


@dataclass(frozen=True)
class FewerShots:
    """Tasks of which each keeps a number of shots of its own; the others are masked.

    Parameters
    ----------
    tasks : TaskSource
        With `training.shots`, the classes one after the other.
    training : TrainingPlan
    """

    tasks: TaskSource
    training: TrainingPlan

    def sample(self, tasks: int, generator: Generator) -> Episodes:
        """Draw a batch of tasks, each with its own number of shots."""
        most, fewest = self.training.shots, self.training.fewest_shots or 1
        episodes = self.tasks.sample(tasks, generator)
        kept = torch.randint(fewest, most + 1, (tasks, 1), generator=generator)
        number = torch.arange(episodes.support_y.shape[1]) % most  # of a shot within its class
        return replace(episodes, support_mask=number < kept)


def _validation(plan: FewShotPlan, source: Source) -> Episodes:
    chance = Generator().manual_seed(_VALIDATION_SEED)
    return split_tasks(plan, source, "val").sample(plan.training.validation, chance)


def _seeded(plan: FewShotPlan, seed: int) -> OuterOptions:
    return replace(plan.outer, seed=plan.outer.seed + seed)


class _Clock:
    """Seconds of a training over all its runs, kept as often as its checkpoint is."""

    def __init__(self, path: Path, options: OuterOptions) -> None:
        self._path, self._every = path, options.validate_every
        before = json.loads(path.read_text()) if path.exists() else 0.0
        self._started = time.monotonic() - before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def at(self, iteration: int) -> None:
        if iteration % self._every == 0:
            with replace_file(self._path) as temporary:
                temporary.write_text(json.dumps(self.seconds))
