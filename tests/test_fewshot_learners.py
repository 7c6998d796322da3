"""Every learner: its meta-gradient, a task with a known answer, storage, and its seed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import plain_loops
import pytest
import torch
from torch import Tensor, nn

from metahpo.engine import (
    Episodes,
    InnerRule,
    Loss,
    Objective,
    OuterOptions,
    Params,
    StepCount,
)
from metahpo.fewshot.learners import MetaLearner
from metahpo.fewshot.method import METHODS, Method
from metahpo.fewshot.nets import MLP, Conv4
from metahpo.fewshot.stored import StoredState

SLOPE = 2.0
OPTIONS = OuterOptions(
    iterations=150, tasks=10, learning_rate=2e-2, rate_learning_rate=5e-2, validate_every=50
)
LEARNERS = {
    **{
        name: replace(method, rule=replace(method.rule, rate=0.1))
        for name, method in METHODS.items()
    },
    "learned steps": Method(
        InnerRule(rate=0.1, rates="tensor_step", learned=True), StepCount(3, tail=0.0)
    ),
}
PULLED = {
    name: replace(method, rule=replace(method.rule, weight_decay=0.3, proximal=0.7))
    for name, method in LEARNERS.items()
}
PULLED["reptile"] = replace(PULLED["reptile"], rule=replace(PULLED["reptile"].rule, rates="step"))
NET = MLP(1, 1, (8,))


class Lines:
    """Lines of one slope: what a learner must find is the task's own height."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        x = 2 * torch.rand(tasks, 20, 1, generator=generator) - 1
        height = 2 * torch.randn(tasks, 1, 1, generator=generator)
        y = SLOPE * x + height
        return Episodes(x[:, :10], y[:, :10], x[:, 10:], y[:, 10:]).to("cpu", self.dtype)


def trained(name: str, seed: int = 0) -> MetaLearner:
    learner = MetaLearner(NET, LEARNERS[name], device="cpu", seed=seed)
    return learner.fit(Lines(), options=replace(OPTIONS, seed=seed))


@pytest.fixture(scope="module")
def learners() -> dict[str, MetaLearner]:
    return {name: trained(name) for name in LEARNERS}


def doubled(learner: MetaLearner) -> Params:
    """Return its parameters in double precision, with rates that differ from each other."""
    at = {name: p.double() for name, p in learner.parameters.items()}
    for name, p in at.items():
        if name.startswith("rate."):
            at[name] = p + 0.01 * torch.arange(p.numel()).reshape(p.shape)
    return {name: p.requires_grad_() for name, p in at.items()}


def plain_objective(method: Method, at: Params, task: plain_loops.Task) -> Tensor:
    """A task's outer loss, whose gradient is the learner's; for iMAML and Reptile a linear one."""
    x, y, query_x, query_y = task
    forward = plain_loops.mlp("none", 1)
    theta = {name.removeprefix("theta."): p for name, p in at.items() if name[:5] == "theta"}
    rule = method.rule
    adapted = [n for n in theta if rule.adapted == ("*",) or n.startswith("head")]

    def support(phi: Params) -> Tensor:
        return (forward(phi, x) - y).square().mean()

    def query(phi: Params) -> Tensor:
        return (forward(phi, query_x) - query_y).square().mean()

    def rate(name: str, step: int) -> Tensor:
        log = at["rate.all" if rule.rates in ("scalar", "step") else f"rate.{name}"]
        return (log[step] if rule.rates in ("step", "tensor_step") else log).exp()

    def phi_after(steps: int, *losses) -> Params:
        second = rule.order == "second"
        return plain_loops.inner_loop(
            theta,
            losses,
            rate,
            steps,
            second=second,
            adapted=adapted,
            weight_decay=rule.weight_decay,
            proximal=rule.proximal,
        )

    if method.outer == "displacement":
        phi = phi_after(method.maximum, support, query)
        return sum((theta[n] * (theta[n] - phi[n]).detach()).sum() for n in theta)
    if rule.order == "implicit":
        return implicit(theta, phi_after(method.maximum, support), support, query, rule)
    if isinstance(method.steps, StepCount):
        p = torch.softmax(at["steps.logits"].detach(), 0)
        return sum(p[k] * query(phi_after(k, support)) for k in range(len(p)))
    return query(phi_after(method.maximum, support))


