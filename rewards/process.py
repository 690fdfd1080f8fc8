"""The process that a run lives in, seen from its parent, the worker, and from inside.

A run trains for hours, may be killed for want of memory, and must not load torch into the worker.
So it is a process of its own, in a session of its own, that ends when its parent does.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from django.conf import settings

from rewards.models import Run

SLOT_FILE = "training-slot-{}.lock"
LOG_LIMIT_BYTES = 1 << 20
PR_SET_PDEATHSIG = 1  # linux/prctl.h
# The kernel should end a training process rather than the database (man 5 proc, oom_score_adj).
OOM_SCORE = "500"


@contextmanager
def training_slot() -> Iterator[IO[str] | None]:
    """A place to train one more run on this machine, held inside the block; None if all are taken.

    The worker keeps a process free beside its slots, so that a long training never keeps the
    sweeps of the schedule waiting. The lock goes with the process that holds it.
    """
    for number in range(settings.RUNS_AT_ONCE):
        with (settings.PREFLOOP_HOME / SLOT_FILE.format(number)).open("a+") as slot:
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield slot
            return
    yield None


def supervise(run: Run, slot: IO[str]) -> None:
    """Execute the run in a child process, wait for its end, and notice when it died.

    While it lives the slot says which worker, by the process above this one, has which child.
    """
    run.workdir.mkdir(parents=True, exist_ok=True)
    log = run.workdir / "log.txt"
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "run", str(run.pk)]
    with log.open("ab") as output:
        child = subprocess.Popen(
            [*command, "--parent", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        slot.truncate(0)
        slot.write(f"{os.getppid()} {child.pid}")
        slot.flush()
        code = _wait(child, log)
    finally:
        child.terminate()  # does nothing to a child that has ended
        slot.truncate(0)
    run.refresh_from_db()
    if run.state == Run.State.RUNNING and run.worker.endswith(f":{child.pid}"):
        run.give_up(_death(code))


def stop_trainings(worker_pid: int) -> None:
    """Ask the trainings of this worker to give their runs back."""
    for path in settings.PREFLOOP_HOME.glob(SLOT_FILE.format("*")):
        worker, _, child = path.read_text().partition(" ")
        if worker == str(worker_pid):
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGTERM)


def _wait(child: subprocess.Popen[bytes], log: Path) -> int:
    while True:
        try:
            return child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            _shorten(log)


def _shorten(log: Path) -> None:
    """Keep the second half of a log that has grown too long. The child appends, so it may go on."""
    if log.stat().st_size > LOG_LIMIT_BYTES:
        tail = log.read_bytes()[-LOG_LIMIT_BYTES // 2 :]
        os.truncate(log, 0)
        with log.open("ab") as file:
            file.write(tail)


def _death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed, probably out of memory"
    if code < 0:
        return f"its process died of {signal.Signals(-code).name}"
    return f"its process ended with exit status {code}"


def follow_parent(parent_pid: int) -> None:
    """Ask the kernel to send SIGTERM to this process when its parent dies; called by the child.

    Linux only: elsewhere a child whose parent was killed works on to its end. A parent that died
    before the request is noticed by its pid.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        with suppress(OSError):  # a container may keep /proc read-only
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    if os.getppid() != parent_pid:
        sys.exit("the worker that started this process is gone")
