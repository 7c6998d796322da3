"""Held-out families: the warm-started study, the cold one, and rates and steps by gradient.

The columns of what :func:`duel` returns:

============ ====================================================================================
column       meaning
============ ====================================================================================
family       one of the file's held-out families
method       "metahpo", "tpe", "gradient"
seed         of the tuner and of the trainings
trial        of a study, from 1; of "gradient", how many trials' passes its one run had
score        query loss on meta-validation tasks; NaN where training diverged
test_score   the same on meta-test tasks
best_test    test_score of the best score so far: what the tuner would hand over
seconds      CPU time of all meta-training so far
============ ====================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from metahpo.fewshot.experience import Families, plain
from metahpo.fewshot.ledger import Ledger, Record
from metahpo.fewshot.meta_features import describe_family
from metahpo.fewshot.study import cold_study, run_trial, warm_study
from metahpo.fewshot.taskfile import FewShotPlan
from metahpo.fewshot.tuning import Evaluation, conditions, evaluate, learned
from metahpo.metamodel import MetaModel

WARM, COLD, GRADIENT = "metahpo", "tpe", "gradient"
METHODS = (WARM, COLD, GRADIENT)
GRADIENT_TRIALS = (1, 2, 4, 8, 16, 32)
"""Budgets of the runs that learn rates and steps, in trials; those up to the study's are used."""


@dataclass(frozen=True)
class Bout:
    """A method on a family with a seed."""

    family: str
    method: str
    seed: int


def duel(
    families: Families,
    model: MetaModel,
    path: Path,
    *,
    seeds: int,
    trials: int,
    n_jobs: int = 1,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Run all methods on the held-out families; what is finished is kept in a file.

    Parameters
    ----------
    families : Families
    model : MetaModel
        Of the earlier families.
    path : Path
        JSON lines, one finished bout each; the same call goes on with the rest. Bouts on a family
        that was declared otherwise, and warm ones from another model, are run anew.
    seeds, trials : int
    n_jobs : int, default=1
        Processes.
    watch : callable, optional
        Called with how many bouts are done, of how many.
    """
    if not families.held_out:
        raise ValueError("the file declares no [held_out.NAME] family to tune")
    ledger = Ledger(path, {"trials": trials, "passes": families.passes})
    bouts = [Bout(*one) for one in product(families.held_out, METHODS, range(seeds))]
    digest = _digest(model)
    wanted = {bout: _piece(bout, families.held_out[bout.family], digest) for bout in bouts}
    known = ledger.find(wanted)
    left = [
        partial(_run, bout, piece, families.held_out[bout.family], model, families.passes, trials)
        for bout, piece in wanted.items()
        if bout not in known
    ]
    ledger.fill(left, total=len(bouts), n_jobs=n_jobs, watch=watch)
    known = ledger.find(wanted)
    frames = [pd.DataFrame(known[bout]["rows"]).assign(**asdict(bout)) for bout in bouts]
    rows = pd.concat(frames, ignore_index=True)
    return rows.astype({"score": float, "test_score": float, "best_test": float})


def _piece(bout: Bout, plan: FewShotPlan, digest: str) -> Record:
    """Return all that a bout's rows depend on: the other methods know nothing of the model."""
    model = digest if bout.method == WARM else None
    return {**asdict(bout), "declared": conditions(plan), "model": model}


def _digest(model: MetaModel) -> str:
    """Tell a model from others, by what is written of it: its header has all files' checksums."""
    with TemporaryDirectory() as folder:
        model.save(folder)
        return hashlib.sha256(Path(folder, "model.json").read_bytes()).hexdigest()[:16]


def _run(
    bout: Bout, piece: Record, plan: FewShotPlan, model: MetaModel, passes: int, trials: int
) -> Record:
    if bout.method == GRADIENT:
        rows = _gradient(plan, passes, trials, bout.seed)
    else:
        rows = _study(bout, plan, model, passes, trials)
    return {**piece, "rows": rows}


def _study(
    bout: Bout, plan: FewShotPlan, model: MetaModel, passes: int, trials: int
) -> list[Record]:
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if bout.method == WARM:
        study = warm_study(model, describe_family(plan), seed=bout.seed)
    else:
        study = cold_study(seed=bout.seed)
    rows: list[Record] = []
    seconds, best = 0.0, Evaluation(inf, nan, 0.0)
    for number in range(1, trials + 1):
        done = run_trial(study, plan, passes=passes, seed=bout.seed).evaluation
        best = done if done.score < best.score else best
        seconds += done.seconds
        rows.append(_row(number, done, best, seconds))
    return rows


def _gradient(plan: FewShotPlan, passes: int, trials: int, seed: int) -> list[Record]:
    """Learn rates and steps by gradient, in one run for every budget."""
    rows = []
    for number in (n for n in GRADIENT_TRIALS if n <= trials):
        done = evaluate(learned(plan, number * passes), seed)
        rows.append(_row(number, done, done, done.seconds))
    return rows


def _row(number: int, done: Evaluation, best: Evaluation, seconds: float) -> Record:
    row = {**plain(done), "trial": number, "best_test": plain(best)["test_score"]}
    return {**row, "seconds": seconds}
