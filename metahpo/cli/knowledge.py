"""Whether a model of the user's own has any experience with the learner that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metahpo.catalogue import Learner
    from metahpo.metamodel import MetaModel
    from metahpo.space import Space


def check_known(learner: Learner, known: MetaModel, model: str) -> None:
    """Refuse a model of which no configuration, not even a part of one, is the learner's.

    Parameters
    ----------
    learner : Learner
    known : MetaModel
    model : str
        What the user called it.

    Raises
    ------
    ValueError
        Naming both.
    """
    if not any(config and holds(learner.space, config, partial=True) for config in known.pool):
        raise ValueError(
            f"the model {model} knows nothing of the learner {learner.name!r}; "
            "give the learner it was trained on with -l, or leave out --model"
        )


def holds(space: Space, config: Mapping[str, Any], *, partial: bool = False) -> bool:
    """Whether a configuration, or the part of it that is given, is one of a space."""
    try:
        space.validate(config, partial=partial)
    except ValueError:
        return False
    return True
