"""A pipeline as the program that a person would write to build it."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from metahpo.catalogue.labels import LabelEncodedClassifier
from metahpo.source import bracketed, literal

Imports = defaultdict[str, set[str]]  # module -> names


def pipeline_code(
    pipeline: Any, data: Sequence[str], *, metric: str, n_folds: int, seed: int, task: str
) -> str:
    """Write a program that builds a pipeline, scores it as the search did, and fits it.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted or not.
    data : sequence of str
        Lines that define ``X`` and ``y``, what they import first.
    metric : str
        Name of a scikit-learn scorer.
    n_folds, seed : int
        Of the shuffled cross-validation.
    task : {"classification", "regression"}

    Returns
    -------
    str
        Python source that runs as it stands.
    """
    folds = "StratifiedKFold" if task == "classification" else "KFold"
    imports: Imports = defaultdict(set)
    imports["sklearn.model_selection"] |= {folds, "cross_val_score"}
    imports["sklearn.pipeline"].add("make_pipeline")
    steps = list(_flat(pipeline))
    encoded = isinstance(steps[-1], LabelEncodedClassifier)
    if encoded:
        steps[-1] = steps[-1].estimator
        imports["sklearn.preprocessing"].add("LabelEncoder")
    written = [_expression(step, imports, 1) for step in steps]
    lines = [
        *(line for line in data if line.startswith("import ")),
        *(f"from {m} import {', '.join(sorted(names))}" for m, names in sorted(imports.items())),
        "",
        *(line for line in data if not line.startswith("import ")),
        *(["y = LabelEncoder().fit_transform(y)  # it takes the labels 0, 1, …"] * encoded),
        "",
        f"pipeline = {bracketed('make_pipeline(', written, ')')}",
        "",
        f"cv = {folds}({n_folds}, shuffle=True, random_state={seed})",
        f"scores = cross_val_score(pipeline, X, y, cv=cv, scoring={literal(metric)})",
        f'print(f"{metric} {{scores.mean():.6f}} ± {{scores.std():.6f}}")',
        "",
        "pipeline.fit(X, y)",
    ]
    return "\n".join(lines) + "\n"


def _flat(pipeline: Any) -> Iterator[Any]:
    """Yield the steps of a pipeline, and of the pipelines among them."""
    for _, step in pipeline.steps:
        if hasattr(step, "steps"):
            yield from _flat(step)
        else:
            yield step


def _expression(value: Any, imports: Imports, depth: int, name: str = "") -> str:
    """Write an estimator, a function or a value, and note what has to be imported for it.

    With a name, it is written as a keyword argument.
    """
    keyword = f"{name}=" if name else ""
    if inspect.isroutine(value):
        imports[_public_module(value)].add(value.__name__)
        return f"{keyword}{value.__name__}"
    if not hasattr(value, "get_params"):
        return f"{keyword}{literal(value, depth)}"
    cls = type(value)
    imports[_public_module(cls)].add(cls.__name__)
    defaults = cls().get_params(deep=False)
    arguments = [
        _expression(argument, imports, depth + 1, name)
        for name, argument in value.get_params(deep=False).items()
        if name not in defaults or repr(argument) != repr(defaults[name])
    ]
    return bracketed(f"{keyword}{cls.__name__}(", arguments, ")", depth)


def _public_module(thing: Any) -> str:
    """Return the shortest module that a class or function is imported from: ``sklearn.svm``."""
    parts = str(thing.__module__).split(".")
    for n in range(1, len(parts)):
        module = ".".join(parts[:n])
        if getattr(import_module(module), thing.__name__, None) is thing:
            return module
    return ".".join(parts)
