"""The README's examples run as they stand."""

import re
from pathlib import Path

import optuna
import pytest

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = [
    code
    for code in re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    if "import" in code  # the others go on from names that are the reader's own
]


@pytest.mark.parametrize(
    "code", EXAMPLES, ids=["MetaSearchCV", "MetaSampler", "MetaOptimizer", "MetaLearner"]
)
def test_an_example_runs(code: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names: dict[str, object] = {}
    exec(code, names)
    if "learner" in names:
        assert names["error"] < 0.1  # type: ignore[operator]
        return
    if "opt" in names:
        assert names["opt"].best[1] > 0.95  # type: ignore[attr-defined]
        assert names["model"].task_ids[-1] == "wine"  # type: ignore[attr-defined]
        return
    tuned = names.get("search") or names["study"]
    best = tuned.best_score_ if hasattr(tuned, "best_score_") else tuned.best_value
    assert best > 0.95
