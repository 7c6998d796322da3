"""The engine: learning how to learn from few examples, in two loops, on torch alone.

The inner loop adapts a batch of tasks to their support sets, all at once; the outer loop learns,
over many tasks, where it starts (theta), how fast it goes (rates) and how far (the step count).

Reading order: :mod:`.episodes` (a batch of tasks, and where they come from), :mod:`.rule`
(:class:`InnerRule`: what one step does), :mod:`.inner` (:func:`unroll`: the steps),
:mod:`.steps` (:class:`StepCount`: how many), :mod:`.objective` (:class:`Objective`: the outer
gradients, in the parts that :mod:`.portions` finds), :mod:`.outer` (:func:`train`: the loop that
follows them).

Nothing here knows of networks: parameters are a dict of tensors whose first dimension is the
task, a loss is a function from them to one number a task::

    start = spread(theta, rule, tasks=len(batch))               # (B, …) each
    *_, phi = unroll(start, support_loss, rule, log_rates, 5)   # after 0, 1, … 5 steps
    query_loss(phi)                                             # (B,)
"""

from metahpo.engine.episodes import Episodes, LabelledTasks, TaskSource, pad, task_mean
from metahpo.engine.inner import spread, unroll
from metahpo.engine.objective import Objective, Outer, part
from metahpo.engine.outer import Checkpoint, OuterOptions, Progress, Training, train
from metahpo.engine.rule import InnerRule, Loss, Params
from metahpo.engine.steps import StepCount

__all__ = [
    "Checkpoint",
    "Episodes",
    "InnerRule",
    "LabelledTasks",
    "Loss",
    "Objective",
    "Outer",
    "OuterOptions",
    "Params",
    "Progress",
    "StepCount",
    "TaskSource",
    "Training",
    "pad",
    "part",
    "spread",
    "task_mean",
    "train",
    "unroll",
]
