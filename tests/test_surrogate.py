"""The surrogate's mathematics against dense, brute-force and hand-worked answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from scipy.stats import t as student_t
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from metahpo.surrogate import belief as belief_module
from metahpo.surrogate.adaptation import RULE, STRAY, Adaptation
from metahpo.surrogate.features import FeatureNet, FeatureOptions, settled, train_features
from metahpo.surrogate.hypotheses import NULL_PRIOR, Told, heaviest
from metahpo.surrogate.kernels import matern52
from metahpo.surrogate.null import NullFactors, null_hypotheses
from metahpo.surrogate.relevance import Relevance, fit_relevance
from metahpo.surrogate.scale import ScalePrior
from metahpo.surrogate.scores import KNOTS, gaussian_ranks, profile, spread, told
from metahpo.surrogate.stopping import Ranked, steps_that_pay
from metahpo.surrogate.study import Prior, StudyBelief
from metahpo.surrogate.tasks import TaskPrior, fit_task_prior, memory
from metahpo.surrogate.worth import bends, expected_gain

Array = NDArray[np.float64]


# ---------------------------------------------------------------------- scores


def test_ranks_become_normal_quantiles() -> None:
    # ranks 3, 1, 2 of 3 are the quantiles 5/6, 1/6, 1/2
    assert gaussian_ranks(np.array([9.0, -4.0, 0.1])) == pytest.approx(
        [0.9674215661, -0.9674215661, 0.0]
    )


def test_failures_rank_with_the_worst_and_ties_share_their_rank() -> None:
    z = gaussian_ranks(np.array([np.nan, 0.5, np.nan, 0.7]))
    assert z == pytest.approx(norm.ppf([0.25, 0.625, 0.25, 0.875]))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6, -1e6], [0.9, 0.8, 0.7, 0.6, -0.1]),  # 4 x 0.2 below the median
        ([0.9, np.nan, 0.5], [0.9, 0.5, 0.5]),
        ([1.0, 1.0, 1.0, 0.5, 0.2], [1.0, 1.0, 1.0, 0.5, 0.2]),  # the median says nothing
        ([1.0, 1.0, 1.0, 0.9, 0.8, -1e6], [1.0, 1.0, 1.0, 0.9, 0.8, 0.0]),
        ([0.7] * 4, [0.7] * 4),
    ],
)
def test_junk_and_failures_are_cut_off(scores: list[float], expected: list[float]) -> None:
    assert told(np.array(scores)) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(scores=arrays(float, st.integers(1, 40), elements=st.floats(-5, 5, width=16)))
def test_ranks_see_the_order_and_nothing_else(scores: Array) -> None:
    z = gaussian_ranks(scores)
    if len(set(scores)) == len(scores):
        assert z.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(gaussian_ranks(3 * scores - 1), z)
    np.testing.assert_allclose(gaussian_ranks(scores**3), z)
    np.testing.assert_allclose(gaussian_ranks(-scores), -z, atol=1e-12)


def test_the_spread_is_the_score_per_unit_of_rank() -> None:
    z = gaussian_ranks(np.arange(40.0))
    assert spread(3 + 0.02 * z) == pytest.approx(0.02)
    # what failed and what is junk does not stretch it
    assert spread(np.append(3 + 0.02 * z, [np.nan] * 5)) == pytest.approx(0.02)
    junk = np.where(z < -1, -1e6, 3 + 0.02 * z)
    assert spread(junk) == pytest.approx(0.02)
    assert spread(np.ones(10)) == 0


def test_a_profile_remembers_a_tasks_quantiles_from_worst_to_best() -> None:
    assert profile(np.linspace(2, 4, 101)) == pytest.approx(KNOTS)
    assert profile(np.array([0.5, np.nan, 0.5])) == pytest.approx(1)
    for scores in (
        np.array([0.0, 1.0]),
        np.array([-1e9, 0.5, 0.6, 0.7]),
        np.array([0.0, 1, 1, 1]),
    ):
        knots = profile(scores)
        assert (np.diff(knots) >= 0).all()
        assert (knots[0], knots[-1]) == (0, 1)


# ---------------------------------------------------------------------- features


def test_features_fit_tasks_that_share_them() -> None:
    """With a linear head a task, the features explain responses of two shared patterns."""
    rng = np.random.default_rng(0)
    X = rng.random((600, 3))
    task = np.repeat(np.arange(20), 30)
    patterns = np.stack([np.sin(4 * X[:, 0]), (X[:, 1] - 0.5) ** 2 * 6], axis=1)
    z = (patterns * rng.normal(size=(20, 2))[task]).sum(1)
    options = FeatureOptions(members=2, width=32, features=8, steps=400, batch=256)
    net = train_features(X, task, z, options=options, seed=1)
    phi = net(X)
    assert phi.shape == (600, net.size) == (600, 2 * 8 + 1)
    assert (phi[:, -1] == 1).all()
    # half of each task's trials predict the other half: by ridge regression on the features far
    # better than on the configurations themselves
    raw = np.column_stack([X, np.ones(len(X))])
    assert ridge_error(phi, task, z) < 0.5 * ridge_error(raw, task, z)


def ridge_error(inputs: Array, task: NDArray[np.int64], z: Array) -> float:
    error = 0.0
    for t in np.unique(task):
        train, test = np.array_split(np.flatnonzero(task == t), 2)
        gram = inputs[train].T @ inputs[train] + 1e-3 * np.eye(inputs.shape[1])
        weights = np.linalg.solve(gram, inputs[train].T @ z[train])
        error += float(((z[test] - inputs[test] @ weights) ** 2).sum())
    return error


def test_features_are_the_same_for_the_same_seed_and_survive_storage() -> None:
    X, task = np.random.default_rng(0).random((40, 2)), np.repeat([0, 1], 20)
    options = FeatureOptions(members=1, width=8, features=4, steps=20, batch=16)
    first, again, other = (
        train_features(X, task, X[:, 0], options=options, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first(X), again(X))
    assert not np.allclose(first(X), other(X))
    np.testing.assert_array_equal(FeatureNet.from_tensors(first.tensors())(X), first(X))


def test_features_do_not_depend_on_the_units_of_what_they_read() -> None:
    rng = np.random.default_rng(0)
    X, task = rng.random((200, 2)), np.repeat(np.arange(10), 20)
    options = FeatureOptions(members=2, width=8, features=4, steps=50, batch=32)
    moved = 20 * X - np.array([3.0, 70.0])
    net, other = (train_features(x, task, X[:, 0] - X[:, 1], options=options) for x in (X, moved))
    np.testing.assert_allclose(other(moved), net(X), atol=1e-2)


def test_every_cycle_of_training_ends_with_what_training_for_so_long_gives() -> None:
    rng = np.random.default_rng(0)
    X, task = rng.random((60, 2)), np.repeat(np.arange(3), 20)
    options = FeatureOptions(members=1, width=4, features=2, batch=8)
    cycles = list(settled(X, task, X[:, 0], 2500, options=options, device="cpu", seed=1))
    assert [steps for steps, _ in cycles] == [1000, 2000, 2500]
    for steps, net in cycles:
        whole = train_features(X, task, X[:, 0], options=replace(options, steps=steps), seed=1)
        np.testing.assert_array_equal(whole(X), net(X))


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 1001, 1010])
def test_training_may_take_any_number_of_steps(steps: int) -> None:
    X, task = np.random.default_rng(0).random((12, 2)), np.repeat(np.arange(3), 4)
    options = FeatureOptions(members=1, width=4, features=2, batch=8)
    *_, (end, net) = settled(X, task, X[:, 0], steps, options=options, device="cpu", seed=1)
    assert end == steps
    assert np.isfinite(net(X)).all()


def rough_tasks(n_tasks: int, noise: float, seed: int) -> Ranked:
    """Tasks that mix two waves, each with 40 configurations of its own."""
    rng = np.random.default_rng(seed)
    X = rng.random((n_tasks * 40, 1))
    waves = np.column_stack([np.sin(25 * X[:, 0]), np.cos(25 * X[:, 0])]).reshape(n_tasks, 40, 2)
    signal = (waves @ rng.normal(size=(n_tasks, 2, 1)))[..., 0]
    return Ranked(X, list(signal + noise * rng.normal(size=signal.shape)))


def test_training_goes_on_while_it_helps_on_tasks_held_out() -> None:
    """What is rough takes long to learn; what is noise is learned by heart."""
    options = FeatureOptions(members=1, width=32, features=8, batch=128)

    def stopped(noise: float) -> int:
        own, held = (rough_tasks(n, noise, seed=n) for n in (12, 6))
        return steps_that_pay(own, held, options=options, device="cpu", seed=0)

    assert stopped(noise=3.0) < stopped(noise=0.1)


# ---------------------------------------------------------------------- tasks


def linear_tasks(
    n_tasks: int, n_trials: int, noise: float, seed: int = 0
) -> tuple[list[tuple[Array, Array]], Array, Array, Array]:
    rng = np.random.default_rng(seed)
    mean, root = np.array([1.0, -2.0, 0.5]), np.diag([0.8, 0.1, 0.4])
    W = mean + rng.normal(size=(n_tasks, 3)) @ root
    phis = rng.normal(size=(n_tasks, n_trials, 3))
    tasks = [
        (phi, phi @ w + np.sqrt(noise) * rng.normal(size=n_trials))
        for phi, w in zip(phis, W, strict=True)
    ]
    return tasks, W, mean, root @ root


def test_the_prior_recovers_what_made_the_tasks() -> None:
    tasks, W, _, covariance = linear_tasks(300, 40, noise=0.2)
    prior = fit_task_prior(tasks, iterations=20)
    assert prior.noise == pytest.approx(0.2, rel=0.1)
    assert np.abs(prior.weights - W).mean() < 0.08
    assert prior.covariance == pytest.approx(covariance, abs=0.12)
    phi = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_allclose(prior.particles(phi), phi @ prior.weights.T)


def test_a_task_with_few_trials_borrows_from_the_others() -> None:
    tasks, W, mean, _ = linear_tasks(100, 40, noise=0.2)
    tasks[0] = tasks[0][0][:1], tasks[0][1][:1]
    prior = fit_task_prior(tasks, iterations=20)
    # one trial cannot tell three weights; the least varied one is known from the other tasks
    assert prior.weights[0, 1] == pytest.approx(mean[1], abs=0.15)
    assert np.abs(prior.weights[1:] - W[1:]).mean() < 0.08


def test_every_round_of_expectation_maximisation_raises_the_likelihood() -> None:
    tasks, *_ = linear_tasks(25, 6, noise=0.3, seed=2)

    def log_likelihood(prior: TaskPrior) -> float:
        mean = prior.weights.mean(0)
        return sum(
            multivariate_normal(
                phi @ mean, phi @ prior.covariance @ phi.T + prior.noise * np.eye(len(z))
            ).logpdf(z)
            for phi, z in tasks
        )

    rounds = [log_likelihood(fit_task_prior(tasks, iterations=i)) for i in (1, 2, 4, 8, 16)]
    assert (np.diff(rounds) > -1e-3).all()
    assert rounds[-1] > rounds[0]


def test_a_task_remembers_the_mean_of_what_it_tried_again_and_again() -> None:
    tried, tasks = [b"a", b"c", b"a", b"c", b"d"], np.array([0, 0, 0, 1, 1])
    residual = np.array([1.0, 5.0, -3.0, 7.0, 9.0])
    found = memory([b"a", b"b", b"c"], tried, tasks, residual, 2)
    assert found.tolist() == [[-1.0, 0.0], [0.0, 0.0], [5.0, 7.0]]


# ---------------------------------------------------------------------- the local kernel


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), longest=st.floats(0.05, 3.0))
def test_the_local_kernel_is_the_matern_kernel(seed: int, longest: float) -> None:
    rng = np.random.default_rng(seed)
    A, B, length = rng.random((7, 3)), rng.random((4, 3)), longest * rng.uniform(0.3, 1, 3)
    kernel = matern52(*(torch.from_numpy(values) for values in (A, B, length))).numpy()
    np.testing.assert_allclose(kernel, Matern(length, nu=2.5)(A, B), atol=1e-6)
    own = matern52(*(torch.from_numpy(values) for values in (A, A, length))).numpy()
    np.testing.assert_allclose(np.diag(own), 1.0, atol=1e-6)


# ---------------------------------------------------------------------- belief

SCALE = ScalePrior(mean=np.log(0.3), sd=0.6)
NOISE, LENGTH = 0.05, np.array([0.7, 0.4])
PROFILES = np.linspace(0, 1, 33) ** np.array([[0.3], [1.0], [4.0]])
DEEP, LOCAL = 0.4, 0.3


def fixed() -> Adaptation:
    """One hypothesis of transfer that no trial moves."""
    named = {"deep": [DEEP], "local": [LOCAL], "noise": [NOISE], "length": LENGTH[None]}
    theta = {name: torch.from_numpy(np.log(value)) for name, value in named.items()}
    return Adaptation(theta, RULE.initial_log_rates(theta, 1), steps=0)


@dataclass
class Study:
    """A prior of three tasks, six trials of a new one, and four candidates."""

    tasks: TaskPrior
    log_relevance: Array
    phi: Array
    X: Array
    y: Array
    new: tuple[Array, Array]

    def prior(self, scale: ScalePrior = SCALE) -> Prior:
        return Prior(self.tasks, scale, fixed(), self.log_relevance, bends(PROFILES))

    def belief(self, y: Array | None = None, scale: ScalePrior = SCALE) -> StudyBelief:
        return self.prior(scale).condition(self.phi, self.X, self.y if y is None else y)


@pytest.fixture(params=["like a task", "like none"])
def study(request: pytest.FixtureRequest) -> Study:
    rng = np.random.default_rng(7)
    root = rng.normal(size=(3, 3)) / 2
    prior = TaskPrior(rng.normal(size=(3, 3)), root @ root.T, noise=0.1)
    phi, phi_new = rng.normal(size=(6, 3)), rng.normal(size=(4, 3))
    # like the second task, on another scale
    y = 5 + 0.4 * phi @ prior.weights[1] + 0.05 * rng.normal(size=6)
    X, X_new = rng.random((6, 2)), rng.random((4, 2))
    if request.param == "like none":
        y = 5 + np.sin(4 * X[:, 0])
    return Study(prior, np.log([0.5, 0.3, 0.2]), phi, X, y, (phi_new, X_new))


@dataclass
class Component:
    """One of the mixture's Gaussians, by dense formulas."""

    task: int
    noise: float
    log_weight: float
    mean: Array
    covariance: Array
    offset: float
    scale: float
    foretold: float
    """Share of the scores' variance that the task tells, before conditioning."""


