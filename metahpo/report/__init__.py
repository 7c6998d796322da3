"""What a person looks at after tuning: a page, and the code of the best configuration."""

from metahpo.report.code import pipeline_code
from metahpo.report.files import as_params, write_best, write_trials
from metahpo.report.page import write_page
from metahpo.report.result import Tried, TuningResult

__all__ = [
    "Tried",
    "TuningResult",
    "as_params",
    "pipeline_code",
    "write_best",
    "write_page",
    "write_trials",
]
