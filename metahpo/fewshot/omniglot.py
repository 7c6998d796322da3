"""Omniglot: handwritten characters, as few-shot classification tasks.

References
----------
Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 2015: the characters. Vinyals et al., "Matching Networks for One Shot
Learning", NeurIPS 2016: the split, and rotations as further classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from metahpo.engine import Episodes, LabelledTasks
from metahpo.fewshot.source import Source, Split

Images = NDArray[np.uint8]

_FILES = ("omniglot_background.npz", "omniglot_evaluation.npz")
_SPLIT = "vinyals_split.npz"
_DRAWERS = 20


@dataclass(frozen=True)
class Omniglot(Source):
    """All characters at 28 × 28, by the Vinyals split.

    Parameters
    ----------
    folder : str
        Holds ``omniglot_background.npz`` and ``omniglot_evaluation.npz``, with ``images``
        (n, 28, 28), and the ``alphabet``, ``character`` and ``drawer`` of each; and
        ``vinyals_split.npz``, with each split's characters as rows (file, alphabet, character).
    ways : int, default=5
        Classes a task.
    rotations : bool, default=True
        Whether each character turned by 90°, 180° and 270° is a class of its own, as in the
        papers' protocol.
    """

    folder: str
    ways: int = 5
    rotations: bool = True

    kind: ClassVar[str] = "omniglot"

    @property
    def classes(self) -> int:
        """The ways."""
        return self.ways

    @property
    def shape(self) -> tuple[int, ...]:
        """One channel of 28 × 28."""
        return (1, 28, 28)

    def tasks(self, split: Split, *, shots: int, queries: int) -> ImageTasks:
        """Return the N-way K-shot tasks of a split.

        Raises
        ------
        ValueError
            Naming the file of the folder that is missing or holds something else.
        """
        return ImageTasks(*self._bytes(split), ways=self.ways, shots=shots, queries=queries)

    @property
    def has_labels(self) -> bool:
        """Yes: which character it is."""
        return True

    def labelled(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return a split's images with the characters as labels."""
        images, labels = self._bytes(split)
        return _ink(images), labels

    def _bytes(self, split: Split) -> tuple[Tensor, Tensor]:
        images = read_characters(self.folder)[split]
        turned = [np.rot90(images, k, axes=(2, 3)) for k in range(4 if self.rotations else 1)]
        classes = np.concatenate(turned)
        flat = torch.from_numpy(classes.reshape(-1, *self.shape))
        return flat, torch.arange(len(classes)).repeat_interleave(_DRAWERS)


@lru_cache(maxsize=1)
def read_characters(folder: str) -> dict[Split, Images]:
    """Read a folder of Omniglot, see :class:`Omniglot`: by split (characters, 20, 28, 28).

    Ink is 255, paper 0; each character is in the order of the people who drew it.

    Raises
    ------
    ValueError
        Naming the file that is missing or holds something else.
    """
    halves = [_characters(Path(folder) / name) for name in _FILES]
    path = Path(folder) / _SPLIT
    images: dict[Split, Images] = {}
    with _opened(path) as arrays:
        for split in get_args(Split):
            if split not in arrays:
                raise ValueError(f"{path} lacks the array {split!r}")
            rows = arrays[split].tolist()
            images[split] = np.stack([halves[half][a, c] for half, a, c in rows])
    return images


class ImageTasks:
    """N-way K-shot tasks over classes of images; see :class:`metahpo.engine.LabelledTasks`.

    Images are kept as bytes and become numbers, ink 1 and paper 0, when they are drawn.
    """

    def __init__(self, x: Tensor, y: Tensor, *, ways: int, shots: int, queries: int) -> None:
        self._bytes = LabelledTasks(x, y, ways=ways, shots=shots, queries=queries)

    def sample(self, tasks: int, generator: Generator) -> Episodes:
        """Draw a batch of tasks: x (B, ways·shots, 1, 28, 28)."""
        drawn = self._bytes.sample(tasks, generator)
        return Episodes(_ink(drawn.support_x), drawn.support_y, _ink(drawn.query_x), drawn.query_y)


def _ink(images: Tensor) -> Tensor:
    return images.float() / 255.0


def _characters(path: Path) -> dict[tuple[int, int], Images]:
    """Read a file's images by (alphabet, character): (20, 28, 28), in the order of drawers."""
    with _opened(path) as arrays:
        for name in ("images", "alphabet", "character", "drawer"):
            if name not in arrays:
                raise ValueError(f"{path} lacks the array {name!r}")
        images = arrays["images"]
        order = np.lexsort((arrays["drawer"], arrays["character"], arrays["alphabet"]))
        keys = np.stack([arrays["alphabet"], arrays["character"]], 1)[order]
    if len(images) % _DRAWERS or images.ndim != 3:
        raise ValueError(f"{path} holds images {images.shape}; {_DRAWERS} of each are needed")
    stacked = images[order].reshape(-1, _DRAWERS, *images.shape[1:])
    return {(int(a), int(c)): s for (a, c), s in zip(keys[::_DRAWERS], stacked, strict=True)}


def _opened(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(
            f"there is no {path}; give the folder that holds {', '.join((*_FILES, _SPLIT))}"
        ) from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
