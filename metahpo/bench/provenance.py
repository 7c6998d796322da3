"""How a run was made: command, versions, machine, revision."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

_LIBRARIES = (
    *("numpy", "pandas", "scipy", "scikit-learn", "torch", "optuna", "openml", "skrub"),
    *("lightgbm", "xgboost", "xgboost-cpu", "joblib", "dask", "cmaes"),
)


def session(command: str, jobs: int) -> dict[str, Any]:
    """Return what ``run.json`` says of one session, as it begins."""
    from metahpo import __version__

    revision, modified = _revision()
    return {
        "command": command,
        "metahpo": __version__,
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "platform": platform.platform(),
            "cpu": _processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        },
        "revision": revision,
        "modified": modified,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": None,
        "jobs": jobs,
        "units": 0,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _revision() -> tuple[str | None, bool | None]:
    """Return the checkout's commit, and whether it has changes; None outside of one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            said = subprocess.check_output(
                ["git", *arguments], cwd=here, stderr=subprocess.DEVNULL, text=True, timeout=10
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return said.strip()

    if git("ls-files", Path(__file__).name) != Path(__file__).name:
        return None, None  # installed somewhere inside of another project
    changes = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD"), None if changes is None else bool(changes)
