"""What may be meant where a model knows nothing of what a study tunes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metahpo.catalogue import Task, UnionLearner, learners

_NAMED = 3  # learners that a hint names
_JOINT = "__"  # between a step of a pipeline and its parameter


def hint(tuned: Sequence[str], known: Sequence[str], prefix: str, task: Task) -> str:
    """Say which prefix or learner may be meant, as the end of a message; "" where none may help.

    Parameters
    ----------
    tuned : sequence of str
        Parameters, none of which the model could use.
    known : sequence of str
        Those of the model, with `prefix` in front.
    prefix : str
        As given to :class:`metahpo.MetaSampler`.
    task : {"classification", "regression"}
    """
    if not known or set(tuned) & set(known):
        return ""  # no name is to blame
    if meant := prefix_hint(tuned, [name.removeprefix(prefix) for name in known]):
        return meant
    own = {name: name.rpartition(_JOINT)[2] for name in tuned}
    counts = {
        learner.name: len(set(own.values()) & set(learner.space.names))
        for learner in learners.values()
        if learner.task == task and not isinstance(learner, UnionLearner)
    }
    most = max(counts.values())
    if not most:
        return "; give the learner that is tuned as learner=..., or a model of it"
    names = [repr(name) for name, count in counts.items() if count == most]
    leads = {name.removesuffix(rest) for name, rest in own.items()}
    lead = f", prefix={leads.pop()!r}" if len(leads) == 1 and leads != {""} else ""
    return f"; did you mean the model of learner={' or '.join(names[:_NAMED])}{lead}?"


def prefix_hint(tuned: Sequence[str], bare: Sequence[str]) -> str:
    """Say which prefix may be meant, as the end of a message; "" where none helps.

    Parameters
    ----------
    tuned : sequence of str
        Parameters, none of which the model could use.
    bare : sequence of str
        Those of the model, without a prefix.
    """
    leads = (lead for name in tuned for lead, rest in _cuts(name) if rest in bare)
    return next((f"; did you mean prefix={lead!r}?" for lead in leads), "")


def _cuts(name: str) -> Iterable[tuple[str, str]]:
    """Yield the ways to part a name into a prefix and the rest."""
    parts = name.split(_JOINT)
    for i in range(len(parts)):
        lead = "".join(part + _JOINT for part in parts[:i])
        yield lead, name.removeprefix(lead)
