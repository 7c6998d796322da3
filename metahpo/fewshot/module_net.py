"""ModuleNet: any torch module as a network whose parameters differ from task to task.

`torch.func.vmap` runs a batch of tasks at once, but in PyTorch 2.13 a gradient of a gradient
through it is silently wrong for batch, instance and layer norm (relative error 1e-3 to 1e-4 in
float64). So a module is first tried both ways, and runs in a plain loop where they disagree.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, replace_all_batch_norm_modules_, vmap

from metahpo.engine import Params
from metahpo.fewshot.nets import TaskNet

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_TOLERANCE = 1e-9  # relative, of second derivatives in float64


class ModuleNet(TaskNet):
    """A module of one's own; its parameters are the initialisation that training starts from.

    The module is copied and runs in evaluation mode, so dropout is off. Batch norm keeps no
    running statistics: it normalises by the examples of each call.

    Parameters
    ----------
    module : torch.nn.Module
        Maps the inputs of one task, (n, ...), to (n, outputs).
    head : tuple of str, optional
        Names of the parameters that ANIL adapts, wildcards allowed; by default the last layer's.

    Attributes
    ----------
    vectorised : bool or None
        Whether tasks run at once; None before :meth:`settle`.

    Raises
    ------
    ValueError
        If the module has no parameters.
    """

    def __init__(self, module: nn.Module, head: tuple[str, ...] | None = None) -> None:
        self.module = replace_all_batch_norm_modules_(copy.deepcopy(module).eval())
        names = [name for name, _ in module.named_parameters()]
        if not names:
            raise ValueError("the module has no parameters: there is nothing to learn")
        layer = names[-1].rpartition(".")[0]
        self.head = head or ((f"{layer}.*" if layer else "*"),)
        self._in_batch = any(isinstance(part, _BATCH_NORMS) for part in module.modules())
        self.vectorised: bool | None = None

    @property
    def uses_batch(self) -> bool:
        """Whether the module has batch norm."""
        return self._in_batch

    def initial(self, generator: torch.Generator) -> Params:
        """Return the module's parameters as they are."""
        return {name: p.detach().clone() for name, p in self.module.named_parameters()}

    @torch.enable_grad()
    def settle(self, theta: Params, x: Tensor) -> None:
        """Find out whether vmap gives the loop's second derivatives on these inputs."""
        if self.vectorised is not None:
            return
        self.module.to(x.device)
        double = copy.deepcopy(self.module).double()
        x = x[:1].double() if x.is_floating_point() else x[:1]
        x = torch.cat([x, x])
        params = {
            name: p.detach().double().expand(2, *p.shape).clone().requires_grad_()
            for name, p in theta.items()
        }
        plain = _second_derivatives(lambda p: _looped(double, p, x), params)
        try:
            at_once = _second_derivatives(lambda p: _at_once(double, p, x), params)
        except RuntimeError:  # what vmap cannot run: control flow on data, changes in place
            self.vectorised = False
            return
        self.vectorised = all(
            bool((a - b).abs().max() <= _TOLERANCE * b.abs().max().clamp(min=_TOLERANCE))
            for a, b in zip(at_once, plain, strict=True)
        )

    def read_out(self, params: Params, embedded: Tensor) -> Tensor:
        """Run the module: (B, n, ...) to (B, n, outputs)."""
        run = _at_once if self.vectorised else _looped
        return run(self.module, params, embedded)


def _at_once(module: nn.Module, params: Params, x: Tensor) -> Tensor:
    shared = {name: p[0] for name, p in params.items() if len(p) != len(x)}
    own = {name: p for name, p in params.items() if len(p) == len(x)}

    def call(own: Params, x: Tensor) -> Tensor:
        prediction: Tensor = functional_call(module, shared | own, (x,))
        return prediction

    return vmap(call)(own, x)


def _looped(module: nn.Module, params: Params, x: Tensor) -> Tensor:
    def call(task: int) -> Tensor:
        own = {name: p[task if len(p) > 1 else 0] for name, p in params.items()}
        prediction: Tensor = functional_call(module, own, (x[task],))
        return prediction

    return torch.stack([call(task) for task in range(len(x))])


def _second_derivatives(call: Callable[[Params], Tensor], params: Params) -> tuple[Tensor, ...]:
    """Differentiate, in the parameters, the squared gradient of the squared outputs."""
    leaves = list(params.values())
    first = torch.autograd.grad(call(params).square().sum(), leaves, create_graph=True)
    square = torch.stack([g.square().sum() for g in first]).sum()
    return torch.autograd.grad(square, leaves, materialize_grads=True)
