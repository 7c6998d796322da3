"""The meta-gradient of a batch of tasks equals that of a plain loop, whatever the layers.

PyTorch 2.13 is silently wrong here for batch, instance and layer norm under vmap (relative error
1e-3 to 1e-4 in float64): this is why the networks are written by hand and the modules checked.
"""

from __future__ import annotations

from dataclasses import replace

import plain_loops
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call

from metahpo.engine import Episodes, InnerRule, Objective
from metahpo.fewshot.learners import MetaLearner
from metahpo.fewshot.method import Method
from metahpo.fewshot.module_net import ModuleNet
from metahpo.fewshot.nets import MLP, Conv4

STEPS = 2
RULE = InnerRule(rate=0.3)


def double(learner: MetaLearner) -> dict[str, Tensor]:
    """The learner's parameters in float64, shaken so that no scale is 1 and no shift is 0."""
    chance = torch.Generator().manual_seed(7)
    learner.parameters = {
        name: p.double()
        + (0.1 * torch.randn(p.shape, generator=chance) if name.startswith("theta.") else 0)
        for name, p in learner.parameters.items()
    }
    return {name: p.clone().requires_grad_() for name, p in learner.parameters.items()}


def images(ways: int = 3) -> Episodes:
    chance = torch.Generator().manual_seed(1)
    x = [torch.randn(2, n, 1, 28, 28, generator=chance).double() for n in (ways, 2 * ways)]
    return Episodes(x[0], torch.arange(ways).repeat(2, 1), x[1], torch.arange(ways).repeat(2, 2))


def curves() -> Episodes:
    chance = torch.Generator().manual_seed(1)
    x, y, query_x, query_y = (
        torch.randn(3, n, d, generator=chance).double()
        for n, d in ((5, 2), (5, 1), (7, 2), (7, 1))
    )
    return Episodes(x, y, query_x, query_y)


def tasks_of(episodes: Episodes) -> list[plain_loops.Task]:
    return list(
        zip(
            episodes.support_x,
            episodes.support_y,
            episodes.query_x,
            episodes.query_y,
            strict=True,
        )
    )


def plain_gradient(
    parameters: dict[str, Tensor], forward: plain_loops.Forward, episodes: Episodes, loss: str
) -> dict[str, Tensor]:
    leaves = {n.removeprefix("theta."): p for n, p in parameters.items() if n[:6] == "theta."}
    rate = parameters["rate.all"].detach().exp()
    measure = F.mse_loss if loss == "mse" else F.cross_entropy

    def outer(task: plain_loops.Task) -> Tensor:
        x, y, query_x, query_y = task
        phi = plain_loops.inner_loop(
            leaves, [lambda phi: measure(forward(phi, x), y)], lambda *_: rate, STEPS
        )
        return measure(forward(phi, query_x), query_y)

    return plain_loops.meta_gradient(outer, tasks_of(episodes), leaves)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert {name.removeprefix("theta.") for name in found} == set(expected)
    largest = max(float(p.abs().max()) for p in expected.values())
    for name, p in expected.items():
        error = float((found[f"theta.{name}"] - p).abs().max())
        assert error <= 1e-11 * largest, name


NETS: list[tuple[MLP | Conv4, plain_loops.Forward]] = [
    *((MLP(2, 1, (8, 8), norm), plain_loops.mlp(norm, 2)) for norm in ("batch", "layer", "group")),
    (MLP(2, 1, (8, 8)), plain_loops.mlp("none", 2)),
    *(
        (Conv4(3, filters=8, norm=norm), plain_loops.conv4(norm))
        for norm in ("batch", "layer", "group", "instance", "none")
    ),
]


IDS = [f"{type(net).__name__}-{net.norm}" for net, _ in NETS]


@pytest.mark.parametrize(("net", "forward"), NETS, ids=IDS)
def test_nets_have_the_meta_gradient_of_the_plain_loop(
    net: MLP | Conv4, forward: plain_loops.Forward
) -> None:
    loss = "cross_entropy" if isinstance(net, Conv4) else "mse"
    episodes = images() if isinstance(net, Conv4) else curves()
    learner = MetaLearner(net, Method(RULE, STEPS), loss=loss, transductive=True)
    parameters = double(learner)
    found, _ = Objective(learner.task_losses, RULE, STEPS)(parameters, episodes, 0.0)
    assert_same(found, plain_gradient(parameters, forward, episodes, loss))


