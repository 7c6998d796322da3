"""Omniglot: the split, rotations as classes, and what is said of a folder that holds it not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from metahpo.fewshot.omniglot import Omniglot, read_characters


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data" / "omniglot"


def test_the_split_is_vinyals(folder: Path) -> None:
    images = read_characters(str(folder))
    assert {split: len(x) for split, x in images.items()} == {
        "train": 1028,
        "val": 172,
        "test": 423,
    }
    assert images["train"].shape[1:] == (20, 28, 28)
    hashes = {s: {x.tobytes() for x in images[s].reshape(-1, 784)} for s in images}
    assert not hashes["train"] & hashes["test"]
    assert not hashes["train"] & hashes["val"]


def test_a_character_is_where_the_split_says(folder: Path) -> None:
    rows = np.load(folder / "vinyals_split.npz")["test"]
    half, alphabet, character = (int(value) for value in rows[7])
    name = ("omniglot_background.npz", "omniglot_evaluation.npz")[half]
    with np.load(folder / name) as arrays:
        own = (arrays["alphabet"] == alphabet) & (arrays["character"] == character)
        expected = arrays["images"][own][np.argsort(arrays["drawer"][own])]
    assert np.array_equal(read_characters(str(folder))["test"][7], expected)


def test_tasks_are_images_in_the_unit_range_without_overlap(folder: Path) -> None:
    source = Omniglot(folder=str(folder), ways=5)
    episodes = source.tasks("val", shots=2, queries=3).sample(4, generator())
    assert episodes.support_x.shape == (4, 10, 1, 28, 28)
    assert episodes.query_x.shape == (4, 15, 1, 28, 28)
    assert episodes.support_x.min() == 0
    assert 0.9 < episodes.support_x.max() <= 1
    assert torch.equal(episodes.support_y[0].bincount(), torch.full((5,), 2))
    for support, query in zip(episodes.support_x, episodes.query_x, strict=True):
        same = (support[:, None] == query[None]).flatten(2).all(-1)
        assert not same.any()


def test_rotations_are_classes_of_their_own(folder: Path) -> None:
    plain = Omniglot(folder=str(folder), rotations=False).labelled("val")
    turned = Omniglot(folder=str(folder)).labelled("val")
    assert int(plain[1].max()) + 1 == 172
    assert int(turned[1].max()) + 1 == 4 * 172
    quarter = turned[0][turned[1] == 172]  # the first character, turned by 90 degrees
    first = plain[0][plain[1] == 0]
    assert torch.equal(quarter, torch.rot90(first, 1, (2, 3)))


def test_a_folder_without_omniglot_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"omniglot_background\.npz; give the folder that holds"):
        Omniglot(folder=str(tmp_path)).tasks("train", shots=1, queries=1)


def test_a_damaged_file_is_named(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("*.npz"):
        shutil.copy(file, tmp_path)
        (tmp_path / file.name).chmod(0o644)
    (tmp_path / "vinyals_split.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"vinyals_split\.npz is damaged"):
        read_characters(str(tmp_path))
    with (folder / "vinyals_split.npz").open("rb") as file:
        arrays = dict(np.load(file))
    np.savez(tmp_path / "vinyals_split.npz", train=arrays["train"], val=arrays["val"])
    with pytest.raises(ValueError, match="lacks the array 'test'"):
        read_characters(str(tmp_path))
