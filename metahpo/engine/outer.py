"""The outer loop: task batches, AdamW, a schedule, early stopping, checkpoints.

What is learned is a dict of tensors; the first part of a name says which learning rate it has:
"theta." the initialisation, "rate." the logarithms of the inner rates, "steps." the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, inf, isfinite, pi
from typing import Protocol

import torch
from torch import Tensor

from metahpo.engine.episodes import Episodes, TaskSource
from metahpo.engine.rule import Params

Gradients = Callable[[Params, Episodes, float], tuple[Params, Tensor]]
"""Parameters, a batch of tasks and the share of training that is over, to gradients and loss."""
Validate = Callable[[Params], float]
"""Parameters to the loss on the meta-validation tasks."""


@dataclass(frozen=True)
class OuterOptions:
    """Options of the outer loop.

    Parameters
    ----------
    iterations : int, default=10_000
        Outer updates.
    tasks : int, default=25
        Tasks an update, over all parts.
    accumulate : int or None, default=None
        Parts that a batch of tasks is cut into, whose gradients are summed. None is one on a GPU,
        and on a processor as many as keep a part's tensors in its cache: images run faster then.
    learning_rate, rate_learning_rate, logit_learning_rate : float
        Of the initialisation, of the logarithms of the inner rates, of the step count's logits.
    warm_up : float, default=0.02
        Share of training in which the learning rates rise from 0.
    final : float, default=0.01
        Where the cosine schedule ends, relative to its peak.
    clip : float or None, default=10.0
        Largest norm of the outer gradient.
    weight_decay : float, default=0.0
    validate_every : int, default=500
        Iterations between two looks at the meta-validation tasks.
    patience : int or None, default=None
        Looks without a better validation loss after which training stops; None = never.
    seed : int, default=0
    compile : bool, default=False
        Whether to compile the outer gradients: more than twice as fast on small networks, after
        some seconds for every new shape of the task batch. On a processor it needs a C++ compiler.
    mixed_precision : bool, default=False
        Whether to compute them in bfloat16 where that is safe; on CUDA alone.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    iterations: int = 10_000
    tasks: int = 25
    accumulate: int | None = None
    learning_rate: float = 3e-3
    rate_learning_rate: float = 1e-2
    logit_learning_rate: float = 1e-2
    warm_up: float = 0.02
    final: float = 0.01
    clip: float | None = 10.0
    weight_decay: float = 0.0
    validate_every: int = 500
    patience: int | None = None
    seed: int = 0
    compile: bool = False
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        for name in ("iterations", "tasks", "accumulate", "validate_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        for name in (
            "learning_rate",
            "rate_learning_rate",
            "logit_learning_rate",
            "weight_decay",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip is {self.clip}; it must be positive, or None")
        for name in ("warm_up", "final"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in [0, 1]")
        if self.accumulate is not None and self.accumulate > self.tasks:
            raise ValueError(f"accumulate ({self.accumulate}) exceeds tasks ({self.tasks})")

    def schedule(self, iteration: int) -> float:
        """Return the learning rates' factor at an iteration: linear warm-up, then cosine."""
        warm = max(1, round(self.warm_up * self.iterations))
        if iteration < warm:
            return (iteration + 1) / warm
        done = (iteration - warm) / max(1, self.iterations - warm)
        return self.final + (1 - self.final) * 0.5 * (1 + cos(pi * done))


@dataclass(frozen=True)
class Progress:
    """Where training stands, as handed to the callback after every iteration."""

    iteration: int
    iterations: int
    loss: Tensor
    """Of the last batch; reading it waits for the device."""
    validation: float | None
    """The last look at the meta-validation tasks."""


class Checkpoint(Protocol):
    """Where the state of a training is kept: tensors by name, and nothing else."""

    def read(self) -> Params | None:
        """Return what was written last, None if nothing was."""
        ...

    def write(self, state: Params) -> None:
        """Keep this state in place of the one before, whole or not at all."""
        ...


@dataclass
class Training:
    """What a training has come to.

    Attributes
    ----------
    parameters : dict of str to Tensor
        Those of the best look at the meta-validation tasks, or the last without any.
    iteration : int
        Iterations done.
    skipped : int
        Iterations without an update, because a gradient was not finite.
    best : float
        Least validation loss; infinite without any look.
    stale : int
        Looks since then.
    history : list of (int, float)
        Iteration and validation loss of every look.
    """

    parameters: Params
    iteration: int = 0
    skipped: int = 0
    best: float = inf
    stale: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)


def train(
    parameters: Params,
    gradients: Gradients,
    tasks: TaskSource,
    *,
    options: OuterOptions,
    validate: Validate | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Training:
    """Run the outer loop.

    Parameters
    ----------
    parameters : dict of str to Tensor
        Where it starts; the tensors themselves stay as they are.
    gradients : callable
        The outer gradients and the loss of a batch of tasks.
    tasks : TaskSource
    options : OuterOptions
    validate : callable, optional
        Looked at every `options.validate_every` iterations and at the end; lower is better.
    checkpoint : Checkpoint, optional
        Read first, so that a killed training goes on as if it had not been, bit for bit; written
        at every look.
    progress : callable, optional
        Called with a :class:`Progress` after every iteration.
    """
    run = _Run(parameters, options)
    if checkpoint is not None and (state := checkpoint.read()) is not None:
        run.restore(state)
    while not run.finished:
        loss = run.update(gradients, tasks)
        looks = run.done.iteration % options.validate_every == 0
        if looks or run.done.iteration == options.iterations:
            run.look(validate)
            if checkpoint is not None:
                checkpoint.write(run.state())
        if progress is not None:
            last = run.done.history[-1][1] if run.done.history else None
            progress(Progress(run.done.iteration, options.iterations, loss, last))
    if validate is None:
        run.done.parameters = run.snapshot()
    return run.done


class _Run:
    """A training under way."""

    def __init__(self, parameters: Params, options: OuterOptions) -> None:
        self.options = options
        self.generator = torch.Generator().manual_seed(options.seed)
        self.now = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
        peaks = {
            "theta": options.learning_rate,
            "rate": options.rate_learning_rate,
            "steps": options.logit_learning_rate,
        }
        groups = [
            {
                "params": [p for name, p in self.now.items() if name.startswith(f"{kind}.")],
                "peak": peak,
                "weight_decay": options.weight_decay if kind == "theta" else 0.0,
            }
            for kind, peak in peaks.items()
        ]
        # fused: one call for many small tensors
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], fused=True)
        self.done = Training(self.snapshot())

    @property
    def finished(self) -> bool:
        patience = self.options.patience
        return self.done.iteration >= self.options.iterations or (
            patience is not None and self.done.stale >= patience
        )

    def snapshot(self) -> Params:
        return {name: p.detach().clone() for name, p in self.now.items()}

    def update(self, gradients: Gradients, tasks: TaskSource) -> Tensor:
        """Take one outer step, unless its gradient is not finite, and return the batch's loss."""
        options, iteration = self.options, self.done.iteration
        device = next(iter(self.now.values())).device
        batch = tasks.sample(options.tasks, self.generator)
        found, loss = gradients(self.now, batch.to(device), iteration / options.iterations)
        for name, p in self.now.items():
            p.grad = found.get(name)
        self.done.iteration += 1
        clip = inf if options.clip is None else options.clip
        norm = torch.nn.utils.clip_grad_norm_(list(self.now.values()), clip)
        if isfinite(norm):
            factor = options.schedule(iteration)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            self.optimizer.step()
        else:
            self.done.skipped += 1
        return loss

    def look(self, validate: Validate | None) -> None:
        """Judge the parameters on the meta-validation tasks, and keep them if they are best."""
        if validate is None:
            return
        value = validate(self.snapshot())
        self.done.history.append((self.done.iteration, value))
        if value < self.done.best:
            self.done.best, self.done.stale = value, 0
            self.done.parameters = self.snapshot()
        else:
            self.done.stale += 1

    def state(self) -> Params:
        """Return everything the rest of the training depends on, as tensors."""
        done = self.done
        state = {f"now/{name}": p for name, p in self.snapshot().items()}
        state |= {f"best/{name}": p for name, p in done.parameters.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"adam/{index}/{name}": value for name, value in moments.items()}
        state["generator"] = self.generator.get_state()
        counts = [done.iteration, done.skipped, done.best, done.stale]
        state["counts"] = torch.tensor(counts, dtype=torch.float64)
        state["history"] = torch.tensor(done.history, dtype=torch.float64).reshape(-1, 2)
        return state

    def restore(self, state: Params) -> None:
        """Take up a :meth:`state`."""
        shapes = {n.removeprefix("now/"): p.shape for n, p in state.items() if n[:4] == "now/"}
        here = {name: p.shape for name, p in self.now.items()}
        if odd := [n for n in sorted(shapes | here) if shapes.get(n) != here.get(n)]:
            raise ValueError(
                f"the checkpoint is of another learner: they differ in {', '.join(odd)}"
            )
        with torch.no_grad():
            for name, p in self.now.items():
                p.copy_(state[f"now/{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("adam/"):
                _, index, name = key.split("/")
                moments.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.generator.set_state(state["generator"].cpu())
        iteration, skipped, best, stale = state["counts"].tolist()
        self.done = Training(
            {name: state[f"best/{name}"].to(p) for name, p in self.now.items()},
            int(iteration),
            int(skipped),
            best,
            int(stale),
            [(int(i), value) for i, value in state["history"].tolist()],
        )
