"""Learners and states of training as files: JSON and safetensors, nothing that is executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from metahpo.artifact import ArtifactFormat
from metahpo.engine import InnerRule, Params, StepCount
from metahpo.fewshot.method import Method
from metahpo.fewshot.nets import MLP, Conv4, TaskNet
from metahpo.files import replace_file

if TYPE_CHECKING:
    from metahpo.fewshot.learners import MetaLearner

_TENSORS = "parameters.safetensors"
_FORMAT = ArtifactFormat(
    "metahpo.MetaLearner",
    1,
    "learner.json",
    required=("net", "method", "loss", "transductive", "seed", "steps"),
    files=(_TENSORS,),
)
_NETS: dict[str, type[MLP] | type[Conv4]] = {"mlp": MLP, "conv4": Conv4}


class StoredState:
    """A file that holds the state of a training; see :class:`metahpo.engine.Checkpoint`.

    Parameters
    ----------
    path : Path
    device : str
        Where the tensors go when they are read.
    """

    def __init__(self, path: Path, device: str) -> None:
        self._path, self._device = path, device

    def read(self) -> Params | None:
        """Return what was written last, None if there is no such file.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        if not self._path.exists():
            return None
        try:
            return load_file(self._path, device=self._device)
        except SafetensorError as error:
            raise ValueError(f"{self._path} is damaged: {error}; delete it") from error

    def write(self, state: Params) -> None:
        """Replace the file, whole or not at all."""
        with replace_file(self._path) as temporary:
            save_file(state, temporary)


def write_learner(learner: MetaLearner, folder: Path) -> None:
    """Write a learner; what its net cannot be told by a name and options is left out."""
    kinds = {kind: name for name, kind in _NETS.items()}
    net = learner.net
    header = {
        "net": {"kind": kinds[type(net)], **asdict(net)} if isinstance(net, MLP | Conv4) else None,
        "method": asdict(learner.method),
        "loss": learner.loss,
        "transductive": learner.transductive,
        "seed": learner.seed,
        "steps": learner.steps_,
    }
    tensors = {name: p.detach().cpu().contiguous() for name, p in learner.parameters.items()}
    _FORMAT.write(folder, header, {_TENSORS: lambda path: save_file(tensors, path)})


def read_learner(
    kind: type[MetaLearner], folder: Path, net: TaskNet | nn.Module | None, device: str
) -> MetaLearner:
    """Read a learner; see :meth:`MetaLearner.load`."""
    header = _FORMAT.read(folder)
    if net is None:
        if header["net"] is None:
            raise ValueError(f"{folder} was learned with a net of one's own: pass it as net=")
        net = _net(header["net"])
    learner = kind(
        net,
        _method(header["method"]),
        loss=header["loss"],
        transductive=header["transductive"],
        device=device,
        seed=header["seed"],
    )
    stored = load_file(folder / _TENSORS, device=learner.device)
    for name in sorted(stored.keys() | learner.parameters.keys()):
        here, there = learner.parameters.get(name), stored.get(name)
        if here is None or there is None or here.shape != there.shape:
            raise ValueError(f"{folder} was learned with another net: they differ in {name}")
    learner.parameters = stored
    learner.steps_ = header["steps"]
    return learner


def _net(options: dict[str, Any]) -> TaskNet:
    rest = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items() if k != "kind"}
    kind: Callable[..., TaskNet] = _NETS[options["kind"]]
    return kind(**rest)


def _method(options: dict[str, Any]) -> Method:
    rule = options["rule"] | {"adapted": tuple(options["rule"]["adapted"])}
    steps = options["steps"]
    return Method(
        InnerRule(**rule),
        StepCount(**steps) if isinstance(steps, dict) else steps,
        options["outer"],
    )
