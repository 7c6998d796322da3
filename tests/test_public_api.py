"""What `metahpo` offers, and that offering it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

import metahpo

NAMES = [
    "Learner",
    "MetaDataset",
    "MetaFeatures",
    "MetaModel",
    "MetaOptimizer",
    "MetaSampler",
    "MetaSearchCV",
    "Space",
    "describe",
    "learners",
]
HEAVY = ["torch", "optuna", "sklearn", "openml", "pandas", "scipy", "skrub", "plotly", "pyarrow"]


def loaded_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has imported after `code`."""
    script = f"import sys\n{code}\nprint(*(set(sys.modules) & set({HEAVY!r})))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_the_public_names_are_these() -> None:
    assert sorted(metahpo.__all__) == metahpo.__all__ == NAMES
    assert set(NAMES) <= set(dir(metahpo))


@pytest.mark.parametrize("name", sorted({*NAMES} - {"learners"}))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(metahpo, name)
    assert value.__module__.startswith("metahpo")
    assert value.__doc__


def test_the_catalogue_maps_names_to_learners() -> None:
    assert isinstance(metahpo.learners, Mapping)
    assert all(isinstance(learner, metahpo.Learner) for learner in metahpo.learners.values())
    assert all(learner.name == name for name, learner in metahpo.learners.items())


def test_other_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'metahpo' has no attribute 'tuner'"):
        metahpo.tuner  # noqa: B018


def test_importing_imports_nothing_heavy() -> None:
    assert loaded_after("import metahpo; metahpo.__version__") == set()
    assert loaded_after("import metahpo.cli") == set()


def test_the_catalogue_and_spaces_do_without_torch_and_openml() -> None:
    loaded = loaded_after("import metahpo; metahpo.learners['svc'].space.sample(3)")
    assert not loaded & {"torch", "openml", "skrub", "plotly"}


def test_asking_a_model_does_without_torch() -> None:
    loaded = loaded_after(
        "import metahpo\n"
        "space = metahpo.learners['svc'].space\n"
        "metahpo.MetaOptimizer(metahpo.MetaModel.blank(), space=space).ask()"
    )
    assert not loaded & {"torch", "openml", "skrub", "plotly"}
