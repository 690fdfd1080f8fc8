"""Folders of results that are either whole or absent.

An artefact is a folder with a `manifest.json` that names every other file in it, its size and its
SHA-256. It is written under a temporary name, flushed to the disk and then renamed, so a reader
never meets half of one, whenever the writer is killed or the power fails.

    {"files": {"adapter_model.safetensors": {"bytes": 1234, "sha256": "…"}}, "facts": {…}}

`facts` is what the writer wants known of the artefact: versions, seed, the snapshot's hash.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # torch takes seconds to load, and hashes are also checked where it is not needed
    from torch import Tensor

JSON: TypeAlias = "str | int | float | bool | None | Sequence[JSON] | Mapping[str, JSON]"

MANIFEST = "manifest.json"
TEMPORARY_PREFIX = ".tmp-"
# Formats that may run code while they are read.
PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})


class ArtefactError(Exception):
    """An artefact is not what its manifest says, or holds what may not be loaded."""


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256, in hexadecimal, of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says: every file by its path inside the folder, and the facts."""

    files: Mapping[str, FileRecord]
    facts: Mapping[str, JSON]

    def digest(self) -> str:
        """SHA-256 of the table of files: the hash that names the artefact."""
        table = json.dumps(_file_table(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(table.encode()).hexdigest()


def publish(build: Callable[[Path], None], target: Path, facts: Mapping[str, JSON]) -> Manifest:
    """Let `build` fill an empty folder and make it the artefact `target`.

    When `build` raises, nothing remains. When the process is killed, `target` is absent or whole,
    and `sweep` removes what was left beside it.
    Raises FileExistsError when `target` exists, ArtefactError when `build` wrote a link, a pickle
    or a manifest of its own, ValueError when a fact is not finite.
    """
    if target.exists():
        raise FileExistsError(f"artefact {target} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{target.name}-", dir=target.parent))
    try:
        folder.chmod(0o755)  # mkdtemp keeps everyone else out, a shared artefact folder does not
        build(folder)
        manifest = Manifest(files=_records(folder), facts=dict(facts))
        if MANIFEST in manifest.files:
            raise ArtefactError(f"{MANIFEST} is written by publish, not by what it publishes")
        _write_manifest(folder / MANIFEST, manifest)
        for path in folder.rglob("*"):
            _flush(path)
        _flush(folder)
        folder.rename(target)
    except BaseException:  # also a cancelled run, which raises KeyboardInterrupt or SystemExit
        shutil.rmtree(folder)
        raise
    _flush(target.parent)
    return manifest


def record_of(path: Path) -> FileRecord:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(bytes=file.tell(), sha256=sha256)


def read_manifest(folder: Path) -> Manifest:
    """The manifest as written, the files unchecked. Raises ArtefactError when there is none."""
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileRecord(**record) for name, record in content["files"].items()}
        return Manifest(files=files, facts=content["facts"])
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is missing: the artefact is not complete") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path} is not a manifest: {error!r}") from error


def verify(folder: Path) -> Manifest:
    """Compare every file of an artefact with its manifest.

    Raises ArtefactError naming the first file that is missing, not listed, changed, a link or, by
    its name, a pickle.
    """
    manifest = read_manifest(folder)
    found = {name for name in _file_names(folder) if name != MANIFEST}
    for name in sorted(found ^ manifest.files.keys()):
        state = "not in the manifest" if name in found else "missing"
        raise ArtefactError(f"{folder / name} is {state}")
    for name, record in manifest.files.items():
        if record_of(folder / name) != record:
            raise ArtefactError(f"{folder / name} differs from the manifest")
    return manifest


def digest(folder: Path) -> str:
    """The hash that names an artefact; see Manifest.digest. The files are not checked."""
    return read_manifest(folder).digest()


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """Tensors of a safetensors file by name.

    Raises ArtefactError when the file is not one or a tensor holds NaN or an infinity, which
    safetensors itself lets pass.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise ArtefactError(f"{path} is not a safetensors file by its name")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ArtefactError(f"{path}: {name} holds NaN or an infinity")
    return tensors


def sweep(parent: Path, older_than_s: float) -> list[Path]:
    """Remove what killed writers left in `parent`; returns the folders removed.

    A folder in which anything changed in the last `older_than_s` may still be written and stays.
    """
    limit = time.time() - older_than_s
    removed = []
    for folder in sorted(parent.glob(f"{TEMPORARY_PREFIX}*")):
        with suppress(FileNotFoundError):  # it is being published, or swept by another
            # The time of the change itself: the other one may be copied with a file.
            newest = max(path.stat().st_ctime for path in (folder, *folder.rglob("*")))
            if newest < limit:
                shutil.rmtree(folder)
                removed.append(folder)
    return removed


def _file_names(folder: Path) -> list[str]:
    """Paths of all files inside, with forward slashes. Raises ArtefactError on links, pickles."""
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ArtefactError(f"{path} is a link")
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise ArtefactError(f"{path} may be a pickle, which could run code")
        if not path.is_dir():
            names.append(path.relative_to(folder).as_posix())
    return names


def _records(folder: Path) -> dict[str, FileRecord]:
    return {name: record_of(folder / name) for name in _file_names(folder)}


def _file_table(manifest: Manifest) -> dict[str, dict[str, int | str]]:
    return {name: asdict(record) for name, record in manifest.files.items()}


def _write_manifest(path: Path, manifest: Manifest) -> None:
    content = {"files": _file_table(manifest), "facts": manifest.facts}
    path.write_text(
        json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n",
        encoding="utf-8",
    )


def _flush(path: Path) -> None:
    """Wait until a file's or folder's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
