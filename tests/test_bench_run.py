"""The runner: what is done stays done, whatever happens to processes, disks and clusters."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import benching
import pandas as pd
import psutil
import pytest

from metahpo.bench.engine import Engine
from metahpo.bench.plan import Budget, Entrant
from metahpo.bench.ring import Unit, play
from metahpo.bench.run import Silent
from metahpo.bench.runs import SCHEMA, UNIT, read_record, read_runs

TESTS = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
    "OMP_NUM_THREADS": "1",
}


def once_each(runs: pd.DataFrame, n_units: int, n_trials: int = 5) -> bool:
    """Whether every unit is there, with every trial once."""
    trials = runs.groupby(list(UNIT))["trial"].apply(list)
    return len(trials) == n_units and all(t == list(range(1, n_trials + 1)) for t in trials)


def without_times(runs: pd.DataFrame) -> pd.DataFrame:
    kept = runs.drop(columns=["suggest_seconds", "elapsed"]).fillna({"error": ""})
    return kept.sort_values([*UNIT, "trial"], ignore_index=True)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


# ---------------------------------------------------------------------- what is written


def test_every_trial_is_a_row(tmp_path: Path) -> None:
    runs = benching.play(tmp_path, benching.plan("random", "tpe_default"), benching.hills(2))
    assert tuple(runs.columns) == tuple(SCHEMA.names)
    assert once_each(runs, 2 * 2 * 2)
    for _, unit in runs.groupby(list(UNIT)):
        best = unit["score"].cummax().ffill()
        pd.testing.assert_series_equal(unit["best"], best, check_names=False)
        seconds = (unit["suggest_seconds"] + unit["evaluate_seconds"]).cumsum()
        assert unit["elapsed"].to_numpy() == pytest.approx(seconds.to_numpy())
        for row, incumbent in zip(unit.itertuples(), unit["best"], strict=True):
            known = unit[unit["score"] == incumbent]
            if len(known):  # the test score is that of the configuration that leads
                assert row.test_score == -json.loads(known["config"].iloc[0])["x"]
    failed = runs["score"].isna()
    assert (runs["status"][failed] == "failed").all()
    assert (runs["error"][failed] == "off the cliff").all()
    assert runs["error"][~failed].isna().all()


def test_the_first_trial_from_the_default_is_the_default(tmp_path: Path) -> None:
    runs = benching.play(tmp_path, benching.plan("tpe_default", "gp_default"), benching.hills(1))
    first = runs.loc[runs["trial"] == 1, "config"].map(json.loads)
    assert all(config == benching.SPACE.default for config in first)


def test_the_record_says_how(tmp_path: Path) -> None:
    benching.play(tmp_path, benching.plan("random", seeds=(0,)), benching.hills(1))
    benching.play(tmp_path, benching.plan("random", seeds=(4,)), benching.hills(1))
    record = read_record(tmp_path)
    assert record["seeds"] == [0, 4]
    assert record["plan"]["methods"] == [{"name": "random", "method": "random"}]
    assert [session["units"] for session in record["sessions"]] == [1, 1]
    for session in record["sessions"]:
        assert session["finished"] >= session["started"]
        assert session["machine"]["cores"] == os.cpu_count()
        assert session["versions"]["optuna"]
        assert session["command"] == "test"


def test_a_budget_in_seconds_counts_asking_and_evaluating(tmp_path: Path) -> None:
    plan = benching.plan("random", budget=Budget(seconds=0.055), seeds=(0,))
    runs = benching.play(tmp_path, plan, benching.hills(1))
    assert runs["elapsed"].iloc[-1] >= 0.055
    assert runs["elapsed"].iloc[-2] < 0.055


@pytest.mark.parametrize("jobs", [1, 2])
def test_seeds_decide_and_processes_do_not(jobs: int, tmp_path: Path) -> None:
    plan = benching.plan("random", "tpe_default", "cmaes")
    expected = pd.concat(
        play(Unit(contest, entrant, seed, plan.budget))
        for contest in benching.hills(2)
        for seed in plan.seeds
        for entrant in plan.entrants
    )
    runs = benching.play(tmp_path, plan, benching.hills(2), Engine(jobs))
    pd.testing.assert_frame_equal(without_times(runs), without_times(expected), check_dtype=False)
    assert runs.groupby("seed")["config"].apply(tuple).nunique() == 2


def test_a_method_that_breaks_loses_what_is_left(tmp_path: Path) -> None:
    plan = benching.plan("benching:Fragile", "random", seeds=(0,))
    runs = benching.play(tmp_path, plan, benching.hills(1))
    assert once_each(runs, 2)
    broken = runs[runs["method"] == "benching:Fragile"]
    assert list(broken["status"]) == ["ok", "ok", "ok", "crashed", "crashed"]
    assert set(broken["error"].iloc[3:]) == {"RuntimeError: three is too many"}
    assert (broken["best"] == broken["score"].iloc[0]).all()


def test_a_method_that_leaves_the_space_has_crashed(tmp_path: Path) -> None:
    wild = Entrant("wild", "benching:Stubborn", {"x": 7.0})
    runs = play(Unit(benching.hills(1)[0], wild, 0, Budget(trials=2)))
    assert list(runs["status"]) == ["crashed", "crashed"]
    assert "x" in runs["error"].iloc[0]
    assert runs["best"].isna().all()


# ---------------------------------------------------------------------- going on


def test_what_is_done_is_not_done_again(tmp_path: Path, log: Path) -> None:
    def evaluations() -> int:
        return len(list(log.iterdir()))

    hills = benching.hills(2, log=str(log))
    first = benching.play(tmp_path / "out", benching.plan("random"), hills)
    assert evaluations() == 2 * 2 * 5
    again = benching.play(tmp_path / "out", benching.plan("random"), hills)
    pd.testing.assert_frame_equal(again, first)
    assert evaluations() == 20
    # a method more, a seed more
    more = benching.plan("random", "tpe_default", seeds=(0, 1, 2))
    runs = benching.play(tmp_path / "out", more, hills)
    assert once_each(runs, 2 * 3 * 2)
    assert evaluations() == 20 + 2 * 5 + 2 * 3 * 5


def test_it_can_start_over(tmp_path: Path, log: Path) -> None:
    hills = benching.hills(1, log=str(log))
    benching.play(tmp_path / "out", benching.plan("random", "tpe_default"), hills)
    plan = benching.plan("random", budget=Budget(trials=3))
    runs = benching.play(tmp_path / "out", plan, hills, resume=False)
    assert once_each(runs, 2, n_trials=3)
    assert len(list(log.iterdir())) == 2 * 2 * 5 + 2 * 3
    assert len(read_record(tmp_path / "out")["sessions"]) == 1


def test_results_of_two_machines_are_merged(tmp_path: Path, log: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    hills = benching.hills(2, log=str(log))
    benching.play(here, benching.plan("random"), hills)
    benching.play(there, benching.plan("random", "tpe_default", seeds=(1, 2)), hills)
    done = len(list(log.iterdir()))
    both = benching.plan("random", "tpe_default", seeds=(0, 1, 2))
    runs = benching.play(here, both, hills, merge=(there,))
    assert once_each(runs, 2 * 2 * 3)
    assert len(list(log.iterdir())) == done + 2 * 5  # TPE with seed 0: nobody had it
    assert [s["units"] for s in read_record(here)["sessions"]] == [4, 8, 2]
    joined = read_runs([here, there])
    assert once_each(joined, 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": Budget(trials=6)}, "trials = 5, not 6; use another folder"),
        ({"n_folds": 4}, "n_folds = 3, not 4"),
        ({"max_rows": 99}, "max_rows = 1000, not 99"),
        ({"refit": True}, "refit = False, not True"),
        (
            {"entrants": (Entrant("random", "benching:Stubborn"),)},
            "'random' with other settings; give it another name",
        ),
    ],
)
def test_other_rules_belong_into_another_folder(
    change: dict, message: str, tmp_path: Path
) -> None:
    plan = benching.plan("random", seeds=(0,))
    benching.play(tmp_path, plan, benching.hills(1))
    with pytest.raises(ValueError, match=message) as caught:
        benching.play(tmp_path, replace(plan, **change), benching.hills(1))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    from metahpo.bench.store import Store

    plan = benching.plan()
    with (
        Store(tmp_path).opened(plan, "", 1, resume=True),
        pytest.raises(ValueError, match="another process is running a benchmark"),
        Store(tmp_path).opened(plan, "", 1, resume=True),
    ):
        pass


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    benching.play(tmp_path, benching.plan("random", seeds=(0,)), benching.hills(1))
    (shard,) = (tmp_path / "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(ValueError, match=f"{shard.name} is damaged .*delete it"):
        benching.play(tmp_path, benching.plan("random", seeds=(0,)), benching.hills(1))
    shard.unlink()
    assert once_each(
        benching.play(tmp_path, benching.plan("random", seeds=(0,)), benching.hills(1)), 1
    )


# ---------------------------------------------------------------------- faults


def start(out: Path, log: Path, *, jobs: int = 1, limit: int | None = None) -> subprocess.Popen:
    """Run 2 methods x 4 hills x 2 seeds in a process of its own."""
    code = f"""if True:
        import benching
        from pathlib import Path
        from metahpo.bench.engine import Engine
        plan = benching.plan("random", "tpe_default")
        hills = benching.hills(4, seconds=0.02, log={str(log)!r})
        try:
            benching.play(Path({str(out)!r}), plan, hills, Engine({jobs}))
        except OSError as error:
            raise SystemExit(str(error))
    """

    def shrink() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-c", code]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, preexec_fn=shrink
    )


def wait_for(folder: Path, n: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.parquet"))) < n:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_goes_on(jobs: int, tmp_path: Path, log: Path) -> None:
    out = tmp_path / "out"
    process = start(out, log, jobs=jobs)
    wait_for(out / "shards", 3)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    process.stderr.close()
    for worker in workers:  # else they end what they have begun, and write into the log
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    psutil.wait_procs(workers)
    kept = {path.name: path.read_bytes() for path in (out / "shards").glob("*.parquet")}
    assert 3 <= len(kept) < 16
    assert read_record(out)["sessions"][-1]["finished"] is None

    def redone() -> int:
        return len(list(log.iterdir()))

    before = redone()
    plan = benching.plan("random", "tpe_default")
    runs = benching.play(out, plan, benching.hills(4, log=str(log)))
    assert once_each(runs, 16)
    assert redone() - before == (16 - len(kept)) * 5
    assert all((out / "shards" / name).read_bytes() == old for name, old in kept.items())
    assert not list(out.rglob("*.unfinished"))


def test_a_worker_that_dies_takes_nothing_with_it(tmp_path: Path) -> None:
    deadly = Entrant("deadly", "benching:Deadly", {"mark": str(tmp_path / "mark")})
    plan = benching.plan("random")
    plan = replace(plan, entrants=(*plan.entrants, deadly))
    runs = benching.play(tmp_path / "out", plan, benching.hills(2), Engine(2))
    assert (tmp_path / "mark").exists()
    assert once_each(runs, 2 * 2 * 2)
    assert (runs["status"] != "crashed").all()


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, log: Path) -> None:
    out = tmp_path / "out"
    process = start(out, log)
    wait_for(out / "shards", 2)
    process.send_signal(signal.SIGINT)
    process.communicate()
    runs = read_runs([out])
    assert once_each(runs, len(list((out / "shards").glob("*.parquet"))))
    assert read_record(out)["sessions"][-1]["finished"]


@pytest.fixture(params=["a small disk", "a quota"])
def little_room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder with too little room for the shards, and a limit on the size of a file."""
    if request.param == "a quota":
        yield tmp_path / "out", 4096
        return
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    yield disk / "out", 2**40
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(little_room: tuple[Path, int], log: Path, tmp_path: Path) -> None:
    out, limit = little_room
    process = start(out, log, limit=limit)
    _, said = process.communicate()
    assert process.returncode == 1
    assert said.count("\n") == 1, said
    assert "cannot write" in said
    assert str(out) in said
    assert not list(out.rglob("*.unfinished"))
    whole = [pd.read_parquet(path) for path in (out / "shards").glob("*.parquet")]
    assert all(len(rows) == 5 for rows in whole)
    # with more room it goes on
    roomy = tmp_path / "roomy"
    subprocess.run(["cp", "-r", str(out), str(roomy)], check=True)
    plan = benching.plan("random", "tpe_default")
    assert once_each(benching.play(roomy, plan, benching.hills(4)), 16)


