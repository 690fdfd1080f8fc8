"""Files that people upload, from the preview to the import: in a private folder, for a day at most.

Each upload is a folder of its own with a random name, which holds the file under a fixed name and
what is known of it. Nothing in a path comes from the person's machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

KEPT_S = 24 * 3600
NAME = re.compile(r"[A-Za-z0-9_-]{22}")
MAX_SHOWN_NAME = 200


class TooLarge(ValueError):
    """The file has more bytes than an import takes."""


@dataclass(frozen=True)
class Upload:
    """One file that a person brought to a project. `name` is what it was called, to be shown."""

    token: str
    project_id: int
    user_id: int
    name: str
    digest: str
    n_bytes: int

    @property
    def folder(self) -> Path:
        return _root() / self.token

    @property
    def path(self) -> Path:
        return self.folder / "file"

    def note(self, facts: Any) -> None:
        """Keep what is to be shown of it, in place of what was kept before."""
        written = self.folder / f"facts-{secrets.token_hex(4)}"
        written.write_text(json.dumps(facts), encoding="utf-8")
        written.replace(self.folder / "facts.json")

    def facts(self) -> Any:
        return json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))

    def take(self) -> bool:
        """Claim the file for the import; False when somebody was quicker (a double click)."""
        try:
            self.path.rename(self.folder / "taken")
        except FileNotFoundError:
            return False
        return True

    @property
    def taken(self) -> Path:
        return self.folder / "taken"

    def put_back(self) -> None:
        self.taken.rename(self.path)

    def remove_file(self) -> None:
        """The file goes; what is shown of it stays until the day is over."""
        self.taken.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def keep(
    pieces: Iterable[bytes], name: str, *, project_id: int, user_id: int, most_bytes: int
) -> Upload:
    """Store an uploaded file. Raises TooLarge, and then keeps nothing."""
    token = secrets.token_urlsafe(16)
    folder = _root() / token
    folder.mkdir(mode=0o700)
    digest, n_bytes = hashlib.sha256(), 0
    try:
        with (folder / "file").open("xb") as file:
            for piece in pieces:
                n_bytes += len(piece)
                if n_bytes > most_bytes:
                    raise TooLarge
                digest.update(piece)
                file.write(piece)
        about = {
            "project_id": project_id,
            "user_id": user_id,
            "name": name[:MAX_SHOWN_NAME],
            "digest": digest.hexdigest(),
            "n_bytes": n_bytes,
        }
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Upload(token=token, **about)  # type: ignore[arg-type]


def find(token: str, *, project_id: int, user_id: int) -> Upload | None:
    """The person's upload of that name in the project; None where there is none any more."""
    if not NAME.fullmatch(token):
        return None
    try:
        about = json.loads((_root() / token / "about.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    upload = Upload(token=token, **about)
    return upload if (upload.project_id, upload.user_id) == (project_id, user_id) else None


def sweep() -> int:
    """Remove uploads older than a day; returns how many."""
    old = [
        folder
        for folder in _root().iterdir()
        if NAME.fullmatch(folder.name) and folder.stat().st_mtime < time.time() - KEPT_S
    ]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    return len(old)


def _root() -> Path:
    root = Path(settings.PREFLOOP_HOME) / "uploads"
    root.mkdir(mode=0o700, exist_ok=True)
    return root
