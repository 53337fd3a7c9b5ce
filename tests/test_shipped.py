"""The model that comes with Isthmus: small, whole, made for the parts that are pinned, and as good as its card says."""

from __future__ import annotations

import json
import re

import pytest
from safetensors import safe_open

import isthmus
from isthmus import parts
from isthmus.evaluate.run import ask_all
from isthmus.evaluate.scoring import table
from isthmus.parts import cache
from isthmus.train.recipe import load_recipe
from isthmus.train.setup import Run

FOLDER = isthmus.model_folder("default")
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
MOST = 30e6  # bytes


def test_it_is_small_and_whole() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST
    assert cache.altered(FOLDER) == []
    with safe_open(FOLDER / "trained.safetensors", "pt") as tensors:
        names = list(tensors.keys())
    assert all(name.startswith("connectors.") or ".lora_" in name for name in names), "trained weights only"


def test_its_parts_are_named_and_pinned() -> None:
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    recipe = load_recipe("default")
    assert {facts["name"] for facts in config["parts"].values()} == {recipe.model.llm, recipe.model.image.encoder}
    assert all(parts.fingerprint(facts["name"]) == facts["sha256"] for facts in config["parts"].values())


def test_it_never_learned_from_openmoji() -> None:
    recipe = load_recipe("default")
    for stage in recipe.stages:
        for name, mix in stage.data.items():
            assert name in ("emoji-captions", "emoji-scenes", "easy-vqa")
            assert mix.options.get("unseen", "openmoji") == "openmoji"
    assert "OpenMoji" in CARD


def test_its_card_says_what_it_learned_from_what_it_scores_and_what_it_cannot() -> None:
    titles = re.findall(r"^## (.*)$", CARD, re.MULTILINE)
    assert titles == ["What it learned from", "What it scores", "What it cannot do", "Licences"]
    assert "Photographs" in CARD


@pytest.mark.slow
def test_it_scores_as_its_card_says() -> None:
    """On a small sample of two benchmarks, the interval reaches the card's figure."""
    checks = load_recipe("default").evaluate
    few = {
        "unseen vendor": checks["unseen vendor"].model_copy(update={"count": 80, "swapped": 2}),
        "easy-vqa": checks["easy-vqa"].model_copy(update={"count": 100, "swapped": 2}),
    }
    answers, _ = ask_all(Run(*isthmus.load_with_processor("default")), few)
    for row in table(answers, overall=["easy-vqa"]):
        if row.benchmark == "easy-vqa" and row.kind != "all":  # too few pictures stand behind its kinds
            continue
        line = rf"^\| {row.benchmark} \| {row.kind}(?:, balanced)? \| [\d,]+ \| ([\d.]+)"
        (figure,) = re.findall(line, CARD, re.MULTILINE)
        assert row.high >= float(figure) / 100, row