def implicit(theta: Params, phi: Params, support, query, rule: InnerRule) -> Tensor:
    """Inner product of theta with lambda (H + (w + lambda) I)^-1 g, H in full."""
    names = list(phi)
    sizes = [phi[n].numel() for n in names]
    flat = torch.cat([phi[n].detach().flatten() for n in names]).requires_grad_()

    def shaped(vector: Tensor) -> Params:
        parts = vector.split(sizes)
        return {n: part.reshape(phi[n].shape) for n, part in zip(names, parts, strict=True)}

    hessian = torch.autograd.functional.hessian(lambda v: support(shaped(v)), flat)
    (gradient,) = torch.autograd.grad(query(shaped(flat)), flat)
    pull = rule.weight_decay + rule.proximal
    matrix = hessian + pull * torch.eye(len(flat), dtype=flat.dtype)
    outer = rule.proximal * torch.linalg.solve(matrix, gradient)
    return (torch.cat([theta[n].flatten() for n in names]) * outer).sum()


@pytest.mark.parametrize("methods", [LEARNERS, PULLED], ids=["as they are", "pulled"])
@pytest.mark.parametrize("name", LEARNERS)
def test_the_meta_gradient_is_that_of_the_plain_loop(
    name: str, methods: dict[str, Method]
) -> None:
    method = methods[name]
    # conjugate gradients solve exactly in as many steps as there are parameters
    method = replace(method, rule=replace(method.rule, solver_steps=30))
    learner = MetaLearner(NET, method, device="cpu")
    at = doubled(learner)
    episodes = Lines(torch.float64).sample(4, torch.Generator().manual_seed(1))
    objective = Objective(learner.task_losses, learner.rule, method.steps, method.outer)
    found, _ = objective(at, episodes, 1.0)
    wanted = {n: p for n, p in at.items() if n in found and n != "steps.logits"}
    assert any(n.startswith("rate.") for n in wanted) is method.rule.learned
    tasks = list(
        zip(
            episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y, strict=True
        )
    )
    expected = plain_loops.meta_gradient(
        lambda task: plain_objective(method, at, task), tasks, wanted
    )
    for parameter, gradient in expected.items():
        assert torch.allclose(found[parameter], gradient, rtol=1e-8, atol=1e-11), parameter


@pytest.mark.parametrize("name", LEARNERS)
def test_adapts_on_a_task_with_a_known_answer(learners: dict[str, MetaLearner], name: str) -> None:
    """A line of the family's slope, three heights above and below what was seen most."""
    x = torch.linspace(-1, 1, 10)[None, :, None].expand(2, 10, 1)
    heights = torch.tensor([3.0, -3.0])[:, None, None]
    far = torch.tensor([[[-0.95], [0.35]]]).expand(2, 2, 1)
    steps = None if name == "learned steps" else 20
    adapted = learners[name].adapt(x, SLOPE * x + heights, steps=steps)
    assert torch.allclose(adapted.predict(far), SLOPE * far + heights, atol=0.6)


