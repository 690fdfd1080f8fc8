"""Executes a run in this process, from the claim to the last write.

The work itself is `settings.RUN_KINDS[run.kind]`, a function `work(run, report) -> result`. It may
run again after a crash, so it must find what an earlier attempt left in `run.workdir` or published.
`report` stores progress and raises when the run is to end: the work lets the exception pass.
"""

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import OperationalError, connection
from django.utils.module_loading import import_string

from rewards.models import Run, RunLost, RunMetric

if TYPE_CHECKING:
    from rewards.ml.progress import OnProgress, Progress

logger = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5
HEARTBEAT_S = 5.0


class Cancelled(Exception):
    """Somebody asked for the run to be cancelled."""


class Stopped(Exception):
    """This process was asked to end."""


def execute(run: Run, on_progress: "OnProgress | None" = None) -> Run:
    """Claim the run and do its work here; returns it as it stands afterwards.

    A run that cannot be claimed, because it is finished, another worker's or behind another run of
    its project, is returned as it is. KeyboardInterrupt gives the run back and passes on.
    """
    if not run.claim(f"{socket.gethostname()}:{os.getpid()}"):
        run.refresh_from_db()
        return run
    attempt = _Attempt(run, on_progress)
    with attempt.stopped_by_sigterm():
        try:
            with attempt.heartbeat():
                result = attempt.work()
            run.finish(Run.State.DONE, result=result)
        except Cancelled:
            run.finish(Run.State.CANCELLED, reason="cancelled")
        except Stopped:
            run.give_back("its worker was stopped")
        except RunLost:
            logger.warning("%s went on elsewhere; what was done here is dropped", run)
        except KeyboardInterrupt:
            run.give_back("interrupted")
            raise
        except Exception as error:  # the top of a worker: whatever went wrong is kept with the run
            logger.exception("%s failed", run)
            run.finish(Run.State.FAILED, reason=f"{type(error).__name__}: {error}")
    run.refresh_from_db()
    return run


class _Attempt:
    """One worker's attempt at a run."""

    def __init__(self, run: Run, on_progress: "OnProgress | None") -> None:
        self.run = run
        self.on_progress = on_progress
        self.stop = threading.Event()  # set from outside: the work should end
        self.over = threading.Event()  # set from inside: the work has ended
        self.lost = False
        self.cancelled = False
        self.reported_at = -math.inf

    def work(self) -> Any:
        function: Callable[..., Any] = import_string(settings.RUN_KINDS[self.run.kind])
        self.run.workdir.mkdir(parents=True, exist_ok=True)
        result = function(self.run, self.report)
        return _finite(result)

    def report(self, progress: "Progress") -> None:
        """Store the progress. Raises Cancelled, Stopped or RunLost when the work is to end."""
        if self.lost:
            raise RunLost(f"{self.run} was given to another worker")
        if self.cancelled:
            raise Cancelled
        if self.stop.is_set():
            raise Stopped
        now = time.monotonic()
        at_end = progress.step >= progress.total
        if progress.metrics or at_end or now - self.reported_at >= PROGRESS_EVERY_S:
            self.reported_at = now
            self._store(progress)
        if self.on_progress:
            self.on_progress(progress)

    def _store(self, progress: "Progress") -> None:
        message = progress.message[:300]
        with self.run.fenced(step=progress.step, total=progress.total, message=message):
            if progress.metrics:
                # A resumed run repeats the steps after its checkpoint, and corrects their points.
                RunMetric.objects.update_or_create(
                    run=self.run,
                    step=progress.step,
                    defaults={"values": _finite(dict(progress.metrics))},
                )

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Renew the lease from a second thread, also while the work reports nothing."""
        thread = threading.Thread(target=self._beat, name=f"heartbeat of {self.run}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join()

    def _beat(self) -> None:
        pause_s = min(HEARTBEAT_S, settings.RUN_LEASE_S / 6)
        try:
            while not self.over.wait(pause_s):
                try:
                    self.lost = not self.run.beat()
                    asked = Run.objects.filter(pk=self.run.pk, cancel_requested=True)
                    self.cancelled = asked.exists()
                except OperationalError as error:  # the lease outlasts a short break
                    logger.warning("heartbeat of %s: %s", self.run, error)
                    connection.close()
        finally:
            connection.close()  # this thread's own

    @contextmanager
    def stopped_by_sigterm(self) -> Iterator[None]:
        """Turn SIGTERM into Stopped at the next report, where a checkpoint is whole."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(signum: int, frame: FrameType | None) -> None:
            self.stop.set()

        before = signal.signal(signal.SIGTERM, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _finite(value: Any) -> Any:
    """The value with None for every float that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
