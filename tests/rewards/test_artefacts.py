"""Artefacts are whole or absent, and what was changed after writing is not loaded."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rewards.ml.artefacts import (
    MANIFEST,
    ArtefactError,
    digest,
    load_tensors,
    publish,
    read_manifest,
    sweep,
    verify,
)


def build(folder: Path) -> None:
    save_file({"weight": torch.arange(6.0)}, folder / "model.safetensors")
    (folder / "nested").mkdir()
    (folder / "nested" / "config.json").write_text('{"r": 4}')


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    publish(build, tmp_path / "v1", {"seed": 7})
    return tmp_path / "v1"


def test_a_published_artefact_verifies_and_keeps_its_facts(artefact: Path) -> None:
    manifest = verify(artefact)
    assert set(manifest.files) == {"model.safetensors", "nested/config.json"}
    assert manifest.facts == {"seed": 7}
    assert manifest == read_manifest(artefact)
    assert os.listdir(artefact.parent) == ["v1"]


def test_the_hash_depends_on_the_files_alone(artefact: Path, tmp_path: Path) -> None:
    publish(build, tmp_path / "v2", {"seed": 8})
    assert digest(tmp_path / "v2") == digest(artefact)

    def build_other(folder: Path) -> None:
        build(folder)
        (folder / "nested" / "config.json").write_text('{"r": 8}')

    publish(build_other, tmp_path / "v3", {"seed": 7})
    assert digest(tmp_path / "v3") != digest(artefact)


def test_an_artefact_is_never_replaced(artefact: Path) -> None:
    before = digest(artefact)
    with pytest.raises(FileExistsError):
        publish(lambda folder: None, artefact, {})
    assert digest(artefact) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_build_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        build(folder)
        raise error

    with pytest.raises(error):
        publish(fail, tmp_path / "v1", {})
    assert os.listdir(tmp_path) == []


def test_a_fact_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        publish(build, tmp_path / "v1", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_one_changed_byte_is_found(artefact: Path) -> None:
    path = artefact / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"model\.safetensors differs"):
        verify(artefact)


def test_a_missing_file_is_found(artefact: Path) -> None:
    (artefact / "nested" / "config.json").unlink()
    with pytest.raises(ArtefactError, match=r"config\.json is missing"):
        verify(artefact)


def test_an_extra_file_is_found(artefact: Path) -> None:
    (artefact / "nested" / "extra.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"extra\.json is not in the manifest"):
        verify(artefact)


def test_a_missing_manifest_is_found(artefact: Path) -> None:
    (artefact / MANIFEST).unlink()
    with pytest.raises(ArtefactError, match=r"manifest\.json is missing"):
        verify(artefact)


@pytest.mark.parametrize("content", ["", "[]", '{"files": {"a": {}}, "facts": {}}', '{"files": 1}'])
def test_a_broken_manifest_is_found(artefact: Path, content: str) -> None:
    (artefact / MANIFEST).write_text(content)
    with pytest.raises(ArtefactError, match="is not a manifest"):
        verify(artefact)


@pytest.mark.parametrize("name", ["weights.bin", "optimizer.pt", "x.PKL", "model.pth"])
def test_a_planted_pickle_is_refused_even_when_listed(artefact: Path, name: str) -> None:
    (artefact / "nested" / "config.json").rename(artefact / name)
    manifest = json.loads((artefact / MANIFEST).read_text())
    manifest["files"][name] = manifest["files"].pop("nested/config.json")
    (artefact / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="may be a pickle"):
        verify(artefact)


def test_a_pickle_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="may be a pickle"):
        publish(lambda folder: torch.save({}, folder / "a.pt"), tmp_path / "v1", {})
    assert os.listdir(tmp_path) == []


def test_a_link_is_refused(artefact: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    (artefact / "nested" / "config.json").rename(outside)
    (artefact / "nested" / "config.json").symlink_to(outside)
    with pytest.raises(ArtefactError, match="is a link"):
        verify(artefact)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_must_be_finite(tmp_path: Path, value: float) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"good": torch.ones(2), "bad": torch.tensor([1.0, value])}, path)
    with pytest.raises(ArtefactError, match="bad holds NaN"):
        load_tensors(path)


def test_tensors_come_back_equal_and_only_from_safetensors(artefact: Path, tmp_path: Path) -> None:
    tensors = load_tensors(artefact / "model.safetensors")
    assert tensors["weight"].equal(torch.arange(6.0))
    torch.save({"weight": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(ArtefactError, match="not a safetensors file"):
        load_tensors(tmp_path / "model.pt")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_tensors(tmp_path / "model.safetensors")


WRITER = """
import sys
from pathlib import Path
from rewards.ml.artefacts import publish

def build(folder):
    for n in range(20):
        (folder / f"{n}.txt").write_text(str(n) * 10000)
        print(n, flush=True)

for n in range(1000):
    publish(build, Path(sys.argv[1]) / str(n), {})
"""


def test_what_is_being_written_is_never_swept(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.DEVNULL
    ) as process:
        while len(os.listdir(tmp_path)) < 60:
            assert sweep(tmp_path, older_than_s=3600) == []
        assert process.poll() is None
        process.kill()


def test_a_copy_in_the_making_is_as_old_as_its_last_change(tmp_path: Path) -> None:
    """Not as old as the file that was copied, nor as the folder that it lay in."""
    copy = tmp_path / ".tmp-mine-1"
    copy.mkdir()
    (copy / "model.safetensors").touch()
    for path in (copy / "model.safetensors", copy):
        os.utime(path, (0, 0))
    assert sweep(tmp_path, older_than_s=3600) == []


@pytest.mark.parametrize("lines", [5, 19, 20, 45])
def test_a_killed_writer_leaves_only_whole_artefacts(tmp_path: Path, lines: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    for folder in tmp_path.glob("[0-9]*"):
        assert len(verify(folder).files) == 20
    assert sweep(tmp_path, older_than_s=3600) == []
    time.sleep(0.01)
    sweep(tmp_path, older_than_s=0)
    assert list(tmp_path.glob(".tmp-*")) == []
