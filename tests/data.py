"""The folder of public rankings that some tests are held to; they skip where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_file(name: str) -> Path:
    """A file of the data folder: `PREFLOOP_DATA`, or `shared/data` beside the checkout."""
    folder = Path(os.environ.get("PREFLOOP_DATA", ROOT.parent / "shared" / "data"))
    path = folder / name
    if not path.exists():
        pytest.skip(f"{name} is not in {folder} (set PREFLOOP_DATA)")
    return path
