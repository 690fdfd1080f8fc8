"""Kinds of runs that tests execute, in this process or in others."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from rewards.ml.progress import OnProgress, Progress
from rewards.models import Run


def _write(checkpoint: Path, step: int) -> None:
    """Whole or not at all: the process may be killed at this very moment."""
    new = checkpoint.with_suffix(".new")
    new.write_text(str(step))
    new.replace(checkpoint)


def count(run: Run, report: OnProgress) -> dict[str, Any]:
    """Count to `steps`, with a checkpoint after each step."""
    checkpoint = run.workdir / "checkpoint"
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    steps = run.params["steps"]
    for step in range(start + 1, steps + 1):
        _write(checkpoint, step)
        report(Progress(step, steps, f"step {step}", {"square": float(step**2)}))
    return {"started_from": start, "counted_to": steps}


def count_forever(run: Run, report: OnProgress) -> dict[str, Any]:
    """Count until stopped; a second attempt goes on from the checkpoint and ends at once."""
    checkpoint = run.workdir / "checkpoint"
    if checkpoint.exists():
        return {"started_from": int(checkpoint.read_text())}
    for step in range(1, 10_000):
        report(Progress(step, 10_000, "counting"))
        _write(checkpoint, step)
        time.sleep(0.02)
    raise TimeoutError("nobody stopped this run")


def die(run: Run, report: OnProgress) -> dict[str, Any]:
    """Die as a process does that the kernel kills for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def fail(run: Run, report: OnProgress) -> dict[str, Any]:
    report(Progress(1, 2, "so far, so good", {"loss": float("nan"), "reward": 0.5}))
    raise ValueError("the loss is not finite")
