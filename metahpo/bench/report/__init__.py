"""What a person looks at of a benchmark: summary, pictures, page; all from the runs alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metahpo.bench.report.findings import Findings

__all__ = ["Findings", "write_report"]


def write_report(
    folders: Sequence[Path], out: Path | None = None, baseline: str | None = None
) -> Findings:
    """Write the report of a benchmark, or of several joined: nothing is run.

    Parameters
    ----------
    folders : sequence of Path
        Results folders; a unit that several hold is taken from the first.
    out : Path, optional
        The folder to write ``summary.md``, ``tasks.md``, ``report.html`` and the pictures to;
        by default the only one of `folders`.
    baseline : str, optional
        The method that the others are held against; by default the plan's, else "random" where
        it ran, else the first.

    Returns
    -------
    Findings

    Raises
    ------
    ValueError
        If a folder holds no results, if there is nothing that all methods ran, if the baseline
        did not run, or if `out` is missing where there are several folders.
    OSError
        Naming the file that cannot be written.
    """
    from metahpo.bench.report.anytime import draw_anytime
    from metahpo.bench.report.critical import draw_critical_difference
    from metahpo.bench.report.dots import draw_dots
    from metahpo.bench.report.findings import examine
    from metahpo.bench.report.page import write_benchmark_page
    from metahpo.bench.report.summary import summary, to_markdown
    from metahpo.bench.report.tables import sections_of, task_by_task
    from metahpo.bench.runs import read_record, read_runs
    from metahpo.files import replace_file

    if out is None and len(folders) > 1:
        raise ValueError("name a folder for the joined report: --out FOLDER")
    folder = out or folders[0]
    records = [read_record(one) for one in folders]
    runs = read_runs(folders)
    planned = records[0]["plan"].get("baseline")  # which may not have run yet
    if baseline is None and planned in set(runs["method"]):
        baseline = planned
    findings = examine(runs, baseline, records)
    title = " + ".join(dict.fromkeys(str(record["name"]) for record in records))
    folder.mkdir(parents=True, exist_ok=True)
    draw_anytime(findings.trials, findings.seconds, findings.test, folder / "curves")
    draw_critical_difference(
        findings.ranking, findings.trials.methods, folder / "critical_difference"
    )
    draw_dots(findings.by_learner, folder / "dots")
    sections, tasks = sections_of(findings), task_by_task(findings)
    texts = {
        "summary.md": summary(title, findings, sections, records),
        "tasks.md": f"# {title}, task by task\n\n{to_markdown(tasks)}\n",
    }
    for name, text in texts.items():
        with replace_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_benchmark_page(title, findings, sections, tasks, records, folder)
    return findings
