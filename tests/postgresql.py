"""A PostgreSQL server of one's own, for as long as a test needs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def postgresql(port: int) -> Iterator[str]:
    """Start a server with an empty database and yield its URL; skip where there is none."""
    pytest.importorskip("psycopg", reason="needs the package psycopg")
    programs = _programs()
    if programs is None:
        pytest.skip("needs PostgreSQL's initdb and postgres on this machine")
    # root may not run it, so then its own user does, in a folder that this user can reach
    as_user: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="metahpo-postgresql-"))
    try:
        if as_user:
            shutil.chown(folder, **as_user)
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "metahpo", "-A", "trust", "--no-sync"],
            check=True,
            cwd=folder,
            **quiet,
            **as_user,
        )
        options = ["-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        command = [programs / "postgres", "-D", data, *options]
        server = subprocess.Popen(command, cwd=folder, **quiet, **as_user)
        try:
            yield _ready(f"postgresql+psycopg://metahpo@127.0.0.1:{port}/postgres")
        finally:
            server.send_signal(signal.SIGINT)  # "fast": without waiting for whoever is connected
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """Find the folder of the server's programs, which Debian keeps off the search path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


def _ready(url: str) -> str:
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(url.replace("+psycopg", "")).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return url
    raise RuntimeError(f"the server at {url} did not start")
