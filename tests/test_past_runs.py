"""Runs that others uploaded, through the real client, from a server that has some.

The local OpenML server has data but no runs; here it is given some, in the XML that OpenML's
documentation and the client's own tests have.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import OpenMLServer, free_port

from metahpo import MetaDataset, learners
from metahpo.cli import main
from metahpo.collect import import_runs
from metahpo.collect.past_runs import translate
from metahpo.openml import OpenMLError, fetch_evaluations

NS = 'xmlns:oml="http://openml.org/openml"'
PIPELINE = "sklearn.pipeline.Pipeline(imputer=sklearn.impute._base.SimpleImputer"
FLOW = f"{PIPELINE},svc=sklearn.svm._classes.SVC)(3)"
FLOW_ID, SVC, IMPUTER = (
    18817,
    "sklearn.svm._classes.SVC(8)",
    "sklearn.impute._base.SimpleImputer(2)",
)
SETTINGS = {  # as scikit-learn's SVC had them
    "C": 1.0, "break_ties": False, "cache_size": 200, "class_weight": None, "coef0": 0.0,
    "decision_function_shape": "ovr", "degree": 3, "gamma": "scale", "kernel": "rbf",
    "max_iter": -1, "probability": False, "random_state": 1, "shrinking": True, "tol": 0.001,
    "verbose": False,
}  # fmt: skip
RUNS: Sequence[tuple[int, dict[str, Any], float]] = (  # task, what is set, accuracy
    (27, {}, 0.85),
    (27, {"C": 10.5, "gamma": 0.01}, 0.87),
    (27, {"C": 10.5, "gamma": 0.01, "random_state": 7}, 0.83),  # the same configuration
    (27, {"kernel": "poly", "degree": 2, "coef0": 0.5, "C": 100}, 0.8),
    (29, {"kernel": "linear", "C": 0.1, "shrinking": False}, 0.86),
    (29, {"gamma": "auto"}, 0.81),
    (29, {"C": 5000.0}, 0.79),
    (29, {"kernel": "precomputed"}, 0.5),
)


def element(name: str, *content: object) -> str:
    return f"<oml:{name}>{''.join(map(str, content))}</oml:{name}>"


def evaluations(task_ids: Sequence[int]) -> str:
    return "".join(
        element(
            "evaluation",
            element("run_id", 1000 + i),
            element("task_id", task_id),
            element("setup_id", 500 + i),
            element("flow_id", FLOW_ID),
            element("flow_name", FLOW),
            element("function", "predictive_accuracy"),
            element("upload_time", "2020-02-29 12:00:00"),
            element("uploader", 1),
            element("data_id", 25),
            element("data_name", "colic"),
            element("value", value),
        )
        for i, (task_id, _, value) in enumerate(RUNS)
        if task_id in task_ids
    )


def parameter(number: int, part: str, name: str, value: Any) -> str:
    return element(
        "parameter",
        element("id", number),
        element("flow_id", FLOW_ID),
        element("flow_name", part.split("(")[0]),
        element("full_name", f"{part}_{name}"),
        element("parameter_name", name),
        element("data_type", "float"),
        element("default_value", ""),
        element("value", json.dumps(value)),
    )


def setups(ids: Sequence[int]) -> str:
    return "".join(
        element(
            "setup",
            element("setup_id", i),
            element("flow_id", FLOW_ID),
            parameter(1, IMPUTER, "strategy", "mean"),
            parameter(2, FLOW, "memory", None),
            *(
                parameter(number, SVC, name, value)
                for number, (name, value) in enumerate(
                    (SETTINGS | RUNS[i - 500][1]).items(), start=3
                )
            ),
        )
        for i in ids
    )


def answer(path: Sequence[str]) -> str | None:
    """Answer the calls that list runs; None leaves the call to the server of the data."""
    filters = dict(zip(path[2::2], path[3::2], strict=False))
    if path[:2] == ["evaluation", "list"]:
        wanted = [int(i) for i in filters["task"].split(",")]
        known = filters["flow"] == str(FLOW_ID) and filters["function"] == "predictive_accuracy"
        found = evaluations(wanted) if known else ""
        return f"<oml:evaluations {NS}>{found}</oml:evaluations>" if found else None
    if path[:2] == ["setup", "list"]:
        found = setups([int(i) for i in filters["setup"].split(",")])
        return f"<oml:setups {NS}>{found}</oml:setups>"
    if path[:2] == ["user", "list"]:
        user = element("user", element("id", 1), element("username", "someone"))
        return f"<oml:users {NS}>{user}</oml:users>"
    return None


@pytest.fixture
def runs_server(
    openml_server: OpenMLServer, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The local OpenML server, given runs, with the client pointed at it."""
    import openml

    spec = importlib.util.spec_from_file_location(
        "openml_server", shared / "data" / "openml_server.py"
    )
    assert spec is not None
    assert spec.loader is not None
    local: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(local)

    class WithRuns(local.H):  # type: ignore[misc]
        def api(self, path: list[str], store: Any) -> None:
            found = answer(path)
            if found is None:
                super().api(path, store)
            else:
                self.out(found)

    with ThreadingHTTPServer(("127.0.0.1", 0), WithRuns) as server:
        server.daemon_threads = True
        server.store = local.Store(str(shared / "data" / "openml-cache"))  # type: ignore[attr-defined]
        server.verbose = False  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/api/v1/xml"
        monkeypatch.setattr(openml.config, "server", url)
        yield
        server.shutdown()
        thread.join()


def test_what_the_client_lists_is_passed_on(runs_server: None) -> None:
    found = fetch_evaluations(FLOW_ID, [27, 29], "predictive_accuracy")
    assert found["value"].tolist() == [value for _, _, value in RUNS]
    assert found["parameters"][1][f"{SVC}_gamma"] == "0.01"
    assert fetch_evaluations(1, [27], "predictive_accuracy").empty


