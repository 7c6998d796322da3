"""Artifacts: folders of data files under a JSON header with a schema version and checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metahpo.files import replace_file

Writer = Callable[[Path], None]


@dataclass(frozen=True)
class ArtifactFormat:
    """A kind of artifact.

    Parameters
    ----------
    name : str
        What the header says it is, as "metahpo.MetaModel".
    version : int
        The schema version written, and the highest that is read.
    header : str
        File name of the header.
    required : tuple of str
        What a header must hold.
    files : tuple of str
        What a folder must hold beside the header.
    """

    name: str
    version: int
    header: str
    required: tuple[str, ...]
    files: tuple[str, ...] = ()

    def write(self, folder: Path, header: Mapping[str, Any], files: Mapping[str, Writer]) -> None:
        """Write the files, then the header with their checksums; a folder without is unfinished.

        Nothing of a folder that is there already is replaced before all files are written.

        Raises
        ------
        OSError
            Naming the file that cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        checksums = {}
        with ExitStack() as written:
            for name, write in files.items():
                temporary = written.enter_context(replace_file(folder / name))
                write(temporary)
                checksums[name] = _sha256(temporary)
            (folder / self.header).unlink(missing_ok=True)
        full = {"format": self.name, "schema_version": self.version, **header}
        with replace_file(folder / self.header) as temporary:
            temporary.write_text(json.dumps({**full, "sha256": checksums}, indent=1) + "\n")

    def read(self, folder: Path) -> dict[str, Any]:
        """Read and check a folder's header, and the checksums of its files.

        Raises
        ------
        ValueError
            Naming the file that is missing, damaged, of a newer version or of something else.
        """
        path, kind = folder / self.header, self.name.removeprefix("metahpo.")
        try:
            header = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{folder} is no {kind}: it has no {self.header}") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if not isinstance(header, dict) or header.get("format") != self.name:
            raise ValueError(f"{path} does not belong to a {kind}")
        version = header.get("schema_version")
        if not isinstance(version, int) or version > self.version:
            raise ValueError(
                f"{path} has schema version {version}; this metahpo reads up to {self.version}"
            )
        for name in (*self.required, "sha256"):
            if name not in header:
                raise ValueError(f"{path} is damaged: it has no {name!r}")
        checksums = header["sha256"]
        if not isinstance(checksums, dict) or not checksums.keys() >= set(self.files):
            raise ValueError(f"{path} is damaged: its checksums are not those of a {kind}")
        for name, checksum in checksums.items():
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name} is missing")
            if _sha256(folder / name) != checksum:
                raise ValueError(
                    f"{folder / name} is damaged: its checksum is not the one in {self.header}"
                )
        return header


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
