"""How fast the engine meta-learns, second order, on one thread, beside a plain Python loop.

    python benchmarks/engine.py --out results

Counts whole iterations a second of processor time: drawing the tasks, inner steps, outer
gradient, Adam. The plain loop is written the way learn2learn works, one task after the other:
`torch.func.functional_call` on a module, `torch.autograd.grad(create_graph=True)` a step, one
backward pass a batch. As in learn2learn's own example, Conv4 has as many queries as shots; fifteen
are measured, too. All contestants of a setting take turns, so that they meet the same
machine. The compiled contestant is measured once it is compiled; what that costs stands beside
it. Last, a long training watches its own memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call

from metahpo.bench import provenance
from metahpo.engine import InnerRule, LabelledTasks, Objective, OuterOptions, TaskSource, train
from metahpo.fewshot.families import Sinusoids
from metahpo.fewshot.learners import MetaLearner
from metahpo.fewshot.method import Method
from metahpo.fewshot.nets import MLP, Conv4, TaskNet

TITLE = "Speed of the engine"
RULE = InnerRule(rate=0.01)


@dataclass(frozen=True)
class Setting:
    """A network and its tasks, as the engine and as the plain loop have it."""

    name: str
    net: TaskNet
    module: Callable[[], nn.Module]
    source: Callable[[], TaskSource]
    loss: str
    tasks: int
    steps: int
    goals: Mapping[str, float]  # times the plain loop, by contestant
    turn: tuple[int, int]  # iterations of the engine, and of the plain loop
    images: bool = False
    compiled: bool = False


def sinusoid_module() -> nn.Module:
    """Return the 40-40 net as anyone would write it."""
    return nn.Sequential(
        nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1)
    )


class PlainConv4(nn.Module):
    """The four convolutions as anyone would write them."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in in (1, 64, 64, 64):
            norm = nn.BatchNorm2d(64, track_running_stats=False)
            layers += [nn.Conv2d(fan_in, 64, 3, 2, 1), norm, nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (n, 1, 28, 28): (n, 5)."""
        scores: Tensor = self.head(self.body(x).mean((2, 3)))
        return scores


def sinusoids() -> TaskSource:
    """Return 10-shot sinusoids with 10 queries."""
    return Sinusoids().tasks("train", shots=10, queries=10)


def pictures(queries: int) -> TaskSource:
    """Return 5-way 1-shot tasks of noise: speed does not see what is on a picture."""
    x = torch.randn(50 * 20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return LabelledTasks(x, torch.arange(len(x)) // 20, ways=5, shots=1, queries=queries)


def conv4(steps: int, queries: int, goals: Mapping[str, float], turn: int) -> Setting:
    """Return a setting of 32 tasks."""
    name = f"Conv4, 5-way 1-shot, 32 tasks, queries a class: {queries}, steps: {steps}"
    source = partial(pictures, queries)
    loss = "cross_entropy"
    return Setting(
        name, Conv4(5), PlainConv4, source, loss, 32, steps, goals, (turn, turn), images=True
    )


SETTINGS = (
    Setting(
        "sinusoid, 10 shots, 25 tasks, 5 steps",
        MLP(1, 1),
        sinusoid_module,
        sinusoids,
        "mse",
        25,
        5,
        {"engine": 12, "engine, compiled": 30},
        (100, 10),
        compiled=True,
    ),
    conv4(1, 1, {"engine": 1.2}, 2),
    conv4(5, 1, {"engine": 1.2}, 1),
    conv4(1, 15, {}, 1),
)


def plain_loop(setting: Setting) -> Callable[[int], None]:
    """Return the plain loop's training, as a function of the number of iterations."""
    module, source = setting.module(), setting.source()
    measure = F.mse_loss if setting.loss == "mse" else F.cross_entropy
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(0)

    def run(iterations: int) -> None:
        for _ in range(iterations):
            batch = source.sample(setting.tasks, generator)
            optimizer.zero_grad()
            total = torch.zeros(())
            for task in range(setting.tasks):
                phi: dict[str, Tensor] = dict(module.named_parameters())
                for _ in range(setting.steps):
                    predicted = functional_call(module, phi, (batch.support_x[task],))
                    loss = measure(predicted, batch.support_y[task])
                    gradients = torch.autograd.grad(loss, list(phi.values()), create_graph=True)
                    phi = {
                        name: p - RULE.rate * g
                        for (name, p), g in zip(phi.items(), gradients, strict=True)
                    }
                predicted = functional_call(module, phi, (batch.query_x[task],))
                total = total + measure(predicted, batch.query_y[task]) / setting.tasks
            torch.autograd.backward(total)
            optimizer.step()

    return run


def engine(
    setting: Setting, *, parts: int | None = None, compiled: bool = False
) -> Callable[[int], None]:
    """Return the engine's training, as a function of the number of iterations."""
    learner = MetaLearner(
        setting.net,
        Method(RULE, setting.steps),
        loss="mse" if setting.loss == "mse" else "cross_entropy",
        transductive=True,
        device="cpu",
    )
    objective = Objective(learner.task_losses, RULE, setting.steps, compile=compiled, parts=parts)
    source = setting.source()

    def run(iterations: int) -> None:
        options = OuterOptions(iterations=iterations, tasks=setting.tasks)
        train(learner.parameters, objective, source, options=options)

    return run


def seconds(run: Callable[[int], None], iterations: int) -> float:
    """Return the processor seconds of some iterations."""
    start = time.process_time()
    run(iterations)
    return time.process_time() - start


def contest(setting: Setting, rounds: int) -> dict[str, Any]:
    """Let all contestants of a setting take turns, and return their iterations a second."""
    contestants = {"plain loop": plain_loop(setting), "engine": engine(setting)}
    if setting.images:
        contestants["engine, in one part"] = engine(setting, parts=1)
    if setting.compiled:
        contestants["engine, compiled"] = engine(setting, compiled=True)
    turns = {name: setting.turn[name == "plain loop"] for name in contestants}
    first = {name: seconds(run, 1) for name, run in contestants.items()}
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _, (name, run) in itertools.product(range(rounds), contestants.items()):
        speeds[name].append(turns[name] / seconds(run, turns[name]))
    plain = speeds["plain loop"]
    return {
        name: {
            "iterations_per_second": statistics.median(found),
            "least": min(found),
            "most": max(found),
            "times_plain_loop": statistics.median(
                one / beside for one, beside in zip(found, plain, strict=True)
            ),
            "goal": setting.goals.get(name),
            "first_iteration_seconds": first[name],
        }
        for name, found in speeds.items()
    }


def memory(iterations: int, looks: int = 10) -> list[tuple[int, float]]:
    """Train on sinusoids, and return the resident megabytes as it goes."""
    process, found = psutil.Process(), []
    source = sinusoids()
    learner = MetaLearner(MLP(1, 1), Method(RULE, 5), device="cpu")

    def progress(at: Any) -> None:
        if at.iteration % (iterations // looks) == 0:
            found.append((at.iteration, process.memory_info().rss / 2**20))

    learner.fit(source, options=OuterOptions(iterations=iterations), progress=progress)
    return found


def page(facts: dict[str, Any]) -> str:
    """Lay the numbers out as Markdown."""
    lines = [
        f"# {TITLE}",
        "",
        f"`{facts['command']}`: one thread of {facts['machine']['cpu']} "
        f"({facts['machine']['cores']} cores), Python {platform.python_version()}, "
        f"torch {torch.__version__}. Whole iterations a second of processor time, second order; "
        f"median, least and most of {facts['rounds']} turns, and the median of a turn's ratios.",
        "",
        "| setting | contestant | iterations / s | least to most | × plain loop | goal "
        "| first iteration, s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for setting, contestants in facts["speed"].items():
        for name, one in contestants.items():
            goal = "" if one["goal"] is None else f"≥ {one['goal']:g}"
            lines.append(
                f"| {setting} | {name} | {one['iterations_per_second']:.3g} "
                f"| {one['least']:.3g} to {one['most']:.3g} | {one['times_plain_loop']:.2f} "
                f"| {goal} | {one['first_iteration_seconds']:.1f} |"
            )
    if facts["memory"]:
        first, last = facts["memory"][0], facts["memory"][-1]
        lines += [
            "",
            f"Memory of a training of {last[0]:,} iterations on sinusoids: {first[1]:.0f} MB "
            f"after {first[0]:,}, {last[1]:.0f} MB at the end, at most "
            f"{max(megabytes for _, megabytes in facts['memory']):.0f} MB.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contestant")
    parser.add_argument("--memory", type=int, default=10_000, help="iterations; 0 leaves it out")
    parser.add_argument("--out", type=Path, help="folder for engine_speed.md and .json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts = provenance.session(" ".join(["python", *sys.argv]), jobs=1)
    facts["rounds"] = options.rounds
    facts["speed"] = {one.name: contest(one, options.rounds) for one in SETTINGS}
    facts["memory"] = memory(options.memory) if options.memory else []
    print(page(facts))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "engine_speed.md").write_text(page(facts))
        (options.out / "engine_speed.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
