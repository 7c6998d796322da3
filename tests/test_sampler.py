"""MetaSampler in real studies: every way of running one, and every trial one may find there.

``make test`` runs this file on Optuna 4 as well as on the version in constraints.txt.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sklearn.datasets import load_iris

from metahpo import MetaModel, MetaSampler, Space, learners

SVC = learners["svc"].space
T = 0.5  # the made-up task that is tuned
META_FEATURES = made_up.meta_features(T)

optuna.logging.set_verbosity(optuna.logging.ERROR)


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "float" if isinstance(distribution, FloatDistribution) else "int"
    return getattr(trial, f"suggest_{kind}")(
        name, distribution.low, distribution.high, log=distribution.log
    )


def suggest_all(trial: Trial, space: Space = SVC, prefix: str = "") -> dict[str, Any]:
    """Suggest the active parameters of a space as a define-by-run objective does."""
    config: dict[str, Any] = {}
    for name in space.names:
        if name in space.active(config):
            config[name] = suggest(trial, prefix + name, space.distributions[name])
    return config


def objective(trial: Trial) -> float:
    return made_up.accuracy(suggest_all(trial), T)


def params(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


@pytest.fixture
def sampler(tiny_model: MetaModel) -> Callable[..., MetaSampler]:
    def make(**options: Any) -> MetaSampler:
        given = {"meta_features": META_FEATURES, "seed": 0, **options}
        return MetaSampler(tiny_model, **given)

    return make


@pytest.fixture
def study(sampler: Callable[..., MetaSampler]) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=sampler())


@pytest.fixture(params=["memory", "sqlite", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
    if request.param == "memory":
        return InMemoryStorage()
    if request.param == "sqlite":
        return RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    return JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))


# ---------------------------------------------------------------------- the warm start


def test_the_first_trial_is_the_models_suggestion(
    tiny_model: MetaModel, study: optuna.Study
) -> None:
    study.optimize(objective, n_trials=1)
    assert params(study) == tiny_model.suggest(META_FEATURES, 1)


def test_meta_features_move_the_first_trial(sampler: Callable[..., MetaSampler]) -> None:
    first = []
    for t in (-1, 1):
        study = optuna.create_study(sampler=sampler(meta_features=made_up.meta_features(t)))
        study.optimize(objective, n_trials=1)
        first.append(params(study)[0])
    assert first[0] != first[1]


def test_it_describes_the_dataset_it_is_given(tiny_model: MetaModel) -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    sampler = MetaSampler(tiny_model, X=X, y=y)
    assert sampler.meta_features is not None
    assert sampler.meta_features["nr_class"] == 3


def test_it_beats_random_search_on_average(sampler: Callable[..., MetaSampler]) -> None:
    def best(sampler: optuna.samplers.BaseSampler) -> float:
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(objective, n_trials=8)
        return study.best_value

    warm = [best(sampler(seed=seed)) for seed in range(2)]
    cold = [best(optuna.samplers.RandomSampler(seed=seed)) for seed in range(10)]
    assert np.mean(warm) > np.mean(cold)


def test_a_loss_is_minimised(sampler: Callable[..., MetaSampler]) -> None:
    maximised = optuna.create_study(direction="maximize", sampler=sampler())
    minimised = optuna.create_study(direction="minimize", sampler=sampler())
    maximised.optimize(objective, n_trials=6)
    minimised.optimize(lambda trial: -objective(trial), n_trials=6)
    assert params(minimised) == params(maximised)


def test_seed_and_trials_decide(sampler: Callable[..., MetaSampler]) -> None:
    def run(seed: int, batches: tuple[int, ...]) -> list[dict[str, Any]]:
        study = optuna.create_study(direction="maximize", sampler=sampler(seed=seed))
        for n_trials in batches:
            study.sampler = sampler(seed=seed)  # what it keeps of the trials changes nothing
            study.optimize(objective, n_trials=n_trials)
        return params(study)

    assert run(1, (6,)) == run(1, (2, 1, 1, 2))
    assert run(1, (23,)) != run(2, (23,))  # the first are what earlier tasks have tried


def test_one_sampler_serves_studies_of_several_kinds(sampler: Callable[..., MetaSampler]) -> None:
    def alternating(samplers: Sequence[MetaSampler]) -> list[list[dict[str, Any]]]:
        maximised = optuna.create_study(direction="maximize", sampler=samplers[0])
        minimised = optuna.create_study(sampler=samplers[1])
        for _ in range(5):
            maximised.optimize(objective, n_trials=1)
            minimised.optimize(
                lambda trial: -objective(trial) + trial.suggest_float("new", 0, 1), n_trials=1
            )
        return [params(maximised), params(minimised)]

    one = sampler()
    assert alternating([one, one]) == alternating([sampler(), sampler()])


def test_reseeding_changes_what_comes(sampler: Callable[..., MetaSampler]) -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler())
    study.optimize(objective, n_trials=22)
    study.sampler.reseed_rng()
    others = optuna.create_study(direction="maximize", sampler=sampler())
    others.optimize(objective, n_trials=22)
    study.optimize(objective, n_trials=1)
    others.optimize(objective, n_trials=1)
    assert params(study)[-1] != params(others)[-1]


def test_it_survives_pickling(sampler: Callable[..., MetaSampler]) -> None:
    here = optuna.create_study(direction="maximize", sampler=sampler())
    there = optuna.create_study(
        direction="maximize", sampler=pickle.loads(pickle.dumps(sampler()))
    )
    for study in (here, there):
        study.optimize(objective, n_trials=1)
    assert params(here) == params(there)


# ---------------------------------------------------------------------- ways of running a study


def test_storages(storage: BaseStorage, sampler: Callable[..., MetaSampler]) -> None:
    in_memory = optuna.create_study(direction="maximize", sampler=sampler())
    stored = optuna.create_study(direction="maximize", storage=storage, sampler=sampler())
    in_memory.optimize(objective, n_trials=5)
    stored.optimize(objective, n_trials=5)
    assert params(stored) == params(in_memory)


def test_ask_and_tell(tiny_model: MetaModel, study: optuna.Study) -> None:
    batch = [study.ask(SVC_FLAT) for _ in range(3)]
    assert len({str(trial.params) for trial in batch}) == 3
    for trial in batch:
        assert set(trial.params) == set(SVC_FLAT)
        study.tell(trial, made_up.accuracy(trial.params, T))
    after = study.ask(SVC_FLAT)
    assert after.params not in [trial.params for trial in batch]
    study.tell(after, state=TrialState.FAIL)
    assert study.ask().number == 4  # nothing has to be suggested at all


SVC_FLAT: dict[str, BaseDistribution] = {
    "C": SVC.distributions["C"],
    "kernel": CategoricalDistribution(["linear", "rbf"]),
    "gamma": SVC.distributions["gamma"],
}


def test_threads_that_start_together_try_different_things(
    tiny_model: MetaModel, study: optuna.Study
) -> None:
    together = threading.Barrier(2, timeout=60)

    def objective_in_step(trial: Trial) -> float:
        if trial.number < 2:
            together.wait()
        config = suggest_all(trial)
        if trial.number < 2:
            together.wait()
        return made_up.accuracy(config, T)

    study.optimize(objective_in_step, n_trials=12, n_jobs=2)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 12
    assert params(study)[:2] == tiny_model.suggest(META_FEATURES, 2)
    assert len({str(config) for config in params(study)}) == 12


def test_threads_whose_trials_end_while_others_are_chosen_try_different_things(
    study: optuna.Study,
) -> None:
    study.optimize(objective, n_trials=12, n_jobs=3)
    assert len({str(config) for config in params(study)}) == 12


def test_processes_share_a_study(
    tmp_path: Path, tiny_model: MetaModel, sampler: Callable[..., MetaSampler]
) -> None:
    tiny_model.save(tmp_path / "model")
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="shared", storage=url, direction="maximize")
    script = (
        "import sys, optuna, test_sampler as t\n"
        "from metahpo import MetaSampler\n"
        "sampler = MetaSampler(sys.argv[1], meta_features=t.META_FEATURES, seed=0)\n"
        "study = optuna.load_study(study_name='shared', storage=sys.argv[2], sampler=sampler)\n"
        "study.optimize(t.objective, n_trials=3)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model"), url]
    workers = [subprocess.Popen(command, cwd=Path(__file__).parent) for _ in range(2)]
    assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 6
    assert len({str(config) for config in params(study)}) == 6
    assert tiny_model.suggest(META_FEATURES, 1)[0] in params(study)


def test_running_trials_of_others_are_not_repeated(
    tmp_path: Path, tiny_model: MetaModel, sampler: Callable[..., MetaSampler]
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    here = optuna.create_study(
        study_name="s", storage=RDBStorage(url), direction="maximize", sampler=sampler()
    )
    there = optuna.load_study(study_name="s", storage=RDBStorage(url), sampler=sampler())
    first, second, third = tiny_model.suggest(META_FEATURES, 3)
    assert suggest_all(here.ask()) == first
    assert suggest_all(there.ask()) == second
    begun = here.ask()  # has suggested nothing yet, but it would take the third
    fourth = suggest_all(there.ask())
    assert fourth != third
    assert suggest_all(begun) not in (first, second, fourth)


def test_one_that_died_unseen_was_heeded_by_those_chosen_beside_it(
    sampler: Callable[..., MetaSampler],
) -> None:
    """A second trial is chosen while the first runs; the third after the first has died."""

    def begun() -> tuple[optuna.Study, list[Trial]]:
        study = optuna.create_study(direction="maximize", sampler=sampler(seed=0))
        study.optimize(objective, n_trials=1)
        return study, [study.ask(), study.ask()]

    study, (_, second) = begun()
    chosen = suggest_all(second)
    study, (first, _) = begun()  # the second has not shown yet what it tries
    study.tell(first, state=TrialState.FAIL)
    assert suggest_all(study.ask()) != chosen


@pytest.mark.parametrize(
    "pruner",
    [optuna.pruners.MedianPruner(n_startup_trials=2), optuna.pruners.HyperbandPruner(1, 4)],
)
def test_pruned_trials(
    pruner: optuna.pruners.BasePruner, sampler: Callable[..., MetaSampler]
) -> None:
    def slowly(trial: Trial) -> float:
        value = objective(trial) if trial.number % 3 < 2 else objective(trial) - 1
        for step in range(4):
            trial.report(value - 0.1 * (3 - step), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study = optuna.create_study(direction="maximize", sampler=sampler(), pruner=pruner)
    study.optimize(slowly, n_trials=8)
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.parametrize(("reports", "told"), [({0: 0.99}, 0.8), ({0: 0.5}, 0.5), ({}, np.nan)])
def test_a_pruned_trial_is_no_better_than_the_median(
    study: optuna.Study, reports: dict[int, float], told: float
) -> None:
    for value in (0.7, 0.8, 0.9):
        study.add_trial(finished({"C": 1.0 + value}, value=value))
    study.add_trial(finished({"C": 9.0}, state=TrialState.PRUNED, intermediate_values=reports))
    ((config, score),) = [t for t in study.sampler.optimizer(study).trials if t[0]["C"] == 9.0]
    assert config == {"C": 9.0}
    np.testing.assert_equal(score, told)


# ---------------------------------------------------------------------- trials of all origins


def finished(values: Mapping[str, Any], space: Space = SVC, **options: Any) -> FrozenTrial:
    distributions = {name: space.distributions[name] for name in values}
    return optuna.trial.create_trial(params=dict(values), distributions=distributions, **options)


def test_enqueued_trials_are_run_and_learned_from(study: optuna.Study) -> None:
    study.enqueue_trial({"C": 3.0, "kernel": "poly"})
    study.enqueue_trial({"C": 1e7, "kernel": "rbf"})  # out of range
    with pytest.warns(UserWarning, match="out of range"):
        study.optimize(objective, n_trials=4)
    assert params(study)[0]["C"] == 3.0
    assert params(study)[0]["kernel"] == "poly"
    assert {"degree", "coef0", "gamma_rule"} <= set(params(study)[0])
    told = study.sampler.optimizer(study).trials
    assert len(told) == 4
    assert told[1][0]["C"] == 2**10  # as near as the space comes


def test_trials_of_another_sampler_count(sampler: Callable[..., MetaSampler]) -> None:
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=5)
    study.sampler = sampler()
    assert [score for _, score in study.sampler.optimizer(study).trials] == [
        trial.value for trial in study.trials
    ]
    study.optimize(objective, n_trials=1)
    assert params(study)[-1] not in params(study)[:-1]


def test_failures_count_as_bad(tiny_model: MetaModel, study: optuna.Study) -> None:
    def failing(trial: Trial) -> float:
        suggest_all(trial)
        if trial.number == 0:
            raise MemoryError
        return float("nan") if trial.number == 1 else float("-inf")

    study.optimize(failing, n_trials=3, catch=(MemoryError,))
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "COMPLETE"]
    told = study.sampler.optimizer(study).trials
    assert [config for config, _ in told] == params(study)
    assert np.isnan([score for _, score in told]).all()
    study.optimize(objective, n_trials=2)
    assert len({str(config) for config in params(study)}) == 5


@pytest.mark.parametrize("known", [["C", "gamma"], ["kernel", "C"], ["a", "b"]])
def test_what_has_failed_is_left_where_the_objective_shows_a_part_of_the_space(
    study: optuna.Study, known: list[str]
) -> None:
    """Nothing has succeeded that would tell which parameters it has."""

    def fails(trial: Trial) -> float:
        suggest(trial, known[0], SVC.distributions.get(known[0], FloatDistribution(0.0, 1.0)))
        suggest(trial, known[1], SVC.distributions.get(known[1], FloatDistribution(0.0, 1.0)))
        raise ValueError

    study.optimize(fails, n_trials=12, catch=(ValueError,))
    assert len({repr(config) for config in params(study)}) == 12


def test_a_choice_that_has_failed_is_left(study: optuna.Study) -> None:
    def fails(trial: Trial) -> float:
        if trial.suggest_categorical("kernel", SVC.distributions["kernel"].choices) != "linear":
            raise ValueError
        return trial.suggest_float("C", 1e-2, 1e2, log=True)

    study.optimize(fails, n_trials=10, catch=(ValueError,))
    kernels = [config["kernel"] for config in params(study)]
    assert kernels.count("linear") >= 7  # each of the other three once at most


def test_a_failure_that_went_well_when_tried_again_is_forgiven(study: optuna.Study) -> None:
    config = dict(SVC.default)
    study.add_trial(finished(config, state=TrialState.FAIL))
    study.add_trial(finished(config, value=0.9))
    assert study.sampler.optimizer(study).trials == [(config, 0.9)]


def test_a_trial_without_parameters_is_passed_over(study: optuna.Study) -> None:
    study.add_trial(optuna.trial.create_trial(value=0.5))
    study.optimize(objective, n_trials=2)
    assert len(study.sampler.optimizer(study).trials) == 2


# ---------------------------------------------------------------------- spaces that differ


def test_ranges_and_choices_are_the_objectives_own(study: optuna.Study) -> None:
    space = Space(
        {
            "kernel": CategoricalDistribution(["linear", "rbf"]),  # fewer, in another order
            "C": FloatDistribution(0.001, 2.0),  # reaches lower and less high, and is not log
            "gamma": FloatDistribution(0.1, 100.0, log=True),
            "class_weight": CategoricalDistribution([None, "balanced", "mine"]),
            "degree": FloatDistribution(2.0, 4.0),  # an int in the model
        },
        {"gamma": ("kernel", ["rbf"])},
    )
    study.optimize(lambda trial: made_up.accuracy(suggest_all(trial, space), T), n_trials=7)
    for config in params(study):
        space.validate(config)
    report = study.sampler.transfer
    assert set(report.mapped) == set(space.names)
    assert set(report.clipped) == {"C", "gamma", "class_weight"}
    assert report.fixed["gamma_rule"] == "value"


def test_a_range_that_moves(study: optuna.Study) -> None:
    for low, high in [(0.1, 1.0), (10.0, 100.0), (1.0, 20.0)]:
        study.optimize(lambda trial, a=low, b=high: trial.suggest_float("C", a, b), n_trials=3)
        assert all(low <= config["C"] <= high for config in params(study)[-3:])


def test_unknown_parameters_are_tuned_by_the_trials(
    study: optuna.Study, caplog: pytest.LogCaptureFixture
) -> None:
    def with_more(trial: Trial) -> float:
        config = {"C": trial.suggest_float("C", 2**-5, 2**10, log=True), "kernel": "rbf"}
        smoothing = trial.suggest_float("smoothing", 0.0, 1.0)
        trial.suggest_int("layers", 1, 5, step=2)
        return made_up.accuracy(config, T) - (smoothing - 0.9) ** 2

    study.optimize(with_more, n_trials=12)
    assert study.sampler.transfer.mapped == ("C",)
    assert set(study.sampler.transfer.unknown) == {"smoothing", "layers"}
    assert {config["layers"] for config in params(study)} <= {1, 3, 5}
    late = [abs(config["smoothing"] - 0.9) for config in params(study)[-4:]]
    assert min(late) < 0.15
    (message,) = messages(caplog)
    assert message.startswith("MetaSampler: the model does not know all that is tuned; mapped: C")
    assert "unknown: smoothing, layers" in message


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("metahpo")]


def test_a_wider_range_is_not_called_unknown(
    study: optuna.Study, caplog: pytest.LogCaptureFixture
) -> None:
    study.optimize(lambda trial: trial.suggest_float("C", 1e-3, 1.0, log=True), n_trials=2)
    (message,) = messages(caplog)
    report = study.sampler.transfer
    what = "MetaSampler: what is tuned reaches beyond what the model has seen"
    assert message == f"{what}; {report}"
    assert "mapped: C; clipped: C (seen from 0.03125 to 1024)" in message


@pytest.mark.parametrize(
    ("options", "names", "said"),
    [
        ({}, ("svc__C", "svc__gamma"), "; did you mean prefix='svc__'?"),
        ({}, ("a__b__C", "lr"), "; did you mean prefix='a__b__'?"),
        ({"prefix": "svc__"}, ("C", "new"), "; did you mean prefix=''?"),
        ({"prefix": "svc__"}, ("clf__C",), "; did you mean prefix='clf__'?"),
        ({}, ("n_neighbors", "p"), "; did you mean the model of learner='k_neighbors'?"),
        (
            {},
            ("knn__n_neighbors", "knn__p"),
            "; did you mean the model of learner='k_neighbors', prefix='knn__'?",
        ),
        ({}, ("x",), "; give the learner that is tuned as learner=..., or a model of it"),
    ],
)
def test_where_nothing_is_known_what_may_be_meant_is_named(
    sampler: Callable[..., MetaSampler],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    names: tuple[str, ...],
    said: str,
) -> None:
    study = optuna.create_study(sampler=sampler(**options))
    study.optimize(lambda t: sum(t.suggest_int(name, 1, 9) for name in names), n_trials=2)
    what = f"MetaSampler: the model knows nothing of what is tuned: {', '.join(names)}"
    assert messages(caplog) == [what + said]


def test_no_other_name_is_proposed_where_none_is_to_blame(
    sampler: Callable[..., MetaSampler],
    tiny_model: MetaModel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def choose(trial: Trial) -> float:
        return float(trial.suggest_categorical("C", ["low", "high"]) == "low")

    for model in (tiny_model, MetaModel.blank()):
        optuna.create_study(sampler=MetaSampler(model)).optimize(choose, n_trials=2)
    assert messages(caplog) == ["MetaSampler: the model knows nothing of what is tuned: C"] * 2


def test_nothing_known_at_all(study: optuna.Study) -> None:
    study.optimize(lambda trial: -((trial.suggest_float("x", -5, 5) - 2) ** 2), n_trials=12)
    assert study.best_value > -0.25
    assert study.sampler.transfer.mapped == ()


def test_fixed_parameters_are_conditioned_on(sampler: Callable[..., MetaSampler]) -> None:
    fixed = {"kernel": "poly", "gamma_rule": "value", "degree": 3}
    study = optuna.create_study(direction="maximize", sampler=sampler(fixed=fixed))
    assert study.sampler.transfer.fixed == fixed
    assert set(study.sampler.transfer.mapped) == {"C", "class_weight", "gamma", "coef0"}
    study.optimize(lambda trial: suggest_all(trial, FREE)["C"], n_trials=4)
    assert study.sampler.transfer.fixed == {**fixed, "class_weight": None}


FREE = Space({name: SVC.distributions[name] for name in ("C", "gamma")})


def test_the_space_that_is_given_is_where_it_starts(
    tiny_model: MetaModel, sampler: Callable[..., MetaSampler]
) -> None:
    space = Space(
        {"C": FloatDistribution(0.5, 2.0, log=True), "new": FloatDistribution(0.0, 1.0)},
        default={"C": 1.0, "new": 0.25},
    )
    study = optuna.create_study(direction="maximize", sampler=sampler(space=space))
    assert study.sampler.transfer.unknown == ("new",)
    study.optimize(lambda trial: sum(suggest_all(trial, space).values()), n_trials=3)
    assert params(study)[0]["new"] == 0.25  # the default of what nobody knows
    assert all(0.5 <= config["C"] <= 2.0 for config in params(study))


@pytest.mark.parametrize("kernel", ["linear", "poly"])
def test_what_another_sampler_fixes_is_conditioned_on(
    sampler: Callable[..., MetaSampler], kernel: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        around = optuna.samplers.PartialFixedSampler({"kernel": kernel}, sampler())
    study = optuna.create_study(direction="maximize", sampler=around)
    study.optimize(objective, n_trials=12)
    assert {config["kernel"] for config in params(study)} == {kernel}
    assert len({repr(config) for config in params(study)}) == 12


def test_names_under_a_prefix(tiny_model: MetaModel, sampler: Callable[..., MetaSampler]) -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler(prefix="svc__"))
    study.optimize(
        lambda trial: made_up.accuracy(suggest_all(trial, prefix="svc__"), T), n_trials=4
    )
    (first,) = tiny_model.suggest(META_FEATURES, 1)
    assert params(study)[0] == {f"svc__{name}": value for name, value in first.items()}
    assert study.sampler.transfer.unknown == ()


def test_choices_of_any_kind(study: optuna.Study) -> None:
    choices: list[Any] = [(64,), (64, 64), dict, None, 1]

    def wide(trial: Trial) -> float:
        trial.suggest_categorical("truth", [0, False])
        return float(choices.index(trial.suggest_categorical("layers", choices)) == 1)

    with pytest.warns(UserWarning, match="Choices for a categorical distribution"):
        study.optimize(wide, n_trials=10)
    assert study.best_params["layers"] == (64, 64)
    assert sum(config["layers"] == (64, 64) for config in params(study)[-4:]) >= 2


# ---------------------------------------------------------------------- define by run


def test_branches_are_learned(study: optuna.Study) -> None:
    def branching(trial: Trial) -> float:
        if trial.suggest_categorical("classifier", ["svc", "forest"]) == "svc":
            return made_up.accuracy(suggest_all(trial), T)
        depth = trial.suggest_int("depth", 1, 8)
        sizes = [trial.suggest_int(f"size_{i}", 1, 9) for i in range(trial.suggest_int("n", 1, 3))]
        return 0.5 + depth / 20 + sum(sizes) / 100

    study.optimize(branching, n_trials=14)
    assert {config["classifier"] for config in params(study)} == {"svc", "forest"}
    space = study.sampler.optimizer(study).space
    assert space.conditions["depth"] == ("classifier", ("forest",))
    assert space.conditions["C"] == ("classifier", ("svc",))
    assert space.conditions["gamma"] == SVC.conditions["gamma"]


@pytest.mark.parametrize(
    "keep",
    [("C", "gamma"), ("kernel", "C", "gamma"), ("degree",), ("C", "gamma_rule"), ("coef0", "C")],
)
def test_any_part_of_the_known_space(study: optuna.Study, keep: tuple[str, ...]) -> None:
    def part(trial: Trial) -> float:
        for name in keep:
            if name != "gamma" or trial.params.get("kernel") != "linear":
                suggest(trial, name, SVC.distributions[name])
        return trial.params.get("C", 0.0)

    study.optimize(part, n_trials=5)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5
    report = study.sampler.transfer
    assert set(report.mapped) == set(keep)
    assert report.unknown == ()


# ---------------------------------------------------------------------- refusals


def test_several_objectives(sampler: Callable[..., MetaSampler]) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler())
    with pytest.raises(ValueError, match=r"^MetaSampler tunes one objective, the study has 2;"):
        study.optimize(lambda trial: (objective(trial), 1.0), n_trials=1)


def test_constraints(study: optuna.Study) -> None:
    def constrained(trial: Trial) -> float:
        trial.set_constraint("memory", 1.0)
        return objective(trial)

    if not hasattr(Trial, "set_constraint"):  # Optuna 4 leaves it to the sampler
        pytest.skip("only Optuna 5 has constraints of its own")
    with pytest.raises(ValueError, match=r"^MetaSampler does not handle constraints, and trial 0"):
        study.optimize(constrained, n_trials=2)


def test_constraints_that_another_sampler_left(study: optuna.Study) -> None:
    study.add_trial(finished({"C": 1.0}, value=1.0, system_attrs={"constraints": [1.0]}))
    with pytest.raises(ValueError, match=r"^MetaSampler does not handle constraints, and trial 0"):
        study.optimize(objective, n_trials=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": [[1.0], [2.0]], "meta_features": None}, "the dataset lacks y"),
        ({"X": [[1.0], [2.0]], "y": [0, 1]}, "give one of them"),
        ({"fixed": {"cost": 1.0}}, "fixed names 'cost', which the model does not know"),
        ({"fixed": {"kernel": "mine"}}, "fixed sets kernel='mine', of which the model knows"),
        ({"learner": "svm"}, "unknown learner 'svm'; did you mean"),
    ],
)
def test_bad_arguments(
    sampler: Callable[..., MetaSampler], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        sampler(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": ["kernel"]}, "^fixed is of type list; give a mapping"),
        ({"learner": learners["svc"]}, "^learner is of type Learner; give the name of one"),
    ],
)
def test_arguments_of_another_type(
    sampler: Callable[..., MetaSampler], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        sampler(**options)


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model"):
        MetaSampler(tmp_path)
