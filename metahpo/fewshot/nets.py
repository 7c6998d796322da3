"""Networks whose every parameter may differ from task to task.

A network here is a function of (parameters with a leading task dimension, inputs): linear layers
are batched matrix products and convolutions grouped ones, so a batch of tasks costs one call a
layer. Their meta-gradients equal those of a plain loop over torch's own modules.

Notation
--------
======= =============== =====================================================================
name    shape           meaning
======= =============== =====================================================================
B, n                    tasks, examples a task
x       (B, n, …)       inputs
w       (B, …)          a parameter; (1, …) where all tasks share it
seen    (B, n)          the examples that batch statistics are taken from; None = all
======= =============== =====================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from metahpo.engine import Params

Norm = Literal["batch", "layer", "group", "instance", "none"]
_EPSILON = 1e-5  # torch's own in every norm
_GROUPS = 4  # of the group norm


class TaskNet(ABC):
    """A function of a batch of tasks' parameters and inputs.

    Attributes
    ----------
    head : tuple of str
        Names of the last layer's parameters: those that ANIL adapts.
    """

    head: tuple[str, ...]

    @property
    @abstractmethod
    def uses_batch(self) -> bool:
        """Whether a prediction depends on the other examples of the call (batch norm)."""

    @abstractmethod
    def initial(self, generator: torch.Generator) -> Params:
        """Draw an initialisation, without a task dimension."""

    def settle(self, theta: Params, x: Tensor) -> None:  # noqa: B027
        """Choose how to run, given the initialisation and inputs (B, n, …); called before use."""

    def embed(self, params: Params, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Compute what the head reads: (B, n, …). By default the inputs themselves."""
        return x

    @abstractmethod
    def read_out(self, params: Params, embedded: Tensor) -> Tensor:
        """Predict from :meth:`embed`'s value: (B, n, outputs)."""


@dataclass(frozen=True)
class MLP(TaskNet):
    """Fully connected layers, for inputs of shape (B, n, d).

    Parameters
    ----------
    inputs, outputs : int
    hidden : tuple of int, default=(40, 40)
    norm : {"batch", "layer", "group", "none"}, default="none"
        Before each activation.
    """

    inputs: int
    outputs: int
    hidden: tuple[int, ...] = (40, 40)
    norm: Norm = "none"

    head = ("head.*",)

    def __post_init__(self) -> None:
        if self.norm == "instance":
            raise ValueError("instance norm averages over an image; an MLP has none")
        _check_groups(self.hidden, self.norm)

    @property
    def uses_batch(self) -> bool:
        """Whether the norm is over the batch."""
        return self.norm == "batch"

    def initial(self, generator: torch.Generator) -> Params:
        """Draw uniform weights of scale 1/sqrt(inputs), as torch does."""
        params: Params = {}
        sizes = (self.inputs, *self.hidden)
        for i, (fan_in, fan_out) in enumerate(zip(sizes, self.hidden, strict=False)):
            params |= _linear(f"layer{i}", fan_in, fan_out, generator)
            params |= _affine(f"norm{i}", fan_out, self.norm)
        return params | _linear("head", sizes[-1], self.outputs, generator)

    def embed(self, params: Params, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Apply the hidden layers: (B, n, d) to (B, n, hidden[-1])."""
        for i in range(len(self.hidden)):
            x = _apply_linear(params, f"layer{i}", x)
            if self.norm != "none":
                scale, shift = (params[f"norm{i}.{part}"][:, None] for part in ("weight", "bias"))
                x = _normalised_features(x, self.norm, seen) * scale + shift
            x = torch.relu(x)
        return x

    def read_out(self, params: Params, embedded: Tensor) -> Tensor:
        """Apply the last layer: (B, n, outputs)."""
        return _apply_linear(params, "head", embedded)


@dataclass(frozen=True)
class Conv4(TaskNet):
    """Four 3 × 3 convolutions of stride 2, averaged over the image, and a linear head.

    Parameters
    ----------
    ways : int
        Classes.
    channels : int, default=1
        Of the images, which have shape (B, n, channels, height, width).
    filters : int, default=64
    norm : {"batch", "layer", "group", "instance", "none"}, default="batch"
        After each convolution. "layer" is over a whole example, with one scale a filter.
    """

    ways: int
    channels: int = 1
    filters: int = 64
    norm: Norm = "batch"

    head = ("head.*",)

    def __post_init__(self) -> None:
        _check_groups((self.filters,), self.norm)

    @property
    def uses_batch(self) -> bool:
        """Whether the norm is over the batch."""
        return self.norm == "batch"

    def initial(self, generator: torch.Generator) -> Params:
        """Draw uniform weights of scale 1/sqrt(inputs), as torch does."""
        params: Params = {}
        fan_in = self.channels
        for i in range(4):
            scale = (9 * fan_in) ** -0.5
            weight = torch.rand(self.filters, fan_in, 3, 3, generator=generator)
            params[f"conv{i}.weight"] = (2 * weight - 1) * scale
            params[f"conv{i}.bias"] = torch.zeros(self.filters)
            params |= _affine(f"norm{i}", self.filters, self.norm)
            fan_in = self.filters
        return params | _linear("head", self.filters, self.ways, generator)

    def embed(self, params: Params, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Apply the convolutions: (B, n, channels, height, width) to (B, n, filters)."""
        tasks = len(x)
        h = x.transpose(0, 1).flatten(1, 2)  # (n, B * channels, height, width)
        for i in range(4):
            h = _convolved(h, params[f"conv{i}.weight"], params[f"conv{i}.bias"], tasks)
            if self.norm != "none":
                scale = _each(params[f"norm{i}.weight"], tasks)
                shift = _each(params[f"norm{i}.bias"], tasks)
                h = _normalised_images(h, self.norm, tasks, scale, shift, seen)
            h = torch.relu(h)
        return h.mean((2, 3)).view(-1, tasks, self.filters).transpose(0, 1)

    def read_out(self, params: Params, embedded: Tensor) -> Tensor:
        """Apply the last layer: (B, n, ways)."""
        return _apply_linear(params, "head", embedded)


def _check_groups(widths: tuple[int, ...], norm: Norm) -> None:
    if norm == "group" and any(width % _GROUPS for width in widths):
        raise ValueError(
            f"group norm has {_GROUPS} groups: widths {widths} must be multiples of it"
        )


def _linear(name: str, fan_in: int, fan_out: int, generator: torch.Generator) -> Params:
    scale = fan_in**-0.5
    weight = (2 * torch.rand(fan_in, fan_out, generator=generator) - 1) * scale
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(fan_out)}


