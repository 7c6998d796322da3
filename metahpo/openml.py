"""OpenML suites and tasks through the public openml client, as plain tables with clear errors.

Which server is asked, where its answers are cached and how often a request is repeated is the
client's own configuration (``openml.config``, or its configuration file); nothing here knows of
any server.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ANSWER_SECONDS = 300.0
"""How long one suite or task may take, all of the client's own repetitions included."""

Answer = TypeVar("Answer")
Rows = NDArray[np.int64]


class OpenMLError(RuntimeError):
    """OpenML could not be reached, or did not answer with what was asked for."""


@dataclass(frozen=True)
class OpenMLTask:
    """A supervised OpenML task with its table.

    Attributes
    ----------
    task_id, dataset_id : int
        OpenML's numbers.
    name : str
        Name of the dataset.
    task : {"classification", "regression"}
        Kind of the task.
    X : DataFrame
        The columns to predict from, without row identifiers and ignored columns.
    y : Series
        The target.
    categorical : tuple of str
        The columns of `X` that OpenML declares categorical.
    """

    task_id: int
    dataset_id: int
    name: str
    task: Literal["classification", "regression"]
    X: pd.DataFrame
    y: pd.Series[Any]
    categorical: tuple[str, ...]


def fetch_suite(suite: int | str, *, timeout: float = ANSWER_SECONDS) -> tuple[int, ...]:
    """Return the task ids of a benchmark suite.

    Parameters
    ----------
    suite : int or str
        Its id (99) or its alias ("OpenML-CC18").
    timeout : float, default=300
        Seconds to wait for the server.

    Raises
    ------
    OpenMLError
        If the server is down, slow or answers nonsense, or knows no such suite.
    """
    import openml

    key = int(suite) if str(suite).isdigit() else suite
    answer = _ask(lambda: openml.study.get_suite(key), f"suite {suite}", timeout)
    if not answer.tasks:
        raise OpenMLError(f"suite {suite} of {openml.config.server} has no tasks")
    return tuple(int(task_id) for task_id in answer.tasks)


def fetch_task(task_id: int, *, timeout: float = ANSWER_SECONDS) -> OpenMLTask:
    """Fetch a supervised classification or regression task with its table.

    Parameters
    ----------
    task_id : int
        OpenML's task id (not the dataset's).
    timeout : float, default=300
        Seconds to wait for the server.

    Raises
    ------
    OpenMLError
        If the server is down, slow or answers nonsense, knows no such task, or the task is
        neither supervised classification nor regression.
    """
    what = f"task {task_id}"
    return _ask(lambda: _read_task(int(task_id)), what, timeout)


def fetch_split(task_id: int, fold: int, *, timeout: float = ANSWER_SECONDS) -> tuple[Rows, Rows]:
    """Fetch one fold of a task's own cross-validation: the rows to train on, and to test on.

    Of a task with repetitions, the first.

    Parameters
    ----------
    task_id : int
    fold : int
        From 0.
    timeout : float, default=300
        Seconds to wait for the server.

    Raises
    ------
    OpenMLError
        If the server is down, slow or answers nonsense, or the task has no such fold.
    """
    return _ask(lambda: _read_split(int(task_id), fold), f"fold {fold} of task {task_id}", timeout)


def fetch_evaluations(
    flow: int, task_ids: Sequence[int], measure: str, *, timeout: float = ANSWER_SECONDS
) -> pd.DataFrame:
    """Fetch the evaluations of a flow that others have uploaded.

    Parameters
    ----------
    flow : int
        OpenML's number of the flow: a learner or pipeline in one version.
    task_ids : sequence of int
    measure : str
        OpenML's name of an evaluation measure, such as ``"predictive_accuracy"``.
    timeout : float, default=300
        Seconds to wait for the server.

    Returns
    -------
    DataFrame
        One row a run: ``run_id``, ``task_id``, ``flow_name``, ``value`` (of the measure), and
        ``parameters``: a dict of full name to value as text. Without rows if there are none.

    Raises
    ------
    OpenMLError
        If the server is down, slow or answers nonsense.
    """
    what = f"the evaluations of flow {flow}"
    return _ask(lambda: _read_evaluations(flow, task_ids, measure), what, timeout)


