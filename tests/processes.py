"""Processes that tests start: real ones, on the test's database, data directory and settings."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.process_settings import RUN_KINDS

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60
LEASE_S = 3
WORKER = ("-m", "celery", "--app", "prefloop", "worker", "-c", "1", "--without-mingle")

Start = Callable[..., subprocess.Popen[bytes]]


def share(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes started from now on use what this one uses."""
    settings.RUN_KINDS = RUN_KINDS
    settings.RUN_LEASE_S = LEASE_S
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "process_settings")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    monkeypatch.setenv("RUN_LEASE_S", str(LEASE_S))
    monkeypatch.setenv("ARTEFACT_ROOT", str(settings.ARTEFACT_ROOT))
    monkeypatch.setenv("DATABASE_URL", _database_url())


def _database_url() -> str:
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    login = f"{database['USER']}:{database['PASSWORD']}"
    return f"postgresql://{login}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


@contextmanager
def starting() -> Iterator[Start]:
    """Start Python processes, which are gone at the end of the block."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen([sys.executable, *arguments], cwd=ROOT))
        return processes[-1]

    try:
        yield start
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for(
    condition: Callable[[], Any],
    what: str,
    *,
    every_s: float = 0.05,
    patience_s: float = PATIENCE_S,
) -> None:
    limit = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < limit, f"waited in vain for: {what}"
        time.sleep(every_s)