def log_density(deviation: Array, covariance: Array) -> float:
    """Of a normal distribution; scipy's refuses covariances that a wide offset dominates."""
    log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return float(-0.5 * (log_det + deviation @ np.linalg.solve(covariance, deviation)))


def brute_force(study: Study, offset_sd: float = 100.0) -> list[Component]:
    """Condition one dense Gaussian after the other, under a wide prior on the offset a."""
    X = np.concatenate([study.X, study.new[1]])
    phi = np.concatenate([study.phi, study.new[0]])
    n, T = len(study.y), len(study.tasks.weights)
    components = []
    scales = SCALE.grid(study.y)[0]
    steps = np.gradient(np.log(scales))  # the quadrature over log b
    null = {name: value.exp().numpy() for name, value in null_hypotheses(2, n).items()}
    nulls = list(zip(null["local"], null["noise"], null["length"], strict=True))
    kinds = [(t, (LOCAL, NOISE, LENGTH)) for t in range(T)] + [(T, kind) for kind in nulls]
    for (t, (variance, share, length)), (b, step) in product(
        kinds, zip(scales, steps, strict=True)
    ):
        deep = (DEEP if t < T else 0.0) * phi @ study.tasks.covariance @ phi.T
        K = b**2 * (deep + variance * Matern(length, nu=2.5)(X)) + offset_sd**2
        noise = b**2 * share * np.eye(n)
        mean = b * phi @ study.tasks.weights[t] if t < T else np.zeros(len(X))
        gain = np.linalg.solve(K[:n, :n] + noise, K[:n]).T
        scale_weight = student_t.logpdf(np.log(b), 3, SCALE.mean, SCALE.sd) + np.log(step)
        prior = (
            np.log(NULL_PRIOR / len(nulls))
            if t == T
            else np.log1p(-NULL_PRIOR) + study.log_relevance[t]
        )
        evidence = log_density(study.y - mean[:n], K[:n, :n] + noise)
        components.append(
            Component(
                task=t,
                noise=b**2 * share,
                log_weight=evidence + prior + scale_weight,
                mean=(mean + gain @ (study.y - mean[:n]))[n:],
                covariance=(K - gain @ K[:n])[n:, n:],
                offset=offset_sd**2 * np.linalg.solve(K[:n, :n] + noise, study.y - mean[:n]).sum(),
                scale=b,
                foretold=max(0.0, 1.0 - float(np.var(study.y - mean[:n]) / np.var(study.y))),
            )
        )
    return components


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything be evaluated at candidates, however unlikely."""
    monkeypatch.setattr(belief_module, "_LOST", -1.0)
    monkeypatch.setattr(belief_module, "_MOST", 10_000)


def weights_of(components: list[Component]) -> Array:
    log = np.array([component.log_weight for component in components])
    return np.exp(log - logsumexp(log))


@pytest.mark.usefixtures("whole")
def test_the_belief_is_the_mixture_of_dense_gaussian_processes(study: Study) -> None:
    components = brute_force(study)
    weights, belief = weights_of(components), study.belief()
    by_task = [weights[[c.task == t for c in components]].sum() for t in range(4)]
    np.testing.assert_allclose(belief.task_weight, by_task, rtol=1e-3, atol=1e-6)
    told = weights @ [component.foretold for component in components] / (1 - by_task[-1])
    # six trials: five judge the tasks, against two trials' worth of trust to begin with
    trust = (1 - by_task[-1]) * (2 + 5 * told) / 7
    assert belief.trust == pytest.approx(trust, rel=2e-3)
    means = np.array([component.mean for component in components])
    variances = np.array([np.diag(component.covariance) for component in components])
    mean = weights @ means
    sd = np.sqrt(weights @ (variances + means**2) - mean**2)
    predicted, uncertainty = belief.predict(*study.new)
    np.testing.assert_allclose(predicted, mean, rtol=1e-4)
    np.testing.assert_allclose(uncertainty, sd, rtol=1e-2)


@pytest.mark.usefixtures("whole")
def test_quantiles_are_those_of_noisy_scores(study: Study) -> None:
    components, levels = brute_force(study), (0.025, 0.1, 0.5, 0.9)
    weights = weights_of(components)
    quantiles = study.belief().quantiles(*study.new, levels)
    for i, row in enumerate(quantiles):
        sds = np.sqrt([c.covariance[i, i] + c.noise for c in components])
        below = norm.cdf(row, np.array([[c.mean[i]] for c in components]), sds[:, None])
        # a share of the scores is like nothing foretold, and may be anywhere
        assert STRAY / 2 + (1 - STRAY) * weights @ below == pytest.approx(levels, abs=5e-3)


def test_scores_lie_where_they_were_looked_for_however_far_out(study: Study) -> None:
    deviates = np.array([-29.0, -15.0, -8.5, -3.0, -0.5, 0.0, 1.0, 8.5, 15.0, 29.0])
    belief, (phi, X) = study.belief(), study.new
    view = belief.prior.view(phi, X)
    asked = torch.from_numpy(np.tile(deviates, (len(X), 1)))[None]
    quantiles = belief.posterior.quantiles(view, asked)[0].numpy()
    for deviate, scores in zip(deviates, quantiles.T, strict=True):
        np.testing.assert_allclose(belief.deviates(phi, X, scores), deviate, rtol=1e-6, atol=1e-6)


def worth_on(task: int, z: Array) -> Array:
    """What responses are worth on a task; on none of them, a straight line."""
    knots = np.array([-1.5, -0.5, 0.25, 1.0, 1.75, 2.5])
    if task == len(PROFILES):
        steps = np.diff([worth_on(t, knots) - 0.03 * knots for t in range(task)]) / np.diff(knots)
        return z * steps.mean()
    shares = np.interp(norm.cdf(knots), np.linspace(0, 1, 33), PROFILES[task])
    beyond = np.maximum(z - 2.5, 0) * (1 - shares[-1])
    return np.interp(z, knots, shares) + beyond + 0.03 * z


@pytest.mark.usefixtures("whole")
def test_expected_improvement_is_the_integral_it_stands_for(study: Study) -> None:
    components = brute_force(study)
    weights, best = weights_of(components), study.y.max()
    gain = study.belief().expected_improvement(*study.new)
    steps = np.linspace(0, 1, 4_001)

    def improved(c: Component, i: int) -> float:
        mean, sd = c.mean[i], 1.3 * np.sqrt(c.covariance[i, i])
        y = best + steps * (max(mean - best, 0.0) + 10 * sd)
        zs = ((level - c.offset) / c.scale for level in (y, np.array(best)))
        above, level = (worth_on(c.task, z) for z in zs)
        return float(trapezoid((above - level) * norm.pdf(y, mean, sd), y))

    def copied(t: int, i: int) -> float:
        tried, new = (
            worth_on(t, phi @ study.tasks.weights[t]) for phi in (study.phi, study.new[0])
        )
        return max(0.0, float(new[i] - tried.max()))

    copies = [weights[[c.task == t for c in components]].sum() for t in range(3)]
    for i in range(4):
        deviating = sum(
            weight * improved(c, i)
            for weight, c in zip(weights, components, strict=True)
            if weight > 1e-10
        )
        exact = 0.7 * deviating + 0.3 * sum(copies[t] * copied(t, i) for t in range(3))
        assert gain[i] == pytest.approx(exact, rel=1e-2, abs=1e-7)


def test_where_the_top_is_flat_a_step_up_is_worth_less() -> None:
    z, level = torch.tensor([[[0.0]]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    flat, steep, plain = (torch.from_numpy(b)[None, None] for b in bends(PROFILES)[[0, 2, 3]])
    gains = [float(expected_gain(z, z + 1, level, b)) for b in (flat, plain, steep)]
    assert gains == sorted(gains)
    # from no task at all, it is the expected improvement in z
    alone = torch.from_numpy(bends(PROFILES[:0]))[None]
    assert float(expected_gain(z, z + 1, level, alone)) == pytest.approx(norm.pdf(0))


def test_the_order_of_the_trials_does_not_matter(study: Study) -> None:
    order = np.random.default_rng(0).permutation(6)
    shuffled = study.prior().condition(study.phi[order], study.X[order], study.y[order])
    belief = study.belief()
    np.testing.assert_allclose(shuffled.task_weight, belief.task_weight)
    np.testing.assert_allclose(shuffled.predict(*study.new), belief.predict(*study.new))


def test_the_unit_and_the_origin_of_the_scores_do_not_matter(study: Study) -> None:
    """y -> c y + d moves the predictions along, when the prior of the scale moves by log c."""
    belief = study.belief()
    moved = study.belief(100 * study.y - 7, ScalePrior(SCALE.mean + np.log(100), SCALE.sd))
    np.testing.assert_allclose(moved.task_weight, belief.task_weight, rtol=1e-6)
    new = study.new
    np.testing.assert_allclose(moved.predict(*new)[0], 100 * belief.predict(*new)[0] - 7)
    np.testing.assert_allclose(moved.predict(*new)[1], 100 * belief.predict(*new)[1])
    np.testing.assert_allclose(
        moved.expected_improvement(*new), belief.expected_improvement(*new), rtol=1e-6
    )
    # the origin alone is free: a flat prior has no opinion on it
    shifted = study.belief(study.y + 1000)
    np.testing.assert_allclose(shifted.task_weight, belief.task_weight, rtol=1e-6)


def test_one_trial_says_nothing_about_which_task_it_is_like(study: Study) -> None:
    # its offset is unknown, so any task explains one score equally well
    first = study.prior().condition(study.phi[:1], study.X[:1], study.y[:1])
    assert first.task_weight[:-1] / first.task_weight[:-1].sum() == pytest.approx([0.5, 0.3, 0.2])
    assert first.trust == pytest.approx(1 - NULL_PRIOR)


def test_among_many_tasks_none_like_it_has_the_share_that_it_is_believed_to_have(
    study: Study,
) -> None:
    """Each of 500 tasks has little weight, but together they have most of it."""
    T = 500
    weights = np.random.default_rng(0).normal(size=(T, 3))
    tasks = TaskPrior(weights, study.tasks.covariance, noise=0.1)
    prior = replace(study.prior(), tasks=tasks, log_relevance=np.full(T, -np.log(T)))
    for n in (1, 2, 6):
        belief = prior.condition(study.phi[:n], study.X[:n], study.y[:n])
        posterior = belief.posterior
        evaluated = posterior.weight[0][posterior.task[0] == T].sum()
        assert float(evaluated) == pytest.approx(belief.task_weight[-1])
        assert float(posterior.weight.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("n", [1, 3, 6, 25])
@pytest.mark.parametrize(
    ("study", "alone"), [("like a task", False), ("like none", True)], indirect=["study"]
)
def test_the_likeliest_components_stand_for_all(
    study: Study, alone: bool, n: int, request: pytest.FixtureRequest
) -> None:
    rng = np.random.default_rng(0)
    phi, X = rng.normal(size=(25, 3)), rng.random((25, 2))
    z = np.sin(4 * X[:, 0]) if alone else phi @ study.tasks.weights[1]
    y = 5 + 0.4 * z + 0.05 * rng.normal(size=25)
    trials = phi[:n], X[:n], y[:n]
    few = study.prior().condition(*trials)
    request.getfixturevalue("whole")
    mixture = study.prior().condition(*trials)
    if n == 25:
        assert (mixture.task_weight[-1] > 0.99) == alone
        assert few.posterior.weight.shape[1] < mixture.posterior.weight.shape[1] / 10
    np.testing.assert_allclose(few.task_weight, mixture.task_weight)
    (mean, sd), (exact, exact_sd) = few.predict(*study.new), mixture.predict(*study.new)
    assert (np.abs(mean - exact) < 0.1 * exact_sd).all()
    np.testing.assert_allclose(sd, exact_sd, rtol=0.1)


def test_the_heaviest_weigh_as_much_as_all_and_neighbours_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.dirichlet([0.1] * 50, size=3) * [[1.0], [0.5], [1e-4]])
    weights[1, 10:] = 0.0
    log = weights.log()
    index, raised = heaviest(log, 0.01)
    kept = (log.gather(1, index) + raised).exp()
    torch.testing.assert_close(kept.sum(1), weights.sum(1))
    for row, weight in enumerate(weights):
        alone, alone_raised = heaviest(log[row : row + 1], 0.01)
        k = alone.shape[1]
        assert weight.sum() - weight[alone[0]].sum() <= 0.01
        assert k == 1 or weight.sum() - weight[alone[0, :-1]].sum() > 0.01  # and no fewer do
        torch.testing.assert_close(raised[row, :k], alone_raised[0])
        assert (kept[row, k:] == 0).all()
    assert heaviest(log, 0.0, most=4)[0].shape == (3, 4)


def test_studies_side_by_side_are_each_what_it_is_alone(study: Study) -> None:
    prior, lengths = study.prior(), (6, 3, 1)
    together = Told.side_by_side(
        [prior.told(study.phi[:n], study.X[:n], study.y[:n]) for n in lengths]
    )
    # what stands where no trial is must not matter
    together.y[~together.there] = 7.0
    together.at.X[~together.there] = 7.0
    posterior = prior.adaptation.posterior(together)
    new = prior.view(*study.new).expand(3)
    gains = posterior.expected_improvement(new, torch.from_numpy(prior.bends))
    trusts = posterior.trust
    for i, n in enumerate(lengths):
        alone = prior.condition(study.phi[:n], study.X[:n], study.y[:n])
        np.testing.assert_allclose(gains[i], alone.expected_improvement(*study.new), rtol=1e-6)
        assert float(trusts[i]) == pytest.approx(alone.trust)


# ---------------------------------------------------------------------- with what is not learned


def test_where_no_task_helps_the_columns_that_matter_are_found() -> None:
    """As by a Gaussian process that knows its length scales are not all the same."""
    rng = np.random.default_rng(0)
    tasks = TaskPrior(rng.normal(size=(8, 5)), 0.1 * np.eye(5), noise=0.1)
    equal, straight = np.full(8, -np.log(8)), bends(np.ones((8, 33)))
    prior = Prior(tasks, ScalePrior(0.0, 0.5), Adaptation.unlearned(4), equal, straight)
    X, phi = rng.random((225, 4)), rng.normal(size=(225, 5))
    y = np.sin(6 * X[:, 0]) + 0.3 * X[:, 1]  # of four columns two matter, one of them little
    belief = prior.condition(phi[:25], X[:25], y[:25])
    assert belief.trust < 0.01
    kernel = ConstantKernel() * Matern(0.7, nu=2.5) + WhiteKernel(0.01)
    isotropic = GaussianProcessRegressor(kernel, normalize_y=True).fit(X[:25], y[:25])
    errors = [
        np.abs(predicted - y[25:]).mean()
        for predicted in (belief.predict(phi[25:], X[25:])[0], isotropic.predict(X[25:]))
    ]
    assert errors[0] < 0.5 * errors[1]


def test_factors_that_are_extended_are_those_of_all_trials_at_once() -> None:
    """Also after running trials that came out otherwise, and where hypotheses are given up."""
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.random((1, 260, 3)))
    others = torch.from_numpy(rng.random((1, 4, 3)))
    grown = NullFactors()
    for trials in (
        X[:, :1],
        X[:, :2],
        torch.cat([X[:, :2], others], dim=1),
        X[:, :7],
        X[:, :3],
        X[:, 1:9],
        X[:, :199],
        X,
        X[:, :230],
        X[:, :233],
        X[:, :199],
    ):
        whiten = grown.at(trials)
        n = trials.shape[1]
        torch.testing.assert_close(whiten, NullFactors().at(trials), rtol=1e-8, atol=1e-8)
        hypotheses = null_hypotheses(3, n)
        assert len(whiten[0]) == len(hypotheses["noise"])
        for h in (0, len(whiten[0]) - 1):
            length, noise = hypotheses["length"][h].exp(), float(hypotheses["noise"][h].exp())
            kernel = Matern(length.numpy(), nu=2.5) + WhiteKernel(noise)
            L = np.linalg.inv(whiten[0, h].numpy())
            np.testing.assert_allclose(L @ L.T, kernel(trials[0].numpy()), atol=1e-4)


def test_many_trials_are_weighed_by_fewer_null_hypotheses() -> None:
    """Each costs a matrix of n × n; those that are left are the same."""
    few, many = null_hypotheses(3, 50), null_hypotheses(3, 1000)
    assert 1 <= len(many["noise"]) < len(few["noise"]) == len(null_hypotheses(3, 1)["noise"])
    for name, value in many.items():
        torch.testing.assert_close(value, few[name][: len(value)], rtol=0, atol=0)


def test_trials_tell_which_task_the_new_one_is_like() -> None:
    rng = np.random.default_rng(3)
    tasks = TaskPrior(rng.normal(size=(8, 5)), 0.1 * np.eye(5), noise=0.1)
    phi, X = rng.normal(size=(15, 5)), rng.random((15, 3))
    equal = np.full(8, -np.log(8))
    prior = Prior(
        tasks,
        ScalePrior(np.log(0.1), 0.5),
        Adaptation.unlearned(3),
        equal,
        bends(np.ones((8, 33))),
    )
    scores = 0.7 + 0.1 * phi @ tasks.weights[5]
    like = prior.condition(phi, X, scores)
    assert like.task_weight.argmax() == 5
    assert like.trust > 0.9
    # a task that goes against all of them
    against = -0.1 * phi @ tasks.weights.sum(0) + 0.3 * np.sin(9 * X[:, 0])
    assert prior.condition(phi, X, against).trust < like.trust
    # the same scores told at other configurations, and no scores at all
    shuffled = rng.permutation(scores)
    assert prior.condition(phi, X, shuffled).trust < 0.7 * like.trust
    assert prior.condition(phi, X, np.full(15, 0.7)).trust < 0.2


def test_many_trials_are_learned_whatever_the_prior_says() -> None:
    """No task is like this one; the local process finds its optimum all the same."""
    rng = np.random.default_rng(5)
    tasks = TaskPrior(rng.normal(size=(4, 3)), 0.1 * np.eye(3), noise=0.1)
    X, new = rng.random((60, 2)), rng.random((300, 2))

    def score(X: Array) -> Array:
        return 1.0 - (X[:, 0] - 0.8) ** 2 - (X[:, 1] - 0.1) ** 2

    phi, phi_new = rng.normal(size=(60, 3)), rng.normal(size=(300, 3))
    scale = ScalePrior(np.log(0.1), 1.0)
    prior = Prior(
        tasks, scale, Adaptation.unlearned(2), np.full(4, -np.log(4)), bends(np.ones((4, 33)))
    )
    belief = prior.condition(phi, X, score(X))
    mean, _ = belief.predict(phi_new, new)
    assert np.corrcoef(mean, score(new))[0, 1] > 0.98
    assert belief.trust < 0.5


# ---------------------------------------------------------------------- relevance


def tasks_along(n_tasks: int, seed: int, noise_features: int = 6) -> tuple[pd.DataFrame, Array]:
    """Tasks whose response bends with one meta-feature, "told", among others that tell nothing."""
    rng = np.random.default_rng(seed)
    told = rng.uniform(-1, 1, n_tasks)
    grid = np.linspace(0, 1, 30)
    responses = np.sin(3 * grid[None] * (1 + told[:, None])) + 0.05 * rng.normal(
        size=(n_tasks, 30)
    )
    noise = rng.lognormal(size=(n_tasks, noise_features))
    features = pd.DataFrame(noise, columns=[f"noise {i}" for i in range(noise_features)])
    return features.assign(told=told), responses


def test_the_meta_feature_that_tells_is_found() -> None:
    features, responses = tasks_along(60, seed=0)
    relevance = fit_relevance(features, responses)
    scale = dict(zip(relevance.names, np.abs(relevance.scale), strict=True))
    assert scale["told"] > 2 * max(v for name, v in scale.items() if name != "told")
    # its weight goes to the tasks nearest in it
    new = dict.fromkeys(features, 1.0) | {"told": 0.5}
    weights = np.exp(relevance.log_weights(new))
    assert weights.sum() == pytest.approx(1)
    near = np.abs(features["told"] - 0.5).to_numpy().argsort()
    assert weights[near[:10]].mean() > 4 * weights[near[-30:]].mean()
    distances = relevance.distances(new)
    assert (np.argsort(distances)[:3] == np.argsort(-weights)[:3]).all()


def test_meta_features_that_tell_nothing_leave_the_weights_nearly_equal() -> None:
    for seed in range(4):
        features, responses = tasks_along(50, seed=seed)
        relevance = fit_relevance(features.drop(columns="told"), responses)
        weights = np.exp(relevance.log_weights(dict(features.iloc[0])))
        assert weights.max() < 3 / 50


def test_the_shape_of_a_meta_feature_does_not_matter() -> None:
    features, responses = tasks_along(40, seed=1, noise_features=2)
    bent = features.assign(
        told=np.exp(5 * features["told"]), **{"noise 0": -(features["noise 0"] ** 3)}
    )
    plain, other = fit_relevance(features, responses), fit_relevance(bent, responses)
    assert plain.scale.any()
    for i in (0, 7, 21):
        np.testing.assert_allclose(
            other.log_weights(dict(bent.iloc[i])),
            plain.log_weights(dict(features.iloc[i])),
            atol=1e-6,
        )


def test_unknown_missing_and_undefined_meta_features_count_as_ordinary() -> None:
    features, responses = tasks_along(40, seed=2, noise_features=1)
    features.loc[3, "told"] = np.nan
    relevance = fit_relevance(features.assign(same=1.0, none=np.nan), responses)
    assert relevance.names == ("noise 0", "told")  # what does not vary cannot tell
    known = {"told": 0.2, "noise 0": 1.0}
    expected = relevance.log_weights(known)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(relevance.log_weights(known | {"what": 3.0}), expected)
    missing, undefined = {"noise 0": 1.0}, {"noise 0": 1.0, "told": np.nan}
    np.testing.assert_array_equal(relevance.log_weights(missing), relevance.log_weights(undefined))
    np.testing.assert_allclose(np.exp(relevance.log_weights(None)), 1 / 40)


def test_too_few_tasks_or_no_meta_features_give_equal_weights() -> None:
    features, responses = tasks_along(6, seed=3)
    for relevance in (fit_relevance(features, responses), fit_relevance(None, responses)):
        np.testing.assert_allclose(np.exp(relevance.log_weights({"told": 1.0})), 1 / 6)
        assert relevance.distances({"told": 1.0}).tolist() == [0.0] * 6
    assert Relevance(np.empty((0, 0)), (), np.empty(0)).log_weights(None).shape == (0,)
    _, responses = tasks_along(20, seed=3)
    for same in (pd.DataFrame({"same": [1.0] * 20}), pd.DataFrame(index=range(20))):
        relevance = fit_relevance(same, responses)
        np.testing.assert_allclose(np.exp(relevance.log_weights({"same": 1.0})), 1 / 20)