def _affine(name: str, size: int, norm: Norm) -> Params:
    if norm == "none":
        return {}
    return {f"{name}.weight": torch.ones(size), f"{name}.bias": torch.zeros(size)}


def _apply_linear(params: Params, name: str, x: Tensor) -> Tensor:
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    if len(weight) != len(x):  # shared
        return x @ weight[0] + bias[0]
    # products with a single column or row are no work for a matrix product
    if weight.shape[1] == 1:
        return torch.addcmul(bias[:, None], x, weight)
    if weight.shape[2] == 1:
        return (x * weight.transpose(1, 2)).sum(2, keepdim=True) + bias[:, None]
    return torch.baddbmm(bias[:, None], x, weight)


def _convolved(h: Tensor, weight: Tensor, bias: Tensor, tasks: int) -> Tensor:
    """Convolve (n, B * in, height, width) to (n, B * out, …), every task with its own filters."""
    if len(weight) == tasks:
        weight, bias = weight.flatten(0, 1), bias.flatten()
        return F.conv2d(h, weight, bias, stride=2, padding=1, groups=tasks)
    images = h.reshape(len(h) * tasks, -1, *h.shape[2:])
    convolved = F.conv2d(images, weight[0], bias[0], stride=2, padding=1)
    return convolved.reshape(len(h), -1, *convolved.shape[2:])


def _each(w: Tensor, tasks: int) -> Tensor:
    """Lay all tasks' filters one after the other: (B, out, …) to (B * out, …)."""
    return w.expand(tasks, *w.shape[1:]).flatten(0, 1)


def _normalised_features(x: Tensor, norm: Norm, seen: Tensor | None) -> Tensor:
    """Normalise (B, n, features) without scale and shift."""
    if norm == "batch":
        weight = _statistics_weight(x, seen)[..., None]
        mean = (weight * x).sum(1, keepdim=True)
        variance = (weight * (x - mean).square()).sum(1, keepdim=True)
        return (x - mean) * (variance + _EPSILON).rsqrt()
    if norm == "layer":
        return F.layer_norm(x, x.shape[-1:], eps=_EPSILON)
    return F.group_norm(x.flatten(0, 1), _GROUPS, eps=_EPSILON).view_as(x)


def _normalised_images(
    h: Tensor, norm: Norm, tasks: int, scale: Tensor, shift: Tensor, seen: Tensor | None
) -> Tensor:
    """Normalise (n, B * filters, height, width), one scale and shift a task and filter."""
    if norm != "batch":
        filters = h.shape[1] // tasks
        groups = {"layer": 1, "group": _GROUPS, "instance": filters}[norm]
        return F.group_norm(h, tasks * groups, scale, shift, eps=_EPSILON)
    if seen is None:
        return F.batch_norm(h, None, None, scale, shift, training=True, eps=_EPSILON)
    per_task = h.view(len(h), tasks, -1, *h.shape[2:])  # (n, B, filters, height, width)
    pixels = h.shape[2] * h.shape[3]
    weight = (
        _statistics_weight(per_task.transpose(0, 1), seen).t()[:, :, None, None, None] / pixels
    )
    mean = (weight * per_task).sum((0, 3, 4), keepdim=True)
    variance = (weight * (per_task - mean).square()).sum((0, 3, 4), keepdim=True)
    normal: Tensor = ((per_task - mean) * (variance + _EPSILON).rsqrt()).flatten(1, 2)
    return normal * scale[:, None, None] + shift[:, None, None]


def _statistics_weight(like: Tensor, seen: Tensor | None) -> Tensor:
    """Return the examples' weights in their task's statistics: (B, n), rows sum to 1."""
    if seen is None:
        return like.new_full(like.shape[:2], 1 / like.shape[1])
    weight = seen.to(like.dtype)
    return weight / weight.sum(1, keepdim=True).clamp(min=1)