def _read_evaluations(flow: int, task_ids: Sequence[int], measure: str) -> pd.DataFrame:
    import openml

    columns = ["run_id", "task_id", "flow_name", "value", "parameters"]
    listed: Any = openml.evaluations.list_evaluations_setups(
        measure, flows=[int(flow)], tasks=[int(i) for i in task_ids], output_format="dataframe"
    )
    return listed[columns] if len(listed) else pd.DataFrame(columns=columns)


def _read_split(task_id: int, fold: int) -> tuple[Rows, Rows]:
    import openml

    with warnings.catch_warnings():
        # the client leaves the file of the splits open
        warnings.simplefilter("ignore", ResourceWarning)
        task: Any = openml.tasks.get_task(task_id, download_splits=True)
        _, n_folds, _ = task.get_split_dimensions()
        if fold >= n_folds:
            raise OpenMLError(f"task {task_id} has {n_folds} folds, and none of number {fold}")
        train, test = task.get_train_test_split_indices(fold=fold)
    return np.asarray(train, dtype=np.int64), np.asarray(test, dtype=np.int64)


def _read_task(task_id: int) -> OpenMLTask:
    import openml

    kinds: dict[object, Literal["classification", "regression"]] = {
        openml.tasks.TaskType.SUPERVISED_CLASSIFICATION: "classification",
        openml.tasks.TaskType.SUPERVISED_REGRESSION: "regression",
    }
    description: Any = openml.tasks.get_task(task_id, download_data=False)
    if description.task_type_id not in kinds:
        raise OpenMLError(
            f"task {task_id} is of type {description.task_type!r}; "
            "supervised classification and regression tasks can be used"
        )
    dataset: Any = openml.datasets.get_dataset(
        description.dataset_id, download_data=True, download_features_meta_data=True
    )
    X, y, categorical, names = dataset.get_data(target=description.target_name)
    if y is None or not len(X.columns):
        raise OpenMLError(f"dataset {dataset.dataset_id} of task {task_id} has no columns")
    return OpenMLTask(
        task_id=task_id,
        dataset_id=int(description.dataset_id),
        name=str(dataset.name),
        task=kinds[description.task_type_id],
        X=X,
        y=y,
        categorical=tuple(
            n for n, is_category in zip(names, categorical, strict=True) if is_category
        ),
    )


def _ask(question: Callable[[], Answer], what: str, timeout: float) -> Answer:
    """Run `question` with a deadline, and turn whatever goes wrong into one line."""
    import openml
    import requests

    server = openml.config.server
    answers: list[Answer] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            answers.append(question())
        except Exception as error:
            errors.append(error)

    # The client sets no time limit on its requests and has no setting for one; a thread that is
    # left behind is the only way to stop waiting without reaching into it.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    if answers:
        return answers[0]
    if not errors:
        raise OpenMLError(f"{server} did not deliver {what} within {timeout:g} s")
    error = errors[0]
    if isinstance(error, OpenMLError):
        raise error
    if isinstance(error, requests.exceptions.ConnectionError):
        raise OpenMLError(
            f"cannot reach {server} for {what}; is the server up, and openml.config.server right?"
        ) from error
    if isinstance(error, OSError) and error.errno is not None:
        cache = openml.config.get_cache_directory()
        raise OpenMLError(
            f"cannot keep {what} in the client's cache {cache}: {error.strerror}"
        ) from error
    if isinstance(error, openml.exceptions.OpenMLServerException):
        raise OpenMLError(f"{server} refused {what}: {_one_line(error.message)}") from error
    raise OpenMLError(
        f"{server} gave an answer for {what} that makes no sense: "
        f"{type(error).__name__}: {_one_line(str(error))}"
    ) from error


def _one_line(text: str, limit: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
