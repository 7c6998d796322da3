"""Episodes: a batch of tasks as tensors, and the samplers that cut them.

Notation
--------
======= =========== ===========================================================================
name    shape       meaning
======= =========== ===========================================================================
B                   tasks in a batch, always the first dimension
S, Q                examples a task in the support set (adapt on these) and in the query set
x       (B, S, …)   inputs
y       (B, S, …)   targets: numbers, or class labels counted from 0
mask    (B, S)      which examples are there, where tasks differ in size; None = all
======= =========== ===========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Episodes:
    """A batch of tasks, each with the examples to adapt on and those to be judged on.

    Parameters
    ----------
    support_x, support_y : Tensor, shape (B, S, ...)
    query_x, query_y : Tensor, shape (B, Q, ...)
    support_mask, query_mask : Tensor of bool, shape (B, S) and (B, Q), optional
        False where a task has fewer examples than the largest of its batch.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    support_mask: Tensor | None = None
    query_mask: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("support", "query"):
            x, y, mask = (getattr(self, f"{name}_{part}") for part in ("x", "y", "mask"))
            expected = tuple(x.shape[:2])
            for part, value in (("y", y), ("mask", mask)):
                if value is not None and tuple(value.shape[:2]) != expected:
                    raise ValueError(
                        f"{name}_{part} has shape {tuple(value.shape)}; it must begin with "
                        f"{expected} (tasks, examples), as {name}_x does"
                    )
        if len(self.support_x) != len(self.query_x):
            raise ValueError(
                f"support_x holds {len(self.support_x)} tasks and query_x {len(self.query_x)}"
            )

    def __len__(self) -> int:
        return len(self.support_x)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Episodes:
        """Move to a device, real numbers also to a dtype; labels and masks keep theirs."""

        def moved(value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            return value.to(device, dtype if value.is_floating_point() else None)

        return Episodes(*(moved(getattr(self, f.name)) for f in fields(self)))  # type: ignore[arg-type]

    def split(self, parts: int) -> list[Episodes]:
        """Cut the batch into at most `parts` batches of nearly equal size, in order."""
        columns = [getattr(self, f.name) for f in fields(self)]
        cut = [(None,) * parts if c is None else c.tensor_split(parts) for c in columns]
        batches = [Episodes(*pieces) for pieces in zip(*cut, strict=True)]
        return [batch for batch in batches if len(batch)]


class TaskSource(Protocol):
    """Anything that hands out tasks: implement this one method to bring your own."""

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw a batch of tasks.

        Parameters
        ----------
        tasks : int
        generator : torch.Generator
            The only source of chance, so that a seed fixes the tasks. It lives on the CPU.
        """
        ...


class LabelledTasks:
    """N-way K-shot classification tasks, cut from any labelled array.

    Every task draws `ways` classes, gives them the labels 0 … ways - 1 in random order, and draws
    shots and queries of each without replacement: no example is in both.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
    y : Tensor of int, shape (n,)
        Any integers.
    ways, shots, queries : int
        Classes a task, and examples a class in its support and in its query set.

    Raises
    ------
    ValueError
        If too few classes have `shots + queries` examples.
    """

    def __init__(self, x: Tensor, y: Tensor, *, ways: int, shots: int, queries: int) -> None:
        if min(ways, shots, queries) < 1:
            raise ValueError("ways, shots and queries must be at least 1")
        if len(x) != len(y):
            raise ValueError(f"x holds {len(x)} examples and y {len(y)}")
        self.x, self.ways, self.shots, self.queries = x, ways, shots, queries
        members = [torch.nonzero(y == label).flatten() for label in torch.unique(y)]
        self._members = [rows for rows in members if len(rows) >= shots + queries]
        if len(self._members) < ways:
            raise ValueError(
                f"{ways}-way tasks need {ways} classes with at least {shots + queries} examples "
                f"(shots + queries); there are {len(self._members)}"
            )

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        """Draw a batch of tasks: support (B, ways·shots, …), query (B, ways·queries, …)."""
        per_class = self.shots + self.queries
        rows = torch.empty(tasks, self.ways, per_class, dtype=torch.long)
        for task in range(tasks):
            classes = torch.randperm(len(self._members), generator=generator)[: self.ways]
            for way, index in enumerate(classes.tolist()):
                members = self._members[index]
                drawn = torch.randperm(len(members), generator=generator)[:per_class]
                rows[task, way] = members[drawn]
        labels = torch.arange(self.ways)[:, None].expand(tasks, -1, per_class)
        support, query = (rows[..., : self.shots], rows[..., self.shots :])
        return Episodes(
            self.x[support.flatten(1)],
            labels[..., : self.shots].flatten(1),
            self.x[query.flatten(1)],
            labels[..., self.shots :].flatten(1),
        )


Example = tuple[Tensor, Tensor]  # x (n, …), y (n, …) of one task


def pad(supports: Sequence[Example], queries: Sequence[Example]) -> Episodes:
    """Lay tasks of different sizes side by side, with masks that tell what is padding.

    Parameters
    ----------
    supports, queries : sequence of (x, y)
        One pair a task; the examples are along the first dimension of both.
    """
    if len(supports) != len(queries) or not supports:
        raise ValueError("pad needs one support and one query set a task, and at least one task")
    support_x, support_y, support_mask = _padded(supports)
    query_x, query_y, query_mask = _padded(queries)
    return Episodes(support_x, support_y, query_x, query_y, support_mask, query_mask)


def _padded(sets: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    x, y = zip(*sets, strict=True)
    sizes = torch.tensor([len(part) for part in x])
    mask = torch.arange(int(sizes.max())) < sizes[:, None]
    pad_sequence = torch.nn.utils.rnn.pad_sequence
    return pad_sequence(list(x), batch_first=True), pad_sequence(list(y), batch_first=True), mask


def task_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Average one value an example over each task's examples: (B, n) to (B,)."""
    if mask is None:
        return values.mean(1)
    # where, not a product: what padding makes of a loss may be infinite
    kept = torch.where(mask, values, values.new_zeros(()))
    return kept.sum(1) / mask.sum(1).clamp(min=1)