def test_runs_become_a_meta_dataset(
    runs_server: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "imported"
    arguments = ["--from-openml-runs", "--flow", str(FLOW_ID), "--task", "27,29"]
    assert main(["collect", *arguments, "--out", str(out)]) == 0
    said = capsys.readouterr()
    dataset = MetaDataset.load(out)
    assert dataset.space == learners["svc"].space
    assert (dataset.metric, dataset.direction) == ("accuracy", "maximize")
    trials = dataset.trials.set_index("task_id")
    assert trials["score"].tolist() == pytest.approx([0.85, 0.85, 0.8, 0.86])
    first, second, third, fourth = dataset.space.from_frame(dataset.trials)
    assert first == dataset.space.default
    assert second == first | {"C": 10.5, "gamma_rule": "value", "gamma": 0.01}
    assert third["degree"] == 2
    assert fourth == {"C": 0.1, "kernel": "linear", "class_weight": None}

    assert dataset.tasks is not None
    assert list(dataset.tasks.index) == ["27", "29"]
    assert dataset.info is not None
    assert dataset.info.loc["29", "name"] == "credit-approval"
    assert json.loads(dataset.info.loc["27", "fingerprint"])

    assert "5 of 8 runs" in said.err
    assert "shrinking (True, False)" in said.err
    for reason in ("C: 1 runs", "gamma: 1 runs", "kernel: 1 runs", "'auto'"):
        assert reason in said.err
    translation = json.loads((out / "translation.json").read_text())
    assert translation["mapped"] == ["C", "class_weight", "coef0", "degree", "gamma", "kernel"]
    assert translation["assumed"] == []
    assert (translation["n_runs"], translation["n_used"]) == (8, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flow", "1", "--tasks", "27"], "give --from-openml-runs, --flow ID, and --tasks"),
        (["--from-openml-runs", "--flow", "1"], "give --from-openml-runs, --flow ID, and --tasks"),
        (["--from-openml-runs", "--flow", "1", "--tasks", "27"], "lists no predictive_accuracy"),
        (
            ["--from-openml-runs", "--flow", "1", "--tasks", "27", "--metric", "loss"],
            "unknown measure 'loss'",
        ),
        (
            ["--from-openml-runs", "--flow", str(FLOW_ID), "--tasks", "27", "--learners", "mlp"],
            "has no part of mlp; it has Pipeline, SVC, SimpleImputer",
        ),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    runs_server: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert main(["collect", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_server_that_is_gone_is_named(
    openml_server: OpenMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openml

    monkeypatch.setattr(openml.config, "server", f"http://127.0.0.1:{free_port()}/api/v1/xml")
    with pytest.raises(OpenMLError, match=r"cannot reach http://127.* evaluations of flow 18817"):
        fetch_evaluations(FLOW_ID, [27], "predictive_accuracy")
    with pytest.raises(ValueError, match="unknown measure"):
        import_runs(FLOW_ID, [27], tmp_path, measure="accuracy")


# ---------------------------------------------------------------------- translation alone


def listed(flow: str, parameters: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task_id": 1,
            "flow_name": flow,
            "value": [0.5 + i / 100 for i in range(len(parameters))],
            "parameters": parameters,
        }
    )


def test_the_base_of_an_ensemble_is_part_of_its_space() -> None:
    ada, tree = "sklearn.ensemble.weight_boosting.AdaBoostClassifier", "sklearn.tree.tree.Tree"
    tree = tree.replace("Tree", "DecisionTreeClassifier")
    flow = f"{ada}(base_estimator={tree})(4)"
    runs = listed(
        flow,
        [
            {f"{flow}_n_estimators": "120", f"{flow}_learning_rate": "0.5",
             f"{flow}_algorithm": '"SAMME.R"', f"{tree}(9)_max_depth": depth}
            for depth in ("3", "null")
        ],
    )  # fmt: skip
    trials, translation = translate(runs, learners["ada_boost"])
    (config,) = learners["ada_boost"].space.from_frame(trials)
    assert config == {"n_estimators": 120, "learning_rate": 0.5, "estimator__max_depth": 3}
    assert translation.ignored == {"algorithm": ["SAMME.R"]}
    assert "estimator__max_depth" in translation.refused


def test_what_a_flow_does_not_have_is_at_the_librarys_default_and_said() -> None:
    flow = "sklearn.ensemble.HistGradientBoostingClassifier(1)"
    runs = listed(flow, [{f"{flow}_learning_rate": "0.3", f"{flow}_max_leaf_nodes": "15"}])
    trials, translation = translate(runs, learners["hist_gradient_boosting"])
    assert translation.mapped == ("learning_rate", "max_leaf_nodes")
    assert translation.assumed == ("max_features", "max_iter", "min_samples_leaf")
    assert trials["max_iter"].tolist() == [100]


def test_values_that_older_clients_wrote_without_quotes_are_read() -> None:
    flow = "sklearn.svm.classes.SVC(1)"
    runs = listed(flow, [{f"{flow}_kernel": "sigmoid", f"{flow}_C": "2", f"{flow}_gamma": "0.1"}])
    (config,) = learners["svc"].space.from_frame(translate(runs, learners["svc"])[0])
    assert (config["kernel"], config["C"], config["gamma"]) == ("sigmoid", 2.0, 0.1)


def test_all_runs_left_out_is_one_line() -> None:
    flow = "sklearn.svm.classes.SVC(1)"
    runs = listed(flow, [{f"{flow}_C": "1e9"}, {f"{flow}_C": '"much"'}])
    with pytest.raises(ValueError, match=r"no run of .* is a configuration of svc: C: 2 runs"):
        translate(runs, learners["svc"])
