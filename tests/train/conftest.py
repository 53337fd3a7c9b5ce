"""A tiny recipe on tiny random parts and a folder of captioned images; no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from isthmus.train.recipe import Recipe


@pytest.fixture(scope="session")
def tiny_parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders `llm` and `vision`; the LLM has dropout, so that a resumed run must restore what is random."""
    root = tmp_path_factory.mktemp("parts")
    llm, _ = tiny_run.parts(root, wide=True)
    config = json.loads((llm / "config.json").read_text())
    (llm / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.2}))
    return root


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve images with a caption beside each."""
    return tiny_run.pictures(tmp_path / "pictures")


@pytest.fixture
def facts(tiny_parts_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe of three stages as a dictionary; the cache is the test's own."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    image = {"encoder": "vit-s", "connector": "mlp", "part": str(tiny_parts_folder / "vision"), "size": 16, "tokens": 4}
    lora = {"image.connector": 1e-3, "llm": {"lora": 2, "lr": 1e-2}}
    data = {str(pictures): {"turns": 1}}
    common = {"data": data, "warmup": 2}
    return {
        "name": "tiny",
        "model": {"llm": str(tiny_parts_folder / "llm"), "image": image},
        "stages": [
            common | {"name": "warm", "objective": "contrast", "train": {"image.connector": 1e-2}, "steps": 3},
            common | {"name": "instruct", "train": lora, "steps": 12, "batch": 3},
            common | {"name": "again", "train": lora, "steps": 3, "batch": 2},
        ],
        "evaluate": {"held out": {"data": str(pictures), "split": "test"}},
    }


@pytest.fixture
def recipe(facts: dict[str, Any]) -> Recipe:
    """That recipe."""
    return Recipe.model_validate(facts)


@pytest.fixture
def written(facts: dict[str, Any], tmp_path: Path) -> Callable[[str, str], Path]:
    """The recipe as a YAML file, with one text in it replaced by another."""
    import yaml

    def write(old: str = "", new: str = "") -> Path:
        text = yaml.safe_dump(facts, sort_keys=False)
        assert old in text
        (path := tmp_path / "tiny.yaml").write_text(text.replace(old, new, 1) if old else text)
        return path

    return write
