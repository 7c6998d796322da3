"""The surrogate: features learned over all tasks, and exact beliefs about a new one.

Reading order: :mod:`.scores` (what is learned from a task's scores), :mod:`.features` (the
network over all tasks), :mod:`.tasks` (every task as a weight vector on those features),
:mod:`.relevance` (which of them a new task is like, from meta-features), :mod:`.hypotheses`,
:mod:`.null` and :mod:`.adaptation` (how a new one may deviate, and how its trials tell),
:mod:`.belief` (a study's trials conditioned on, and predictions), :mod:`.worth` (what a response
is worth: the unit of expected improvement), :mod:`.study` (all of it for one study) and
:mod:`.calibration` (where scores lie in what is foretold of them).
"""
