"""Method: what tells one learner from another, as data.

References
----------
MAML, FOMAML: Finn et al., ICML 2017. Meta-SGD: Li et al., 2017. ANIL: Raghu et al., ICLR 2020.
MAML++: Antoniou et al., ICLR 2019. Reptile: Nichol et al., 2018. iMAML: Rajeswaran et al., 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import get_args

from metahpo.engine import InnerRule, Outer, StepCount

HEAD = "head"  # stands in InnerRule.adapted for the names of the net's own last layer


@dataclass(frozen=True)
class Method:
    """What tells one learner from another.

    Parameters
    ----------
    rule : InnerRule
        Among the names that adapt, "head" stands for the net's last layer.
    steps : int or StepCount, default=1
        Inner steps in training: a number, or how it is learned.
    outer : {"query", "displacement"}, default="query"
        What the outer loop follows: the gradient of the query loss, or, without any, how far
        adaptation to support and query moves the parameters (Reptile).

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    rule: InnerRule = field(default_factory=InnerRule)
    steps: int | StepCount = 1
    outer: Outer = "query"

    def __post_init__(self) -> None:
        if self.maximum < 0:
            raise ValueError(f"steps is {self.steps}; it must not be negative")
        if self.outer not in get_args(Outer):
            raise ValueError(
                f"outer is {self.outer!r}; choose one of {', '.join(get_args(Outer))}"
            )

    @property
    def maximum(self) -> int:
        """Most inner steps in training."""
        return self.steps.maximum if isinstance(self.steps, StepCount) else self.steps


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "maml": Method(InnerRule(rate=0.01)),
        "fomaml": Method(InnerRule(rate=0.01, order="first")),
        "anil": Method(InnerRule(rate=0.01, adapted=(HEAD,))),
        "meta_sgd": Method(InnerRule(rate=0.01, rates="parameter", learned=True)),
        "maml++": Method(InnerRule(rate=0.01, rates="tensor_step", learned=True), steps=5),
        "reptile": Method(InnerRule(rate=0.02, order="first"), steps=8, outer="displacement"),
        "imaml": Method(InnerRule(rate=0.05, order="implicit", proximal=0.5), steps=16),
    }
)
