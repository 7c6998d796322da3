from __future__ import annotations

import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from metahpo import MetaModel

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data and referee that stands beside the repository in CI."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, which is not part of the repository")
    return SHARED


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class OpenMLServer:
    """A running OpenML server, and a client configuration that points at it."""

    url: str
    cache: Path
    config_home: Path  # for XDG_CONFIG_HOME of a subprocess


@pytest.fixture(scope="session")
def _openml_process(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, str(shared / "data" / "openml_server.py")]
    command += ["--cache", str(shared / "data" / "openml-cache"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            pytest.fail("the local OpenML server did not start")
        yield f"http://127.0.0.1:{port}/api/v1/xml"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def openml_server(
    _openml_process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenMLServer]:
    """The local OpenML server, with the client pointed at it and an empty cache."""
    import openml

    cache, config_home = tmp_path / "openml-cache", tmp_path / "config"
    (config_home / "openml").mkdir(parents=True)
    (config_home / "openml" / "config").write_text(
        f"server = {_openml_process}\ncachedir = {cache}\nconnection_n_retries = 1\n"
    )
    before = openml.config.get_config_as_dict()
    monkeypatch.setattr(openml.config, "server", _openml_process)
    monkeypatch.setattr(openml.config, "connection_n_retries", 1)
    openml.config.set_root_cache_directory(cache)
    try:
        yield OpenMLServer(_openml_process, cache, config_home)
    finally:
        openml.config.set_root_cache_directory(before["cachedir"])


@pytest.fixture(scope="session")
def tiny_model() -> MetaModel:
    """A MetaModel of the catalogue's "svc", trained in seconds on made-up tasks.

    On task ``t`` in [-1, 1] the best C is 10 ** (1 + t / 2), gamma 10 ** (t / 3 - 2), and rbf
    the best kernel; the meta-features "nr_attr" and "nr_class" say which ``t`` it is.
    """
    from metahpo import MetaDataset, MetaModel, learners

    space = learners["svc"].space
    where = {f"made-up {i}": t for i, t in enumerate(np.linspace(-1, 1, 8))}
    trials = []
    for seed, (task_id, t) in enumerate(where.items()):
        configs = [space.default, *space.sample(31, seed=seed)]
        scores = [made_up_accuracy(config, t) for config in configs]
        trials.append(space.to_frame(configs).assign(task_id=task_id, score=scores))
    tasks = pd.DataFrame([made_up_meta_features(t) for t in where.values()], index=list(where))
    # one family, so that none is held out and the model is trained once instead of twice
    info = pd.DataFrame({"family": "made-up"}, index=list(where))
    md = MetaDataset.from_frames(pd.concat(trials), tasks, space=space, info=info)
    return MetaModel.fit(md, device="cpu")


def made_up_accuracy(config: Mapping[str, Any], t: float) -> float:
    """What an SVC scores on the made-up task ``t``: 0.9 at best."""
    gamma = config.get("gamma", 0.1)
    kernel = {"rbf": 0.0, "poly": 0.05, "sigmoid": 0.15, "linear": 0.1}[config["kernel"]]
    misses = [math.log10(config["C"]) - 1 - t / 2, math.log10(gamma) + 2 - t / 3]
    return 0.9 - kernel - sum(0.02 * miss**2 for miss in misses)


def made_up_meta_features(t: float) -> dict[str, float]:
    """What is known of the made-up task ``t`` before any trial."""
    return {"nr_attr": 10.0 * (2 + t), "nr_class": 3.0 - t}
