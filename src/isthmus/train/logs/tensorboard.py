"""`tensorboard`: event files in the run's folder, for `tensorboard --logdir`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus.errors import BadRecipe

ABOUT = "event files in the run's folder: pip install tensorboard"


class Log:
    """A writer for each stage; a run that goes on has each step once."""

    def __init__(self, run: Path, recipe: Any) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise BadRecipe("log: tensorboard is not installed: pip install tensorboard") from error
        self.run, self._make, self.writer = run, SummaryWriter, None

    def begin(self, stage: str, step: int) -> None:
        """Events of an earlier sitting after `step` are marked as not there."""
        self.close()
        make: Any = self._make
        self.writer = make(str(self.run / "tensorboard" / stage), purge_step=step + 1)

    def step(self, number: int, **values: float) -> None:
        """One point on each value's curve."""
        writer: Any = self.writer
        for name, value in values.items():
            writer.add_scalar(name, value, number)

    def close(self) -> None:
        """Nothing more comes."""
        if self.writer is not None:
            self.writer.close()
