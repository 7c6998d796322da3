"""Collect past evaluations: learners on tasks, cross-validated, resumable, into a MetaDataset."""

from metahpo.collect.past_runs import Translation, import_runs
from metahpo.collect.plan import CollectionPlan, Settings, declared_plan, load_collection_file
from metahpo.collect.run import collect
from metahpo.collect.sources import collect_plan, openml_tasks
from metahpo.collect.tables import Task, UnusableTaskError

__all__ = [
    "CollectionPlan",
    "Settings",
    "Task",
    "Translation",
    "UnusableTaskError",
    "collect",
    "collect_plan",
    "declared_plan",
    "import_runs",
    "load_collection_file",
    "openml_tasks",
]
