"""The engine on losses that are no networks: episodes, inner rules, step counts, outer loop."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import plain_loops
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import metahpo.engine
from metahpo.engine import (
    Episodes,
    InnerRule,
    LabelledTasks,
    Loss,
    Objective,
    OuterOptions,
    Params,
    StepCount,
    pad,
    spread,
    task_mean,
    train,
    unroll,
)
from metahpo.engine.portions import Portions, kept_bytes

DOUBLE = torch.float64


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_engine_imports_torch_alone() -> None:
    for path in Path(metahpo.engine.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                root = name.partition(".")[0]
                known = root == "torch" or root in sys.stdlib_module_names
                assert known or name.startswith("metahpo.engine"), f"{path.name} imports {name}"


# episodes


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    ways=st.integers(1, 4),
    shots=st.integers(1, 3),
    queries=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_no_example_is_in_support_and_query(
    sizes: list[int], ways: int, shots: int, queries: int, seed: int
) -> None:
    y = torch.repeat_interleave(torch.arange(len(sizes)) * 7 - 3, torch.tensor(sizes))
    y = y[torch.randperm(len(y), generator=chance(seed))]
    x = torch.arange(len(y))  # every example is its own number
    if sum(size >= shots + queries for size in sizes) < ways:
        with pytest.raises(ValueError, match=f"{ways}-way tasks need {ways} classes"):
            LabelledTasks(x, y, ways=ways, shots=shots, queries=queries)
        return
    tasks = LabelledTasks(x, y, ways=ways, shots=shots, queries=queries)
    episodes = tasks.sample(4, chance(seed))
    assert episodes.support_x.shape == episodes.support_y.shape == (4, ways * shots)
    assert episodes.query_x.shape == episodes.query_y.shape == (4, ways * queries)
    for task in range(4):
        support, query = episodes.support_x[task].tolist(), episodes.query_x[task].tolist()
        assert len({*support, *query}) == ways * (shots + queries)
        labels = [*episodes.support_y[task].tolist(), *episodes.query_y[task].tolist()]
        pairs = {(label, int(y[i])) for label, i in zip(labels, support + query, strict=True)}
        assert len(pairs) == len({way for way, _ in pairs}) == len({c for _, c in pairs}) == ways
        assert {way for way, _ in pairs} == set(range(ways))


def test_every_class_and_example_is_drawn() -> None:
    x = torch.arange(30)
    tasks = LabelledTasks(x, x // 6, ways=2, shots=1, queries=2)
    episodes = tasks.sample(300, chance())
    assert set(episodes.support_x.flatten().tolist()) == set(x.tolist())
    assert set(episodes.query_x.flatten().tolist()) == set(x.tolist())


def test_a_seed_fixes_the_tasks() -> None:
    x = torch.arange(30)
    tasks = LabelledTasks(x, x // 6, ways=2, shots=1, queries=2)
    first, again, other = (tasks.sample(3, chance(seed)).support_x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_padding_is_masked() -> None:
    supports = [(torch.ones(n, 2), torch.ones(n)) for n in (1, 3)]
    queries = [(torch.ones(n, 2), torch.ones(n)) for n in (2, 1)]
    episodes = pad(supports, queries)
    assert episodes.support_x.shape == (2, 3, 2)
    assert episodes.support_mask is not None
    assert episodes.support_mask.tolist() == [[True, False, False], [True] * 3]
    losses = torch.tensor([[2.0, torch.inf, torch.nan], [1.0, 2.0, 6.0]], requires_grad=True)
    mean = task_mean(losses, episodes.support_mask)
    assert mean.tolist() == [2.0, 3.0]
    (gradient,) = torch.autograd.grad(mean.sum(), losses)
    assert gradient.isfinite().all()


def test_parts_of_a_batch_make_the_whole() -> None:
    x = torch.arange(30)
    episodes = LabelledTasks(x, x // 6, ways=2, shots=1, queries=2).sample(7, chance())
    parts = episodes.split(3)
    assert [len(part) for part in parts] == [3, 2, 2]
    assert torch.equal(torch.cat([part.query_y for part in parts]), episodes.query_y)
    assert len(episodes.split(50)) == 7


def test_episodes_say_what_does_not_fit() -> None:
    x, y = torch.zeros(2, 3, 1), torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"support_y has shape \(2, 4\)"):
        Episodes(x, torch.zeros(2, 4), x, y)
    with pytest.raises(ValueError, match="support_x holds 2 tasks and query_x 1"):
        Episodes(x, y, x[:1], y[:1])


# the inner loop


@dataclass(frozen=True)
class Bends:
    """Tasks y = tanh(x·w + b) · scale: three tensors, no network."""

    tasks: int = 4

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        x = torch.randn(tasks, 9, 3, generator=generator, dtype=DOUBLE)
        y = torch.randn(tasks, 9, generator=generator, dtype=DOUBLE)
        return Episodes(x[:, :5], y[:, :5], x[:, 5:], y[:, 5:])

    def losses(self, episodes: Episodes) -> tuple[Loss, Loss]:
        def error(x: Tensor, y: Tensor) -> Loss:
            return lambda phi: (
                (torch.tanh(torch.einsum("bnd,bd->bn", x, phi["w"].expand(len(x), 3)) + phi["b"])
                * phi["scale"] - y).square().mean(1)
            )  # fmt: skip

        return (
            error(episodes.support_x, episodes.support_y),
            error(episodes.query_x, episodes.query_y),
        )


def theta() -> Params:
    return {
        "w": torch.tensor([0.4, -0.3, 0.8], dtype=DOUBLE),
        "b": torch.tensor([0.2], dtype=DOUBLE),
        "scale": torch.tensor([1.5], dtype=DOUBLE),
    }


def leaves(rule: InnerRule, steps: int) -> Params:
    """The parameters, rates shaken so that no two are alike."""
    log_rates = rule.initial_log_rates(theta(), steps)
    generator = chance(3)
    return {
        name: p.clone().requires_grad_()
        for name, p in {
            **{f"theta.{name}": p for name, p in theta().items()},
            **{
                f"rate.{name}": p + 0.3 * torch.randn(p.shape, generator=generator, dtype=DOUBLE)
                for name, p in log_rates.items()
            },
        }.items()
    }


def plain_phi(rule: InnerRule, at: Params, x: Tensor, y: Tensor, steps: int) -> Params:
    def loss(phi: Params) -> Tensor:
        return (torch.tanh(x @ phi["w"] + phi["b"]) * phi["scale"] - y).square().mean()

    def rate(name: str, step: int) -> Tensor:
        key = "all" if rule.rates in ("scalar", "step") else name
        log = at[f"rate.{key}"]
        return (log[step] if rule.rates in ("step", "tensor_step") else log).exp()

    start = {name.removeprefix("theta."): p for name, p in at.items() if name[:5] == "theta"}
    return plain_loops.inner_loop(
        start,
        [loss],
        rate,
        steps,
        second=rule.order == "second",
        adapted=[name for name in start if rule.adapts(name)],
        clip=rule.clip,
        weight_decay=rule.weight_decay,
        proximal=rule.proximal,
    )


RULES = [
    InnerRule(rate=0.1, rates=rates, learned=True, order=order)
    for rates in ("scalar", "tensor", "parameter", "step", "tensor_step")
    for order in ("second", "first")
] + [
    InnerRule(rate=0.1, learned=True, clip=0.5),
    InnerRule(rate=0.1, learned=True, weight_decay=0.3),
    InnerRule(rate=0.1, learned=True, order="first", weight_decay=0.3, proximal=0.2),
    InnerRule(rate=0.1, learned=True, proximal=0.2),
    InnerRule(rate=0.1, rates="tensor_step", learned=True, adapted=("b", "sc*")),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_gradients_of_start_and_rates_are_those_of_the_plain_loop(rule: InnerRule) -> None:
    steps, bends = 3, Bends()
    episodes = bends.sample(4, chance(1))
    at = leaves(rule, steps)
    found, loss = Objective(bends.losses, rule, steps)(at, episodes, 0.0)

    def outer(task: plain_loops.Task) -> Tensor:
        x, y, query_x, query_y = task
        phi = plain_phi(rule, at, x, y, steps)
        predicted = torch.tanh(query_x @ phi["w"] + phi["b"]) * phi["scale"]
        return (predicted - query_y).square().mean()

    tasks = list(
        zip(
            episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y, strict=True
        )
    )
    expected = plain_loops.meta_gradient(outer, tasks, at)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-10, atol=1e-13), name
    mean = torch.stack([outer(task) for task in tasks]).mean().detach()
    assert float(loss) == pytest.approx(float(mean), rel=1e-12)


def test_steps_beyond_those_with_rates_take_the_last() -> None:
    rule = InnerRule(rate=0.1, rates="step", learned=True)
    support, _ = Bends().losses(Bends().sample(2, chance()))
    start = spread(theta(), rule, 2)
    few = {"all": torch.tensor([0.1, 0.2], dtype=DOUBLE).log()}
    many = {"all": torch.tensor([0.1, 0.2, 0.2, 0.2], dtype=DOUBLE).log()}
    with torch.no_grad():
        ends = [list(unroll(start, support, rule, rates, 4))[-1] for rates in (few, many)]
    assert torch.equal(ends[0]["w"], ends[1]["w"])


def test_the_inner_loop_adapts_a_handful_of_scalars_from_starts_of_their_own() -> None:
    """What a surrogate asks for: each task its own start, any loss, nothing of networks."""
    target = torch.tensor([3.0, -1.0, 0.5])
    start = {"log_noise": torch.tensor([0.0, 1.0, 2.0]), "offset": torch.zeros(3)}

    def loss(phi: Params) -> Tensor:
        return (phi["offset"] - target).square() + (phi["log_noise"] + 2).square()

    rule = InnerRule(rate=0.4)
    *_, end = unroll(start, loss, rule, rule.initial_log_rates(start, 1), 20)
    assert torch.allclose(end["offset"], target, atol=1e-4)
    assert torch.allclose(end["log_noise"], torch.full((3,), -2.0), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": "layer"}, "rates is 'layer'; choose one of scalar"),
        ({"order": "third"}, "order is 'third'"),
        ({"rate": 0.0}, "rate is 0.0; it must be positive"),
        ({"clip": -1.0}, "clip is -1.0"),
        ({"weight_decay": -1.0}, "must not be negative"),
        ({"order": "implicit"}, "needs proximal above 0"),
        ({"order": "implicit", "proximal": 1.0, "learned": True}, "cannot learn rates"),
    ],
)
def test_rules_refuse_what_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InnerRule(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rates", ["scalar", "tensor"])
def test_a_rule_that_adapts_nothing_is_refused(rates: Literal["scalar", "tensor"]) -> None:
    rule = InnerRule(rates=rates, adapted=("head.*",))
    with pytest.raises(ValueError, match=r"no parameter matches .*; there are w, b, scale"):
        rule.initial_log_rates(theta(), 1)


# the implicit gradient


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("adapted", [("*",), ("w", "b")])
def test_the_implicit_gradient_is_that_of_the_inner_optimum(
    adapted: tuple[str, ...], weight_decay: float
) -> None:
    """Central differences of the query loss at the inner optimum, found by many steps."""
    rule = InnerRule(
        rate=0.1,
        order="implicit",
        proximal=2.0,
        weight_decay=weight_decay,
        adapted=adapted,
        solver_steps=8,
    )
    bends, steps = Bends(), 150
    episodes = bends.sample(3, chance(1))
    support, query = bends.losses(episodes)
    at = leaves(rule, 1)
    found, _ = Objective(bends.losses, rule, steps)(at, episodes, 0.0)

    @torch.no_grad()
    def optimum_loss(start: Params) -> float:
        rates = {"all": torch.tensor(0.1, dtype=DOUBLE).log()}
        *_, phi = unroll(spread(start, rule, 3), support, rule, rates, steps)
        return float(query(phi).mean())

    for name, p in theta().items():
        for i in range(len(p)):
            h = torch.zeros_like(p)
            h[i] = 1e-5
            ahead, behind = (optimum_loss(theta() | {name: p + sign * h}) for sign in (1, -1))
            slope = (ahead - behind) / 2e-5
            assert float(found[f"theta.{name}"][i]) == pytest.approx(slope, rel=1e-5, abs=1e-8)


# learned step counts


@pytest.mark.parametrize("first", [3.0, -3.0])  # a log density may be negative
def test_the_gradient_of_the_logits_is_that_of_the_priced_loss(first: float) -> None:
    count = StepCount(4, price=0.1, entropy=0.2, annealed=0.5)
    losses = first + torch.tensor([0.0, -1.0, -2.5, -2.6, -2.55], dtype=DOUBLE)
    logits = torch.tensor([0.1, -0.2, 0.3, 0.0, 1.0], dtype=DOUBLE, requires_grad=True)
    for progress, beta in ((0.0, 0.2 * 3), (0.25, 0.1 * 3), (0.5, 0.0), (0.9, 0.0)):
        p = torch.softmax(logits, 0)
        value = (p * (losses + 0.1 * torch.arange(5))).sum() + beta * (p * p.log()).sum()
        (expected,) = torch.autograd.grad(value, logits)
        found = count.logit_gradient(losses, logits, progress)
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-15)


@settings(max_examples=30, deadline=None)
@given(logits=st.lists(st.floats(-4, 4), min_size=4, max_size=4))
def test_a_learned_step_count_weighs_the_losses_by_its_probabilities(logits: list[float]) -> None:
    rule, count, bends = InnerRule(rate=0.1, learned=True), StepCount(3, tail=0.0), Bends()
    episodes = bends.sample(4, chance(1))
    at = leaves(rule, 3) | {"steps.logits": torch.tensor(logits, dtype=DOUBLE)}
    found, loss = Objective(bends.losses, rule, count)(at, episodes, 1.0)
    p = torch.softmax(at["steps.logits"], 0)
    parts = [Objective(bends.losses, rule, k)(at, episodes, 1.0) for k in range(4)]
    for name in ("theta.w", "rate.all"):
        expected = sum(p[k] * parts[k][0][name] for k in range(4))
        assert torch.allclose(found[name], expected, rtol=1e-10)
    losses = torch.stack([part[1] for part in parts])
    assert float(loss) == pytest.approx(float((p * losses).sum()))
    gradient = count.logit_gradient(losses, at["steps.logits"], 1.0)
    assert torch.allclose(found["steps.logits"], gradient)


def test_steps_with_a_negligible_tail_are_not_unrolled() -> None:
    count = StepCount(3, tail=0.01)
    assert count.horizon(torch.zeros(4)) == 3
    assert count.horizon(torch.tensor([0.0, 9.0, 0.0, 0.0])) == 1
    assert count.horizon(torch.tensor([9.0, 0.0, 0.0, 0.0])) == 0


@settings(max_examples=200, deadline=None)
@given(logits=st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_no_more_steps_are_unrolled_than_there_may_be(logits: list[float]) -> None:
    """Probabilities that add up to a little less than 1 leave nothing behind the last count."""
    maximum = len(logits) - 1
    assert StepCount(maximum, tail=0.0).horizon(torch.tensor(logits)) <= maximum


@pytest.mark.parametrize("rate", [8.0, 1e200])
def test_late_steps_that_explode_do_not_touch_the_gradients(rate: float) -> None:
    """The losses grow step by step, or are infinite; gradients are those of the sound counts."""
    rule, count = InnerRule(rate=rate, learned=True), StepCount(4, tail=0.0, explosion=20.0)

    def losses(episodes: Episodes) -> tuple[Loss, Loss]:
        loss: Loss = lambda phi: (phi["w"] - episodes.support_y).square().sum(1)  # noqa: E731
        return loss, loss

    x = torch.ones(2, 1, dtype=DOUBLE)
    episodes = Episodes(x, x, x, x)
    at = {
        "theta.w": torch.zeros(1, dtype=DOUBLE, requires_grad=True),
        "rate.all": torch.tensor(rate, dtype=DOUBLE).log().requires_grad_(),
        "steps.logits": torch.zeros(5, dtype=DOUBLE),
    }
    found, loss = Objective(losses, rule, count)(at, episodes, 0.5)
    assert float(loss) == pytest.approx(1.0)  # only the count 0 is sound
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert float(found["theta.w"]) == pytest.approx(-2.0)
    assert float(found["rate.all"]) == 0.0
    assert found["steps.logits"][0] < 0 < found["steps.logits"][1]  # downhill is towards 0 steps


@pytest.mark.parametrize("first", [1.0, -1.0])
def test_a_count_is_sound_unless_its_loss_rose_by_a_multiple_of_its_size(first: float) -> None:
    rises = torch.tensor([0.0, -0.5, 8.9, 9.1, -0.5])
    assert StepCount(4, explosion=10.0).sound(first + rises) == 3


def test_the_best_count_is_the_cheapest_and_never_one_that_exploded() -> None:
    losses = torch.tensor([3.0, 1.0, 0.95, torch.nan, torch.inf])
    assert StepCount(4, price=0.0).best(losses) == 2
    assert StepCount(4, price=0.1).best(losses) == 1
    assert StepCount(4, price=3.0).best(losses) == 0
    assert StepCount(4, price=0.1).least(losses) == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maximum": 0}, "maximum is 0"),
        ({"price": -1.0}, "price and entropy must not be negative"),
        ({"annealed": 0.0}, "annealed is 0.0"),
        ({"tail": 1.0}, "tail is 1.0"),
        ({"explosion": 1.0}, "explosion is 1.0"),
    ],
)
def test_step_counts_refuse_what_cannot_be(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepCount(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", [{"rule": InnerRule(order="implicit", proximal=1.0)}, {}])
def test_a_step_count_is_not_learned_without_a_gradient_through_the_steps(
    how: dict[str, InnerRule],
) -> None:
    outer = "query" if how else "displacement"
    with pytest.raises(ValueError, match="a learned step count needs"):
        Objective(Bends().losses, how.get("rule", InnerRule()), StepCount(), outer)


# the outer loop


class Shifts:
    """Tasks whose answer is a number: one inner step of rate 1/2 finds it from anywhere."""

    def sample(self, tasks: int, generator: torch.Generator) -> Episodes:
        target = 1 + torch.randn(tasks, 1, generator=generator)
        return Episodes(target, target, target, target)

    def losses(self, episodes: Episodes) -> tuple[Loss, Loss]:
        def loss(phi: Params) -> Tensor:
            return (phi["w"] - episodes.support_y).square().sum(1)

        return loss, loss


def shift_parameters(rule: InnerRule, steps: int = 1) -> Params:
    start = {"w": torch.zeros(1)}
    log_rates = rule.initial_log_rates(start, steps)
    return {"theta.w": start["w"]} | {f"rate.{n}": p for n, p in log_rates.items()}


OPTIONS = OuterOptions(
    iterations=200, tasks=20, learning_rate=0.1, rate_learning_rate=0.1, logit_learning_rate=0.1
)


def test_start_rate_and_step_count_find_the_known_answer() -> None:
    """Without a price for steps one step of rate 1/2 is exact, a dear step is not worth it."""
    rule = InnerRule(rate=0.1, rates="step", learned=True)
    for price, expected in ((0.05, 1), (5.0, 0)):
        count = StepCount(3, price=price)
        parameters = shift_parameters(rule, 3) | {"steps.logits": torch.zeros(4)}
        objective = Objective(Shifts().losses, rule, count)
        done = train(parameters, objective, Shifts(), options=OPTIONS)
        assert int(done.parameters["steps.logits"].argmax()) == expected
        if expected == 1:
            assert float(done.parameters["rate.all"][0].exp()) == pytest.approx(0.5, abs=0.02)
        else:  # without adaptation the mean task is best
            assert float(done.parameters["theta.w"]) == pytest.approx(1.0, abs=0.2)


def test_the_parts_of_a_batch_give_the_gradients_of_the_whole() -> None:
    """Parts of unequal size, and a learned step count, whose logits are averaged, too."""
    rule = InnerRule(rate=0.1, learned=True)
    parameters = {
        name: p.requires_grad_()
        for name, p in (shift_parameters(rule, 2) | {"steps.logits": torch.zeros(3)}).items()
    }
    episodes = Shifts().sample(7, chance())
    whole, *others = (
        Objective(Shifts().losses, rule, StepCount(2, price=0.1), parts=parts)(
            parameters, episodes, 0.5
        )
        for parts in (1, 3, 7)
    )
    assert set(whole[0]) == set(parameters)
    for gradients, loss in others:
        assert torch.allclose(loss, whole[1], rtol=1e-5)
        for name, gradient in whole[0].items():
            assert torch.allclose(gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_what_autograd_keeps_is_counted_once_a_tensor() -> None:
    """Of a product it keeps both factors, of an exponential the value, of a sum nothing."""
    x, w = torch.rand(1000, 10, requires_grad=True), torch.rand(10, 30, requires_grad=True)
    assert kept_bytes(lambda: x @ w) == 4 * (1000 * 10 + 10 * 30)
    assert kept_bytes(lambda: (x @ w).exp()) == 4 * (1000 * 10 + 10 * 30 + 1000 * 30)
    assert kept_bytes(lambda: (x * x, x @ w)) == 4 * (1000 * 10 + 10 * 30)
    assert kept_bytes(lambda: x.sum() + 1) == 0


def test_batches_are_cut_where_they_outgrow_the_cache() -> None:
    """By sizes: small tasks run at once, large ones in parts, down to one task."""
    looked = []

    def compute(parameters: Params, episodes: Episodes) -> Tensor:
        looked.append(len(episodes))
        return parameters["scale"] * episodes.support_x

    def batch(numbers: int) -> Episodes:
        x, y = torch.zeros(8, 1, numbers), torch.zeros(8, 1)
        return Episodes(x, y, x, y)

    portions = Portions(compute)
    parameters = {"scale": torch.ones((), requires_grad=True)}
    megabyte = 2**20 // 4
    found = [portions(parameters, batch(n)) for n in (10, megabyte, 10 * megabyte)]
    assert found == [1, 1, 3]  # of 80 MB
    assert portions(parameters, batch(10 * megabyte)) == 3
    assert looked == [1, 1, 1]  # one task of each size, once
    assert portions(parameters, batch(100 * megabyte)) == 8


def test_training_stops_early_and_keeps_the_best() -> None:
    rule = InnerRule(rate=0.1, learned=True)
    seen: list[float] = []

    def validate(parameters: Params) -> float:
        seen.append(float(parameters["theta.w"]))
        return abs(len(seen) - 3)  # the third look is the best

    done = train(
        shift_parameters(rule),
        Objective(Shifts().losses, rule, 1),
        Shifts(),
        options=replace(OPTIONS, validate_every=10, patience=4),
        validate=validate,
    )
    assert len(seen) == 3 + 4
    assert done.iteration == 70
    assert float(done.parameters["theta.w"]) == seen[2]
    assert [iteration for iteration, _ in done.history] == [10, 20, 30, 40, 50, 60, 70]


def test_gradients_that_are_not_finite_are_skipped_and_counted() -> None:
    rule = InnerRule(rate=0.1, learned=True)
    objective = Objective(Shifts().losses, rule, 1)
    calls = 0

    def sometimes(at: Params, episodes: Episodes, progress: float) -> tuple[Params, Tensor]:
        nonlocal calls
        calls += 1
        found, loss = objective(at, episodes, progress)
        return ({n: g * torch.nan for n, g in found.items()} if calls % 3 == 0 else found), loss

    options = replace(OPTIONS, iterations=30)
    done = train(shift_parameters(rule), sometimes, Shifts(), options=options)
    assert done.skipped == 10
    assert all(p.isfinite().all() for p in done.parameters.values())


def test_the_schedule_warms_up_and_comes_down() -> None:
    options = OuterOptions(iterations=1000, warm_up=0.1, final=0.05)
    factors = [options.schedule(i) for i in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[99] == pytest.approx(1.0)
    assert factors == sorted(factors[:100]) + sorted(factors[100:], reverse=True)
    assert factors[-1] == pytest.approx(0.05, abs=1e-4)


def test_weight_decay_pulls_at_the_initialisation_alone() -> None:
    rule = InnerRule(rate=0.1, learned=True)

    def nothing(at: Params, episodes: Episodes, progress: float) -> tuple[Params, Tensor]:
        return {name: torch.zeros_like(p) for name, p in at.items()}, torch.zeros(())

    start = shift_parameters(rule) | {"theta.w": torch.ones(1)}
    options = replace(OPTIONS, iterations=10, weight_decay=0.5)
    done = train(start, nothing, Shifts(), options=options)
    assert 0 < float(done.parameters["theta.w"]) < 1
    assert torch.equal(done.parameters["rate.all"], start["rate.all"])


def test_options_of_the_outer_loop_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="iterations is 0"):
        OuterOptions(iterations=0)
    with pytest.raises(ValueError, match="patience is 0"):
        OuterOptions(patience=0)
    with pytest.raises(ValueError, match="clip is -1"):
        OuterOptions(clip=-1.0)
    with pytest.raises(ValueError, match="weight_decay is -1"):
        OuterOptions(weight_decay=-1.0)
    with pytest.raises(ValueError, match="warm_up is 2"):
        OuterOptions(warm_up=2)
    with pytest.raises(ValueError, match="rate_learning_rate is -1"):
        OuterOptions(rate_learning_rate=-1)
    with pytest.raises(ValueError, match=r"accumulate \(9\) exceeds tasks \(3\)"):
        OuterOptions(tasks=3, accumulate=9)


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch's own
def test_compiled_gradients_are_the_eager_ones() -> None:
    rule, bends = InnerRule(rate=0.1, learned=True), Bends()
    at, episodes = leaves(rule, 1), bends.sample(3, chance(1))
    eager = Objective(bends.losses, rule, 1)
    compiled = replace(eager, compile=True)
    expected, loss = eager(at, episodes, 0.0)
    for _ in range(2):  # as it is compiled, and from then on
        found, compiled_loss = compiled(at, episodes, 0.0)
        assert float(compiled_loss) == pytest.approx(float(loss), rel=1e-12)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert torch.allclose(found[name], gradient, rtol=1e-9, atol=1e-13)
