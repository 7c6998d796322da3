"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".unfinished"


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Write to a temporary file that takes `path`'s place once it is safely on disk.

    Yields
    ------
    Path
        The temporary file, in the same folder. If the block raises, it is removed and `path`
        stays as it was; if the process is killed, it stays and `path` too is as it was.

    Raises
    ------
    OSError
        Naming `path`, if it cannot be written: no permission, no space, no such folder.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{SUFFIX}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error.__cause__, OSError):
            raise  # of another file that is written meanwhile, and named already
        reason = error.strerror or str(error)  # Arrow's own errors have no errno
        raise OSError(error.errno, f"cannot write {path}: {reason}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed process left behind."""
    for path in folder.glob(f"*{SUFFIX}"):
        path.unlink()
