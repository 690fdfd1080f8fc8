"""Checkpoints of a training run: folders that are whole or absent, without a pickle.

Tensors are safetensors files; all else is in the facts of the manifest.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from rewards.ml.artefacts import JSON, ArtefactError, load_tensors, publish, sweep, verify

KEEP = 2  # the newest, and the one before it in case the newest is damaged


def save(
    folder: Path,
    number: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    facts: Mapping[str, JSON],
) -> None:
    """Write checkpoint `number` into `folder`, then drop the oldest ones.

    `tensors` maps the name of a file, without suffix, to what it holds.
    """

    def build(target: Path) -> None:
        for name, content in tensors.items():
            contiguous = {key: tensor.detach().contiguous() for key, tensor in content.items()}
            save_file(contiguous, target / f"{name}.safetensors")

    publish(build, folder / f"{number:06d}", facts)
    for old in _folders(folder)[KEEP:]:
        shutil.rmtree(old)


def newest(folder: Path) -> tuple[dict[str, dict[str, Tensor]], Mapping[str, Any]] | None:
    """Tensors and facts of the newest whole checkpoint in `folder`, or None.

    A damaged one is removed, since the run will write it anew.
    """
    if not folder.exists():
        return None
    sweep(folder, older_than_s=0)
    for candidate in _folders(folder):
        try:
            facts = verify(candidate).facts
            paths = sorted(candidate.glob("*.safetensors"))
            return {path.stem: load_tensors(path) for path in paths}, facts
        except ArtefactError:
            shutil.rmtree(candidate)
    return None


def optimizer_tensors(
    optimizer: Optimizer, parameters: Mapping[str, Parameter]
) -> dict[str, Tensor]:
    """State of an Adam optimizer, named by parameter: `<parameter>/exp_avg` and so on."""
    return {
        f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: Optimizer, parameters: Mapping[str, Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Undo `optimizer_tensors`. Raises ValueError for a tensor of an unknown parameter."""
    state: dict[Tensor, dict[str, Any]] = {}
    for path, tensor in tensors.items():
        name, key = path.rsplit("/", 1)
        if name not in parameters:
            raise ValueError(f"the checkpoint holds optimizer state of an unknown {name}")
        parameter = parameters[name]
        # Adam keeps its step counter on the CPU, its moments beside the parameter.
        place = torch.device("cpu") if key == "step" else parameter.device
        state.setdefault(parameter, {})[key] = tensor.to(place)
    optimizer.state.update(state)


def _folders(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), reverse=True)
