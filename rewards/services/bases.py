"""Base models: a folder below the artefact folder, which every worker sees, or a hub id."""

import os
import re
import shutil
from pathlib import Path

from django.conf import settings

from annotate.models import Project
from rewards.ml.artefacts import (
    MANIFEST,
    PICKLE_SUFFIXES,
    publish,
    read_manifest,
    record_of,
    verify,
)

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class NoSuchBase(Exception):
    """The base cannot be taken; the message says why."""


def adopt_base(project: Project, base: str) -> str:
    """The name under which the base is stored: its path below the artefact folder, or its hub id.

    `base` may be such a name, or any other folder, of which a copy without pickles is kept; the
    same content again is the same copy. Of a hub id the configuration is fetched, or found in the
    cache, to see that there is such a model.
    Raises NoSuchBase for what is neither a folder that holds a model nor a hub id, and for a folder
    of the same name as another base; ArtefactError for a copy that is not as it was published.
    """
    place = Path(settings.ARTEFACT_ROOT) / base  # which an absolute path replaces
    if not place.is_dir():
        place = Path(base)
    if place.is_dir():
        return _below_artefacts(place, project)
    if not HUB_ID.fullmatch(base):
        raise NoSuchBase(f"{base} is neither a folder nor the id of a model on a hub")
    _look_up(base)
    return base


def _look_up(hub_id: str) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        hf_hub_download(hub_id, "config.json")
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        raise NoSuchBase(f"{hub_id} is no folder, and no model of the hub: {error}") from error


def known_bases(project: Project) -> list[str]:
    """The bases of the project's reward models, the last one first, and its folders of bases."""
    root = Path(settings.ARTEFACT_ROOT)
    folders = sorted((root / "projects" / project.slug / "bases").glob("[!.]*/config.json"))
    used = list(project.reward_models.values_list("base", flat=True))
    found = [path.parent.relative_to(root).as_posix() for path in folders]
    return list(dict.fromkeys([*used, *found]))


def _below_artefacts(place: Path, project: Project) -> str:
    root = Path(settings.ARTEFACT_ROOT).resolve()
    place = place.resolve()
    if not (place / "config.json").is_file():
        raise NoSuchBase(f"{place} holds no model: it has no config.json")
    if not place.is_relative_to(root):
        name = f"projects/{project.slug}/bases/{place.name}"
        _copy(place, name)
        place = root / name
    verify(place)
    return place.relative_to(root).as_posix()


def _copy(place: Path, name: str) -> None:
    """Copy a model's folder, unless it is there. Raises NoSuchBase where something else is."""
    target = Path(settings.ARTEFACT_ROOT) / name
    files = _model_files(place)

    def copy(folder: Path) -> None:
        for inside, path in files.items():
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / inside)

    if not target.exists():
        publish(copy, target, {"copied_from": place.name})
    elif read_manifest(target).files != {inside: record_of(path) for inside, path in files.items()}:
        raise NoSuchBase(
            f"{place} differs from the base {name}, which came from a folder of that name before; "
            "use that one, or give the folder another name"
        )


def _model_files(place: Path) -> dict[str, Path]:
    """The files of a model by their path inside its folder; links, as a hub's cache has, are files.

    Left out are pickles, and the manifest of a folder that was an artefact elsewhere.
    """
    files = {}
    for folder, _, names in os.walk(place, followlinks=True):
        for path in (Path(folder, name) for name in names):
            inside = path.relative_to(place).as_posix()
            if path.suffix.lower() not in PICKLE_SUFFIXES and inside != MANIFEST:
                files[inside] = path
    return files
