"""The model that is shipped: complete, sound, and strange to the datasets it is shown on."""

import json
from pathlib import Path

import pytest
from sklearn import datasets

import metahpo
from metahpo import MetaDataset, MetaModel
from metahpo.bench.demo import LEARNERS
from metahpo.bench.sources import BundledSource
from metahpo.catalogue import UnionLearner
from metahpo.fingerprint import Fingerprint, fingerprint

SHIPPED = Path(metahpo.__file__).parent / "default"
TASKS = ("classification", "regression")
# of scikit-learn, every dataset that needs no download: the demo and the examples use these
BUNDLED = {
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "diabetes in its own units": lambda **kw: datasets.load_diabetes(scaled=False, **kw),
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}
SAME_NAMES = ("breast-w", "wdbc", "wisconsin", "optdigits", "iris", "wine")


@pytest.fixture(scope="module", params=TASKS)
def evaluations(request):
    return MetaDataset.load(SHIPPED / request.param / "evaluations")


@pytest.mark.parametrize("name", BUNDLED)
def test_no_example_was_trained_on_under_any_name(evaluations, name):
    X, y = BUNDLED[name](return_X_y=True)
    example = fingerprint(X, y)
    for task_id, text in evaluations.info["fingerprint"].items():
        known = Fingerprint.from_json(json.loads(text))
        assert not known.overlap(example) >= 0.05, (task_id, evaluations.info["name"][task_id])


def test_no_training_task_bears_an_examples_name(evaluations):
    names = {str(name).lower() for name in evaluations.info["name"]}
    assert not names & set(SAME_NAMES)


def test_a_demo_dataset_would_be_noticed_among_the_training_tasks():
    for name in LEARNERS:
        task = BundledSource(name).load()
        X, y = task.X, task.y
        half = fingerprint(X.iloc[::2].sample(frac=1, random_state=0), y.iloc[::2])
        assert half.overlap(fingerprint(X, y)) > 0.9


def test_enough_tasks_and_every_learner_were_evaluated(evaluations):
    expected = 40 if evaluations.metric == "accuracy" else 20
    assert len(evaluations) >= expected
    assert evaluations.tasks is not None
    assert evaluations.tasks.shape[1] > 50
    counts = evaluations.trials.groupby(["learner", "task_id"]).size().unstack()
    assert counts.notna().all(axis=None)


@pytest.mark.parametrize("task", TASKS)
def test_there_is_a_model_of_every_learner(task):
    for learner in metahpo.learners.values():
        if learner.task != task:
            continue
        model = MetaModel.load("default", learner=learner.name, task=task)
        for config in model.suggest(n=3):
            if isinstance(learner, UnionLearner):
                chosen, own = learner.split(config)
                assert chosen.space.validate(own) == own
            else:
                assert learner.space.validate(config) == config
        assert model.card["held_out"]["n_tasks"] >= 4
