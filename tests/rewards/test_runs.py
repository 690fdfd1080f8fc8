"""Runs: a row first, one owner at a time, and nothing lost when processes die."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from annotate.models import AuditEvent, Project
from prefloop.celery import app as celery_app
from rewards import tasks
from rewards.ml.artefacts import publish
from rewards.models import Run, RunLost, RunMetric
from rewards.runner import execute
from rewards.services.runs import cancel_run, request_run, retry_run
from tests.processes import PATIENCE_S, WORKER, Start, share, starting, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def shared(settings: Any, monkeypatch: pytest.MonkeyPatch, django_db_setup: None) -> None:
    share(settings, monkeypatch)


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as start:
        yield start


def start_worker(run: Run) -> tuple[str, ...]:
    """Arguments of a process that does with a run what a Celery worker does."""
    code = "import django; django.setup(); from rewards.tasks import ring; ring({})"
    return "-c", code.format(run.pk)


def is_running(run: Run) -> bool:
    """Whether a worker has claimed the run and come far enough to leave a checkpoint."""
    run.refresh_from_db()
    return run.state == Run.State.RUNNING and (run.workdir / "checkpoint").exists()


def trainer_pid(run: Run) -> int:
    return int(run.worker.rpartition(":")[2])


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists()


# One owner


def test_one_of_many_claims_wins(project: Project) -> None:
    run = request_run(project, "count", {"steps": 1})
    barrier = threading.Barrier(8)
    won: list[bool] = []

    def claim(name: str) -> None:
        barrier.wait()
        won.append(Run.objects.get(pk=run.pk).claim(name))
        connection.close()

    threads = [threading.Thread(target=claim, args=(f"worker {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    run.refresh_from_db()
    assert (run.state, run.attempt) == (Run.State.RUNNING, 1)


def test_one_run_at_a_time_in_a_project(project: Project) -> None:
    first = request_run(project, "count", {"steps": 1})
    second = request_run(project, "count", {"steps": 1})
    elsewhere = request_run(Project.objects.create(slug="trees"), "count", {"steps": 1})
    assert first.claim("a")
    assert not second.claim("b")
    assert elsewhere.claim("c")
    assert execute(second).state == Run.State.QUEUED
    first.finish(Run.State.DONE)
    assert execute(second).state == Run.State.DONE


def test_a_worker_given_up_for_lost_changes_nothing(project: Project) -> None:
    run = request_run(project, "count", {"steps": 1})
    run.claim("slow")
    slow = Run.objects.get(pk=run.pk)
    Run.objects.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    tasks.sweep_runs()
    assert Run.objects.get(pk=run.pk).claim("quick")

    assert not slow.beat(step=7)
    assert not slow.finish(Run.State.DONE, result={"stale": True})
    assert not slow.give_up("died")
    with pytest.raises(RunLost), slow.fenced():
        project.delete()
    run.refresh_from_db()
    assert (run.worker, run.attempt, run.step, run.result) == ("quick", 2, 0, None)
    assert run.state == Run.State.RUNNING


def test_the_sweep_removes_what_killed_processes_left_half_written(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.ARTEFACT_ROOT = tmp_path
    kinds = [tmp_path / "projects" / name for name in ("climate/bases", "birds/snapshots")]
    for kind in kinds:
        publish(lambda folder: (folder / "whole.txt").touch(), kind / "whole", {})
        (kind / ".tmp-half-x1y2").mkdir()
    tasks.sweep_runs()
    assert all(len(list(kind.iterdir())) == 2 for kind in kinds), "they may still be written"
    monkeypatch.setattr(tasks, "ABANDONED_S", -1)
    tasks.sweep_runs()
    assert [[path.name for path in kind.iterdir()] for kind in kinds] == [["whole"], ["whole"]]


def test_a_worker_that_is_heard_of_in_time_keeps_its_run(project: Project) -> None:
    run = request_run(project, "count", {"steps": 1})
    run.claim("slow")
    Run.objects.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    overdue = Run.objects.overdue().get()
    run.beat()  # between the sweep's look and its deed
    assert not overdue.give_up("not heard of", overdue=True)
    assert Run.objects.get(pk=run.pk).state == Run.State.RUNNING


def test_asking_twice_with_one_key_gives_one_run(project: Project) -> None:
    first = request_run(project, "count", {"steps": 1}, key="week-1")
    assert request_run(project, "count", {"steps": 1}, key="week-1") == first
    assert Run.objects.count() == 1


def test_a_broker_that_is_down_is_harmless(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    code = """import django; django.setup()
from annotate.models import Project
from rewards.services.runs import request_run
request_run(Project.objects.create(slug="birds"), "count", {})"""
    assert start("-c", code).wait(PATIENCE_S) == 0
    assert Run.objects.get().state == Run.State.QUEUED


# Executing


def test_a_run_stores_progress_curve_and_result(project: Project) -> None:
    seen: list[int] = []
    run = request_run(project, "count", {"steps": 3})
    execute(run, lambda progress: seen.append(progress.step))
    assert (run.state, run.result) == (Run.State.DONE, {"started_from": 0, "counted_to": 3})
    assert (run.step, run.total, run.message) == (3, 3, "step 3")
    points = RunMetric.objects.filter(run=run).order_by("step").values_list("step", "values")
    assert list(points) == [(1, {"square": 1.0}), (2, {"square": 4.0}), (3, {"square": 9.0})]
    assert seen == [1, 2, 3]
    assert execute(run).attempt == 1, "a finished run is not executed again"


def test_a_run_that_fails_keeps_its_reason(project: Project, caplog: Any) -> None:
    run = execute(request_run(project, "fail", {}))
    assert (run.state, run.reason) == (
        Run.State.FAILED,
        "ValueError: the loss is not finite",
    )
    assert run.metrics.get().values == {"loss": None, "reward": 0.5}
    with pytest.raises(CommandError, match="cannot start"):
        call_command("run", run.pk)
    assert retry_run(run)
    with pytest.raises(CommandError, match="the loss is not finite"):
        call_command("run", run.pk)


def test_a_long_silence_keeps_the_lease(project: Project, settings: Any) -> None:
    settings.RUN_LEASE_S = 1
    run = request_run(project, "count", {"steps": 1})

    def sleep(progress: object) -> None:
        time.sleep(2)
        tasks.sweep_runs()

    assert execute(run, sleep).state == Run.State.DONE
    assert run.attempt == 1


def test_cancelling(project: Project) -> None:
    waiting = request_run(project, "count", {"steps": 1})
    assert cancel_run(waiting)
    assert waiting.state == Run.State.CANCELLED
    assert not cancel_run(waiting)

    running = request_run(project, "count_forever", {})
    execute(running, lambda progress: progress.step == 2 and cancel_run(running))
    assert (running.state, running.reason) == (Run.State.CANCELLED, "cancelled")
    assert AuditEvent.objects.filter(verb="cancel run").count() == 2

    assert retry_run(running)
    assert execute(running).result["started_from"] > 0, "the checkpoint was kept"


# Processes that die


def test_a_stopped_trainer_gives_the_run_back(project: Project, start: Start) -> None:
    run = request_run(project, "count_forever", {})
    trainer = start("manage.py", "run", str(run.pk))
    wait_for(lambda: is_running(run), "the run to begin")
    trainer.send_signal(signal.SIGTERM)
    assert trainer.wait(PATIENCE_S) == 0
    run.refresh_from_db()
    assert (run.state, run.losses) == (Run.State.QUEUED, 0)
    assert run.reason == "its worker was stopped"
    assert execute(run).result["started_from"] > 0


def test_a_killed_trainer_is_noticed_by_its_worker(project: Project, start: Start) -> None:
    run = request_run(project, "count_forever", {})
    worker = start(*start_worker(run))
    wait_for(lambda: is_running(run), "the run to begin")
    os.kill(trainer_pid(run), signal.SIGKILL)
    assert worker.wait(PATIENCE_S) == 0
    run.refresh_from_db()
    assert (run.state, run.losses) == (Run.State.QUEUED, 1)
    assert run.reason == "killed, probably out of memory"
    assert execute(run).state == Run.State.DONE
    assert run.attempt == 2


def test_a_run_that_always_dies_fails_after_three_attempts(project: Project) -> None:
    run = request_run(project, "die", {})
    following = request_run(project, "count", {"steps": 1})
    for _ in range(3):
        tasks.ring(run.pk)
    run.refresh_from_db()
    assert (run.state, run.attempt) == (Run.State.FAILED, 3)
    assert run.reason == "killed, probably out of memory; given up after 3 attempts"
    tasks.ring(run.pk)
    assert Run.objects.get(pk=run.pk).attempt == 3
    assert execute(following).state == Run.State.DONE


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_killed_worker_takes_its_trainer_along(project: Project, start: Start) -> None:
    run = request_run(project, "count_forever", {})
    worker = start(*start_worker(run))
    wait_for(lambda: is_running(run), "the run to begin")
    worker.kill()
    wait_for(lambda: not is_alive(trainer_pid(run)) or not run.worker, "the trainer to end")
    wait_for(
        lambda: Run.objects.filter(pk=run.pk, state=Run.State.QUEUED).exists(),
        "the trainer to give the run back",
    )


def test_the_sweep_finds_what_died_unseen(project: Project, start: Start) -> None:
    run = request_run(project, "count_forever", {})
    trainer = start("manage.py", "run", str(run.pk))
    wait_for(lambda: is_running(run), "the run to begin")
    trainer.kill()
    tasks.sweep_runs()
    assert Run.objects.get(pk=run.pk).state == Run.State.RUNNING, "its lease has not run out"
    wait_for(lambda: Run.objects.overdue().exists(), "the lease to run out")
    tasks.sweep_runs()
    run.refresh_from_db()
    assert (run.state, run.losses) == (Run.State.QUEUED, 1)
    assert "has not been heard of for 3 s" in run.reason
    assert execute(run).result["started_from"] > 0


def test_a_trainer_whose_worker_is_gone_does_not_begin(project: Project, start: Start) -> None:
    run = request_run(project, "count", {"steps": 1})
    orphan = start("manage.py", "run", str(run.pk), "--parent", "1")
    assert orphan.wait(PATIENCE_S) == 1
    assert Run.objects.get(pk=run.pk).attempt == 0


# Celery


def test_a_celery_worker_executes_what_was_asked_for(project: Project, start: Start) -> None:
    first = request_run(project, "count", {"steps": 2})
    second = request_run(project, "count", {"steps": 3})
    worker = start(*WORKER)
    wait_for(
        lambda: Run.objects.filter(state=Run.State.DONE).count() == 2,
        "both runs to be done, the second after the first",
    )
    assert (first.workdir / "log.txt").read_text().strip() == f"count run {first.pk}: done"
    assert Run.objects.get(pk=second.pk).attempt == 1
    worker.terminate()
    assert worker.wait(PATIENCE_S) == 0


def test_a_worker_that_is_stopped_gives_its_run_back(project: Project, start: Start) -> None:
    run = request_run(project, "count_forever", {})
    worker = start(*WORKER)
    wait_for(lambda: is_running(run), "the run to begin")
    worker.terminate()
    assert worker.wait(PATIENCE_S) == 0
    run.refresh_from_db()
    assert (run.state, run.losses) == (Run.State.QUEUED, 0)
    assert execute(run).result["started_from"] > 0


def test_a_full_machine_starts_no_further_trainer(project: Project, settings: Any) -> None:
    from rewards.process import training_slot

    run = request_run(project, "count", {"steps": 1})
    with training_slot() as slot:
        assert slot
        tasks.ring(run.pk)
        assert Run.objects.get(pk=run.pk).state == Run.State.QUEUED
        settings.RUNS_AT_ONCE = 2
        tasks.ring(run.pk)
        assert Run.objects.get(pk=run.pk).state == Run.State.DONE


def test_a_long_log_keeps_its_end(tmp_path: Path) -> None:
    from rewards.process import LOG_LIMIT_BYTES, _shorten

    log = tmp_path / "log.txt"
    log.write_bytes(b"x" * LOG_LIMIT_BYTES + b"the end")
    _shorten(log)
    assert log.stat().st_size == LOG_LIMIT_BYTES // 2
    assert log.read_bytes().endswith(b"the end")


def test_everything_in_the_schedule_is_a_task() -> None:
    celery_app.loader.import_default_modules()
    names = {entry["task"] for entry in django_settings.CELERY_BEAT_SCHEDULE.values()}
    assert names <= set(celery_app.tasks)