@pytest.mark.parametrize("net", [MLP(2, 1, (8, 8), "batch"), Conv4(3, filters=4)])
def test_unless_transductive_batch_norm_sees_the_support_alone(net: MLP | Conv4) -> None:
    """A query's prediction does not depend on the other queries, and so equals its own alone."""
    episodes = images() if isinstance(net, Conv4) else curves()
    for transductive in (False, True):
        learner = MetaLearner(net, Method(), transductive=transductive)
        double(learner)
        adapted = learner.adapt(episodes.support_x, episodes.support_y.double(), steps=0)
        together = adapted.predict(episodes.query_x)[:, :1]
        alone = adapted.predict(episodes.query_x[:, :1])
        assert torch.allclose(together, alone, rtol=1e-12) is not transductive
        if not transductive:  # the support is normalised by itself, as in a plain forward pass
            forward = (
                plain_loops.conv4("batch")
                if isinstance(net, Conv4)
                else plain_loops.mlp("batch", 2)
            )
            theta = {n.removeprefix("theta."): p for n, p in learner.parameters.items()}
            for task, x in enumerate(episodes.support_x):
                expected = forward(theta, x)
                found = adapted.predict(episodes.support_x)[task]
                assert torch.allclose(found, expected, rtol=1e-10)


def test_a_mask_hides_padding_from_losses_and_statistics() -> None:
    """Padding two of five examples changes nothing, whatever the padding holds."""
    episodes, rule = curves(), InnerRule(rate=0.1)
    net = MLP(2, 1, (8,), "batch")
    learner = MetaLearner(net, Method(rule, 2), transductive=True)
    parameters = double(learner)
    objective = Objective(learner.task_losses, rule, 2)
    cut = Episodes(
        episodes.support_x[:, :3],
        episodes.support_y[:, :3],
        episodes.query_x[:, :5],
        episodes.query_y[:, :5],
    )
    expected, loss = objective(parameters, cut, 0.0)
    masked = replace(
        episodes,
        support_mask=torch.tensor([True, True, True, False, False]).expand(3, 5),
        query_mask=(torch.arange(7) < 5).expand(3, 7),
    )
    found, masked_loss = objective(parameters, masked, 0.0)
    assert masked_loss == pytest.approx(float(loss), rel=1e-12)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-9, atol=1e-12)


MODULES = {
    "none": (nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3, 2)),
    "group": (nn.Conv2d(1, 4, 3, 2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2)),
    "batch": (nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2)),
    "instance": (nn.Conv2d(1, 4, 3, 2), nn.InstanceNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2)),
    "layer": (nn.Conv2d(1, 4, 3, 2), nn.LayerNorm([4, 13, 13]), nn.ReLU(), nn.Conv2d(4, 4, 3, 2)),
}


@pytest.mark.parametrize("norm", MODULES)
def test_a_module_of_ones_own_has_the_meta_gradient_of_the_plain_loop(norm: str) -> None:
    module = nn.Sequential(*MODULES[norm], nn.Flatten(), nn.Linear(144, 3))
    method = Method(RULE, STEPS)
    learner = MetaLearner(module, method, loss="cross_entropy", transductive=True)
    parameters = double(learner)
    episodes = images()
    learner.net.settle({n[6:]: p for n, p in parameters.items() if n[0] == "t"}, episodes.query_x)
    found, _ = Objective(learner.task_losses, RULE, STEPS)(parameters, episodes, 0.0)

    def forward(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(module.double(), params, (x,))

    assert_same(found, plain_gradient(parameters, forward, episodes, "cross_entropy"))


class Switch(nn.Module):
    """What vmap cannot run: control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else -self.linear(x)


def test_a_module_runs_at_once_only_where_vmap_can_be_believed() -> None:
    x = curves().support_x.float()
    for module, expected in (
        (nn.Linear(2, 1), True),
        (nn.Sequential(nn.Linear(2, 4), nn.GroupNorm(2, 4), nn.Tanh(), nn.Linear(4, 1)), True),
        (Switch(), False),
    ):
        net = ModuleNet(module)
        net.settle(net.initial(torch.Generator()), x)
        assert net.vectorised is expected
        learner = MetaLearner(module, Method(RULE, STEPS))
        y = curves().support_y.float()
        assert learner.adapt(x, y).predict(x).shape == (3, 5, 1)
