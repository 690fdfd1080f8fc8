"""Which code computed a figure."""

import hashlib
from functools import cache
from pathlib import Path


@cache
def code_version() -> str:
    """The first 40 digits of a SHA-256 over this package's source files.

    Unlike the name of a release or a commit it tells any change of the code from none.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:40]
