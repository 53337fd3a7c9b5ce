"""What `trackio` and `wandb` have in common: the same calls."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from isthmus.errors import BadRecipe


class Tracker:
    """One run of a project called after the recipe; values are named by their stage, and counted by all steps."""

    module = ""

    def __init__(self, run: Path, recipe: Any) -> None:
        try:
            tracker: Any = importlib.import_module(self.module)
        except ImportError as error:
            raise BadRecipe(f"log: {self.module} is not installed: pip install {self.module}") from error
        self.own = tracker.init(project=recipe.name, name=run.name, config=recipe.model_dump(), resume="allow")
        self.tracker, self.stage = tracker, ""

    def begin(self, stage: str, step: int) -> None:
        """Steps that an earlier sitting logged and did not keep are logged again."""
        self.stage = stage

    def step(self, number: int, **values: float) -> None:
        """One point on each value's curve."""
        facts: dict[str, Any] = {f"{self.stage}/{name}": value for name, value in values.items()}
        self.tracker.log(facts | {f"{self.stage}/step": number})

    def close(self) -> None:
        """Nothing more comes."""
        self.tracker.finish()