@pytest.mark.parametrize("name", LEARNERS)
def test_saves_and_loads(learners: dict[str, MetaLearner], name: str, tmp_path: Path) -> None:
    learner = learners[name]
    learner.save(tmp_path / "learner")
    loaded = MetaLearner.load(tmp_path / "learner", device="cpu")
    assert loaded.net == NET
    assert loaded.method == learner.method
    assert loaded.steps_ == learner.steps_
    episodes = Lines().sample(3, torch.Generator().manual_seed(2))
    assert torch.equal(loaded.path(episodes), learner.path(episodes))
    assert {path.suffix for path in (tmp_path / "learner").iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_seed_fixes_the_result(learners: dict[str, MetaLearner], name: str) -> None:
    short = replace(OPTIONS, iterations=5)
    first, again, other = (
        MetaLearner(NET, LEARNERS[name], device="cpu", seed=seed).fit(
            Lines(), options=replace(short, seed=seed)
        )
        for seed in (0, 0, 1)
    )
    for parameter, value in first.parameters.items():
        assert torch.equal(value, again.parameters[parameter])
    assert not torch.equal(
        first.parameters["theta.head.weight"], other.parameters["theta.head.weight"]
    )


# what learners share


def test_the_learned_count_is_kept_and_any_other_may_be_chosen() -> None:
    method = replace(LEARNERS["learned steps"], steps=StepCount(3, price=0.05))
    learner = MetaLearner(NET, method, device="cpu").fit(Lines(), options=OPTIONS)
    episodes = Lines().sample(200, torch.Generator().manual_seed(5))
    losses = learner.losses(episodes, 6).mean(1)
    assert learner.steps_ == int((losses[:4] + 0.05 * torch.arange(4)).argmin())
    assert losses.shape == (7,)
    for steps in (0, 2, 6):
        adapted = learner.adapt(episodes.support_x, episodes.support_y, steps=steps)
        predicted = adapted.predict(episodes.query_x)
        assert torch.allclose(predicted, learner.path(episodes, 6)[steps], atol=1e-5)
        loss = (predicted - episodes.query_y).square().mean()
        assert float(loss) == pytest.approx(float(losses[steps]), rel=1e-4)


def test_validation_stops_early_and_chooses_the_parameters() -> None:
    validation = Lines().sample(50, torch.Generator().manual_seed(5))
    options = replace(OPTIONS, iterations=60, validate_every=20)
    learner = MetaLearner(NET, LEARNERS["maml"], device="cpu")
    learner.fit(Lines(), validation=validation, options=options)
    history = learner.training_.history
    assert [iteration for iteration, _ in history] == [20, 40, 60]
    best = min(value for _, value in history)
    assert float(learner.losses(validation)[-1].mean()) == pytest.approx(best, rel=1e-5)


def test_fit_goes_on_from_where_the_learner_stands() -> None:
    learner = trained("maml")
    before = learner.losses(Lines().sample(50, torch.Generator().manual_seed(5)))[-1].mean()
    learner.fit(Lines(), options=replace(OPTIONS, learning_rate=1e-3, iterations=20))
    after = learner.losses(Lines().sample(50, torch.Generator().manual_seed(5)))[-1].mean()
    assert float(after) < 1.5 * float(before)


def test_fit_computes_a_batch_in_as_many_parts_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = MetaLearner(NET, LEARNERS["maml"], device="cpu")
    losses, sizes = learner.task_losses, list[int]()

    def watched(episodes: Episodes) -> tuple[Loss, Loss]:
        sizes.append(len(episodes))
        return losses(episodes)

    monkeypatch.setattr(learner, "task_losses", watched)
    learner.fit(Lines(), options=OuterOptions(iterations=1, tasks=6, accumulate=3))
    assert sizes == [2, 2, 2]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch
from pathlib import Path
from test_fewshot_learners import LEARNERS, NET, OPTIONS, Lines
from metahpo.fewshot.learners import MetaLearner
from dataclasses import replace

def progress(at):
    if at.iteration == 33:
        os.kill(os.getpid(), signal.SIGKILL)

validation = Lines().sample(20, torch.Generator().manual_seed(5))
options = replace(OPTIONS, iterations=60, validate_every=10)
learner = MetaLearner(NET, LEARNERS["learned steps"], device="cpu")
learner.fit(Lines(), validation=validation, options=options,
            checkpoint=Path({checkpoint!r}), progress=progress)
"""


def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    script = KILLED.format(tests=str(Path(__file__).parent), checkpoint=str(checkpoint))
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["checkpoint"]

    validation = Lines().sample(20, torch.Generator().manual_seed(5))
    options = replace(OPTIONS, iterations=60, validate_every=10)
    seen: list[int] = []
    resumed, whole = (
        MetaLearner(NET, LEARNERS["learned steps"], device="cpu").fit(
            Lines(),
            validation=validation,
            options=options,
            checkpoint=path,
            progress=lambda at: seen.append(at.iteration),
        )
        for path in (checkpoint, None)
    )
    assert seen == [*range(31, 61), *range(1, 61)]
    assert resumed.training_.history == whole.training_.history
    assert resumed.steps_ == whole.steps_
    for name, value in whole.parameters.items():
        assert torch.equal(resumed.parameters[name], value), name


def test_a_finished_training_is_not_run_again(tmp_path: Path) -> None:
    options = replace(OPTIONS, iterations=10)
    first, again = (
        MetaLearner(NET, LEARNERS["maml"], device="cpu").fit(
            Lines(), options=options, checkpoint=tmp_path / "checkpoint"
        )
        for _ in range(2)
    )
    assert torch.equal(first.parameters["theta.head.bias"], again.parameters["theta.head.bias"])


def test_checkpoints_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    fit = {"options": replace(OPTIONS, iterations=2), "checkpoint": path}
    MetaLearner(NET, LEARNERS["maml"], device="cpu").fit(Lines(), **fit)
    with pytest.raises(ValueError, match=r"another learner: they differ in rate\.all, rate\.head"):
        MetaLearner(NET, LEARNERS["maml++"], device="cpu").fit(Lines(), **fit)
    with pytest.raises(ValueError, match=r"another learner: they differ in theta\.head\.weight"):
        MetaLearner(MLP(1, 1, (9,)), LEARNERS["maml"], device="cpu").fit(Lines(), **fit)
    path.write_bytes(b"not tensors")
    with pytest.raises(ValueError, match="checkpoint is damaged"):
        StoredState(path, "cpu").read()


class Polynomial(nn.Module):
    """A module of one's own: a cubic with a learned bend."""

    def __init__(self) -> None:
        super().__init__()
        self.powers = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.powers(torch.cat([x, x**2, x**3], -1))


def test_a_module_of_ones_own_is_learned_stored_and_adapted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = MetaLearner(Polynomial(), LEARNERS["maml++"], device="cpu")
    learner.fit(Lines(), options=OPTIONS)
    episodes = Lines().sample(50, torch.Generator().manual_seed(5))
    losses = learner.losses(episodes).mean(1)
    assert float(losses[-1]) < 0.1 * float(losses[0])
    learner.save(tmp_path)
    with pytest.raises(ValueError, match="with a net of one's own: pass it as net="):
        MetaLearner.load(tmp_path)
    with pytest.raises(ValueError, match=r"with another net: they differ in rate\.head\.bias"):
        MetaLearner.load(tmp_path, net=NET)
    loaded = MetaLearner.load(tmp_path, net=Polynomial(), device="cpu")
    assert torch.equal(loaded.path(episodes), learner.path(episodes))


def test_a_damaged_learner_is_refused(tmp_path: Path) -> None:
    MetaLearner(NET, METHODS["maml"], device="cpu").save(tmp_path)
    header = tmp_path / "learner.json"
    header.write_text(json.dumps(json.loads(header.read_text()) | {"schema_version": 99}))
    with pytest.raises(ValueError, match="schema version 99"):
        MetaLearner.load(tmp_path)
    with pytest.raises(ValueError, match=r"is no MetaLearner: it has no learner\.json"):
        MetaLearner.load(tmp_path / "nowhere")


def test_anil_computes_the_body_once_for_all_steps() -> None:
    calls = 0

    class Counting(MLP):
        def embed(self, params: Params, x: Tensor, seen: Tensor | None = None) -> Tensor:
            nonlocal calls
            calls += 1
            return super().embed(params, x, seen)

    learner = MetaLearner(Counting(1, 1, (8,)), replace(METHODS["anil"], steps=5), device="cpu")
    learner.losses(Lines().sample(2, torch.Generator()))
    assert calls == 2  # support and query


def test_classification_learns_the_classes_of_a_task() -> None:
    """Blobs: an image's brightness is its class."""

    class Blobs:
        def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
            y = torch.arange(3).repeat(tasks, 2)
            level = torch.rand(tasks, 3, generator=generator).argsort(1).float()
            x = level.gather(1, y)[:, :, None, None, None].expand(-1, -1, 1, 16, 16)
            x = x + 0.1 * torch.randn(x.shape, generator=generator)
            return Episodes(x[:, :3], y[:, :3], x[:, 3:], y[:, 3:])

    method = Method(InnerRule(rate=0.4, order="first"), steps=3)
    learner = MetaLearner(Conv4(3, filters=8), method, loss="cross_entropy", device="cpu")
    options = OuterOptions(iterations=60, tasks=4, learning_rate=1e-2)
    learner.fit(Blobs(), options=options)
    test = Blobs().sample(20, torch.Generator().manual_seed(3))
    accuracy = (learner.path(test).argmax(-1) == test.query_y).float().mean((1, 2))
    assert float(accuracy[0]) < 0.6
    assert float(accuracy[-1]) > 0.9


def test_targets_that_do_not_fit_the_predictions_are_named() -> None:
    learner = MetaLearner(MLP(1, 2), METHODS["maml"], device="cpu")
    with pytest.raises(ValueError, match=r"targets have shape \(1, 3\) and predictions"):
        learner.adapt(torch.zeros(1, 3, 1), torch.zeros(1, 3))


def test_a_modules_batch_norm_must_be_transductive() -> None:
    module = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    with pytest.raises(ValueError, match="pass transductive=True, or use group norm"):
        MetaLearner(module, METHODS["maml"])
    MetaLearner(module, METHODS["maml"], transductive=True)


def test_learners_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="loss is 'l1'; choose one of mse, cross_entropy"):
        MetaLearner(NET, METHODS["maml"], loss="l1")
    with pytest.raises(ValueError, match="steps is -1; it must not be negative"):
        Method(steps=-1)
    with pytest.raises(ValueError, match="outer is 'reptile'; choose one of query"):
        Method(outer="reptile")


def test_nets_refuse_norms_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="instance norm averages over an image"):
        MLP(1, 1, norm="instance")
    with pytest.raises(ValueError, match=r"widths \(10, 8\) must be multiples"):
        MLP(1, 1, (10, 8), norm="group")
    with pytest.raises(ValueError, match="must be multiples"):
        Conv4(5, filters=6, norm="group")
