"""The checkpoint of a stage that is under way: trained tensors, the optimizer's moments, the step.

It is written to a temporary folder with a manifest and renamed, so a kill or a full disk leaves the one before intact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from isthmus.errors import BadCheckpoint, IsthmusError
from isthmus.parts import cache

if TYPE_CHECKING:
    from isthmus.train.loop import Progressed

MOMENTS = ("exp_avg", "exp_avg_sq")


def save(folder: Path, trained: Sequence[Tensor], optimizer: torch.optim.Optimizer, done: Progressed) -> None:
    """Write the checkpoint; raises `IsthmusError` when the disk is full, with the one before untouched."""
    tensors = {f"weight.{i}": weight.detach().contiguous() for i, weight in enumerate(trained)}
    steps = {}
    for i, weight in enumerate(trained):
        moments = optimizer.state.get(weight, {})
        tensors |= {f"{name}.{i}": moments[name] for name in MOMENTS if name in moments}
        steps[str(i)] = float(moments["step"]) if "step" in moments else 0.0
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with cache.scratch(folder.with_name(f".{folder.name}.new")) as new:
            save_file(tensors, new / "state.safetensors")
            (new / "state.json").write_text(json.dumps({"progress": asdict(done), "optimizer_steps": steps}))
            cache.write_manifest(new, {})
            cache.publish(new, folder)
    except (OSError, SafetensorError) as error:
        raise IsthmusError(f"cannot write the checkpoint {folder}: {error}. What was there before is intact.") from error


def restore(folder: Path, trained: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> Progressed:
    """Put a checkpoint back; where there is none, the stage starts at step 0.

    Raises `BadCheckpoint` when it is incomplete or altered, or belongs to other trained parts.
    """
    from isthmus.train.loop import Progressed

    if not (folder / cache.MANIFEST).exists():
        return Progressed()
    try:
        manifest = json.loads((folder / cache.MANIFEST).read_text())["files"]
        if any(cache.sha256(folder / name) != facts["sha256"] for name, facts in manifest.items()):
            raise BadCheckpoint(f"{folder}: a file differs from its manifest. Delete the folder to start the stage anew")
        tensors, facts = load_file(folder / "state.safetensors"), json.loads((folder / "state.json").read_text())
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BadCheckpoint(f"{folder}: incomplete ({error}). Delete the folder to start the stage anew") from error
    kept = {name: tensor.shape for name, tensor in tensors.items() if name.startswith("weight.")}
    if kept != {f"weight.{i}": weight.shape for i, weight in enumerate(trained)}:
        raise BadCheckpoint(f"{folder}: made for other trained parts. Did the recipe change? Delete the folder to start anew")
    with torch.no_grad():
        for i, weight in enumerate(trained):
            weight.copy_(tensors[f"weight.{i}"])
            if f"exp_avg.{i}" in tensors:
                moments = {name: tensors[f"{name}.{i}"] for name in MOMENTS}
                optimizer.state[weight] = {"step": torch.tensor(facts["optimizer_steps"][str(i)]), **moments}
    return Progressed(**facts["progress"])
