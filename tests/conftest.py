from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import made_up
import pytest

if TYPE_CHECKING:
    from metahpo import MetaModel

# two processes test at once; threads of theirs would only wait for one another, and on a machine
# that lends fewer cores than it shows they wait for most of the time (read as libraries load)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a suite started in the background ignores Ctrl-C, and so would the processes that it starts
signal.signal(signal.SIGINT, signal.default_int_handler)

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
    """A MetaModel of the catalogue's "svc", trained in seconds on the tasks of made_up.py."""
    from metahpo import MetaModel

    return MetaModel.fit(made_up.meta_dataset(), device="cpu")
