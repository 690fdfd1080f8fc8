"""What the environment may say, asked of a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CYCLE_WEEKDAY", "0"),
        ("CYCLE_WEEKDAY", "8"),
        ("CYCLE_HOUR", "24"),
        ("RUNS_AT_ONCE", "0"),
        ("RUN_LEASE_S", "soon"),
        ("DEBUG", "yes"),
    ],
)
def test_a_malformed_value_stops_the_start_and_names_itself(name: str, value: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "import prefloop.settings"],
        cwd=ROOT,
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert f"Unexpected value {name}={value}, use " in process.stderr
