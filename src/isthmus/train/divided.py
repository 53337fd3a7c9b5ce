"""Checkpoints of weights that are divided among processes, in torch's distributed format: each writes what it has.

They are read by any number of processes, and by one alone.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save


def write(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors; every process calls this with its own. Raises `OSError` where one of them cannot."""
    try:
        save(tensors, checkpoint_id=folder)
    except CheckpointException as error:
        raise OSError(str(error)) from error


def read(folder: Path, like: dict[str, Tensor], more: bool = False) -> dict[str, Tensor]:
    """Tensors by name, each in the shape, and divided as, the one that it is to be like; every process calls this.

    There may be `more` in it, which is left.

    Raises `ValueError` where the checkpoint holds others, and `OSError` where it cannot be read.
    """
    known = FileSystemReader(folder).read_metadata().state_dict_metadata
    shapes = {name: facts.size for name, facts in known.items() if isinstance(facts, TensorStorageMetadata)}
    if more:
        shapes = {name: shape for name, shape in shapes.items() if name in like}
    if shapes != {name: tensor.shape for name, tensor in like.items()}:
        raise ValueError("it was made for other trained parts")
    tensors = {name: torch.empty_like(tensor) for name, tensor in like.items()}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process alone reads it
            load(tensors, checkpoint_id=folder, no_dist=not distributed.is_initialized())
    except CheckpointException as error:
        raise OSError(str(error)) from error
    return tensors