# ---------------------------------------------------------------------- a cluster


@pytest.fixture
def cluster(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A Dask scheduler and worker processes, two by default."""
    pytest.importorskip("distributed")
    quiet = {"env": ENVIRONMENT, "stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    python = [sys.executable, "-W", "ignore", "-m"]
    file = tmp_path / "scheduler.json"
    here = ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", *here, "--port=0", f"--scheduler-file={file}"],
        **quiet,
    )
    deadline = time.monotonic() + 60
    while not file.exists() or not file.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    address = json.loads(file.read_text())["address"]
    command = [*python, "distributed.cli.dask_worker", address, *here]
    command += ["--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path)]
    workers = [subprocess.Popen(command, **quiet) for _ in range(getattr(request, "param", 2))]
    yield address, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


class Assassin(Silent):
    """Kills a worker once a unit is through and the worker has done some of it or of others."""

    def __init__(self, workers: list[subprocess.Popen], log: Path) -> None:
        self.workers, self.log = workers, log
        self.victim: subprocess.Popen | None = None

    def unit(self, rows: pd.DataFrame) -> None:
        if self.victim is None:
            evaluated = {path.name.split("-")[1] for path in self.log.iterdir()}
            assert evaluated <= {str(worker.pid) for worker in self.workers}
            self.victim = next(w for w in self.workers if str(w.pid) in evaluated)
            self.victim.kill()


def test_a_cluster_loses_a_worker_and_no_result(
    cluster: tuple[str, list[subprocess.Popen]], tmp_path: Path, log: Path
) -> None:
    address, workers = cluster
    plan = benching.plan("random", "tpe_default", seeds=(0, 1, 2))
    assassin = Assassin(workers, log)
    runs = benching.play(
        tmp_path / "out",
        plan,
        benching.hills(4, seconds=0.05, log=str(log)),
        Engine(dask=address),
        assassin,
    )
    assert assassin.victim is not None
    assert assassin.victim.wait() == -signal.SIGKILL
    (other,) = [worker for worker in workers if worker is not assassin.victim]
    assert once_each(runs, 4 * 2 * 3)
    by_pid = pd.Series([path.name.split("-")[1] for path in log.iterdir()]).value_counts()
    assert by_pid[str(other.pid)] > by_pid[str(assassin.victim.pid)]
    alone = benching.play(tmp_path / "alone", plan, benching.hills(4))
    pd.testing.assert_frame_equal(without_times(runs), without_times(alone))


@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_a_cluster_of_one_does_the_work(
    cluster: tuple[str, list[subprocess.Popen]], tmp_path: Path, log: Path
) -> None:
    address, (worker,) = cluster
    contests = benching.hills(2, log=str(log))
    runs = benching.play(tmp_path / "out", benching.plan(), contests, Engine(dask=address))
    assert once_each(runs, 2 * 2)
    assert {path.name.split("-")[1] for path in log.iterdir()} == {str(worker.pid)}


def test_no_scheduler(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(OSError, match="there is no Dask scheduler at tcp://"):
        benching.play(
            tmp_path, benching.plan(), benching.hills(1), Engine(dask="tcp://127.0.0.1:1")
        )
