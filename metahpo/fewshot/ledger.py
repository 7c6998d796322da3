"""Ledger: finished pieces of a long computation, one JSON line each, so that it can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Record = dict[str, Any]
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Ledger:
    """A file of finished pieces.

    Parameters
    ----------
    path : Path
    rules : mapping of str to plain values
        What holds for every piece; a file that was begun under other rules is refused.
    """

    path: Path
    rules: Mapping[str, Any]

    def read(self) -> list[Record]:
        """Return the finished pieces.

        Raises
        ------
        ValueError
            If the file was begun under other rules.
        """
        text = self.path.read_text() if self.path.exists() else ""
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        records = [json.loads(line) for line in whole]
        for record in records:
            for name, value in self.rules.items():
                if record.pop(name, None) != value:
                    raise ValueError(
                        f"{self.path} was begun with another {name} than {value!r}; "
                        "use another folder"
                    )
        return records

    def find(self, wanted: Mapping[_Key, Record]) -> dict[_Key, Record]:
        """Return those of some pieces that are finished.

        Parameters
        ----------
        wanted : mapping
            What the record of each piece holds before any result: all that the results depend on
            and that is in no rule. A record that differs in any of it is of another piece.

        Raises
        ------
        ValueError
            If the file was begun under other rules.
        """
        names = {name for fields in wanted.values() for name in fields}
        known = {_text({name: one.get(name) for name in names}): one for one in self.read()}
        texts = {key: _text(fields) for key, fields in wanted.items()}
        return {key: known[text] for key, text in texts.items() if text in known}

    def fill(
        self,
        pieces: Sequence[Callable[[], Record]],
        *,
        total: int,
        n_jobs: int = 1,
        watch: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Work pieces off and write each as soon as it is finished.

        Parameters
        ----------
        pieces : sequence of callable
            What is left; each returns its record and can be pickled.
        total : int
            How many pieces there are, the finished ones included.
        n_jobs : int, default=1
            Processes, each with one thread.
        watch : callable, optional
            Called with how many pieces are finished, and the total.
        """
        from joblib import Parallel, delayed

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._mend()
        watch(total - len(pieces), total)
        work = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        finished: Iterable[Record] = work(delayed(_on_one_thread)(piece) for piece in pieces)
        with self.path.open("a") as file:
            for count, record in enumerate(finished, total - len(pieces) + 1):
                file.write(json.dumps({**self.rules, **record}) + "\n")
                file.flush()
                watch(count, total)

    def _mend(self) -> None:
        """Cut off a line in whose middle a process was killed."""
        text = self.path.read_text() if self.path.exists() else ""
        if text and not text.endswith("\n"):
            self.path.write_text(text[: text.rfind("\n") + 1])


def _text(fields: Record) -> str:
    """Write fields so that they can be compared: as read back, whatever their order."""
    return json.dumps(fields, sort_keys=True)


def _on_one_thread(piece: Callable[[], Record]) -> Record:
    import torch

    torch.set_num_threads(1)  # the nets are small: more threads would only wait for each other
    return piece()
