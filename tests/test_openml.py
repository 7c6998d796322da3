from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from conftest import OpenMLServer, free_port

from metahpo.openml import OpenMLError, fetch_suite, fetch_task


@pytest.fixture
def index(shared: Path) -> pd.DataFrame:
    return pd.read_csv(shared / "data" / "openml-cache" / "index.csv").set_index("task_id")


def test_a_suite_by_number_and_by_alias(openml_server: OpenMLServer, index: pd.DataFrame) -> None:
    expected = set(index.index[index["in_cc18"]])
    assert set(fetch_suite(99)) == set(fetch_suite("99")) == expected
    assert fetch_suite("OpenML-CC18") == fetch_suite(99)


@pytest.mark.parametrize("task_id", [27, 29, 361616, 359931])
def test_a_task_is_the_table_in_the_cache(
    task_id: int, openml_server: OpenMLServer, shared: Path, index: pd.DataFrame
) -> None:
    fact = index.loc[task_id]
    cache = shared / "data" / "openml-cache" / "org" / "openml" / "www" / "datasets"
    did = fact["openml_did"]
    table = pd.read_parquet(cache / str(did) / f"dataset_{did}.pq")

    task = fetch_task(task_id)

    assert (task.task_id, task.dataset_id, task.task) == (task_id, did, fact["type"])
    assert task.name == fact["name"]
    assert task.X.shape == (fact["n"], fact["d"])
    assert len(task.categorical) == fact["n_categorical"]
    pd.testing.assert_series_equal(
        task.y.astype(str), table[fact["target"]].astype(str), check_names=False
    )
    pd.testing.assert_frame_equal(
        task.X.astype(str), table.drop(columns=fact["target"]).astype(str), check_like=True
    )


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_what_the_server_does_not_know(openml_server: OpenMLServer) -> None:
    with pytest.raises(OpenMLError, match="task 12345678") as caught:
        fetch_task(12345678)
    assert "Unknown task" in one_line(caught.value)
    for suite in (4711, "no-such-suite"):
        with pytest.raises(OpenMLError, match=f"suite {suite}") as caught:
            fetch_suite(suite)
        assert "Unknown study" in one_line(caught.value)


def test_a_server_that_is_down(
    openml_server: OpenMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openml

    monkeypatch.setattr(openml.config, "server", f"http://127.0.0.1:{free_port()}/api/v1/xml")
    for ask in (lambda: fetch_suite(99), lambda: fetch_task(27)):
        with pytest.raises(OpenMLError, match="cannot reach http://127") as caught:
            ask()
        assert "openml.config.server" in one_line(caught.value)


def test_a_server_that_never_answers(
    openml_server: OpenMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openml

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api/v1/xml"
        monkeypatch.setattr(openml.config, "server", url)
        with pytest.raises(OpenMLError, match=r"did not deliver task 27 within 0\.3 s") as caught:
            fetch_task(27, timeout=0.3)
        one_line(caught.value)


@contextmanager
def babbling(status: int, body: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/api/v1/xml"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>\nWelcome to the\nairport wifi</html>"),
        (200, b"\x00\x01 not XML at all"),
        (200, b""),
        (500, b"Internal\nserver error"),
        (404, b"<html>nothing here</html>"),
    ],
)
def test_a_server_that_answers_nonsense(
    status: int, body: bytes, openml_server: OpenMLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openml

    with babbling(status, body) as url:
        monkeypatch.setattr(openml.config, "server", url)
        for ask in (lambda: fetch_suite(99), lambda: fetch_task(27)):
            with pytest.raises(OpenMLError, match=url) as caught:
                ask()
            assert len(one_line(caught.value)) < 400
