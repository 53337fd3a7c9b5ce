"""The warm start: soft tokens come to lie on the words that name a picture, at the words' own scale."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
import tiny_run
import torch
from torch.nn import functional as F

from isthmus.errors import BadData
from isthmus.model import compose
from isthmus.train.features import features
from isthmus.train.objectives.contrast import Objective
from isthmus.train.setup import Run
from isthmus.types import Image, Sample, Turn

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    llm, vision = tiny_run.parts(tmp_path)
    return Run(
        *compose(str(llm), {"encoder": "vit-s", "connector": "mlp", "part": str(vision), "size": 16, "tokens": 4})
    )


def sample(colour: str) -> Sample:
    turns = (Turn("Is it dark?", "no", "yes/no"), Turn("What colour is it?", colour, "colour"))
    return Sample(colour, (Image(lambda: PIL.Image.new("RGB", (16, 16), colour)),), turns)


def test_pictures_pick_out_their_words(run: Run) -> None:
    samples = [sample(colour) for colour in COLOURS]
    seen = features(run, samples)
    objective = Objective(run.model, run.processor, samples, lambda count: seen[range(min(count, len(samples)))])
    connector = run.model.connectors["image"]
    optimizer = torch.optim.Adam(connector.parameters(), lr=1e-2)
    for _ in range(60):
        loss, tokens = objective(samples, seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    objective.finish()
    assert tokens == len(samples) * connector.num_tokens
    words = torch.stack([mean_embedding(run, colour) for colour in COLOURS])
    with torch.no_grad():
        soft = connector(seen.features("image")[0])
        near = (F.normalize(soft - words.mean(0), dim=-1) @ F.normalize(words - words.mean(0), dim=-1).T).amax(1)
    assert near.argmax(1).tolist() == list(range(len(COLOURS))), "the answer to yes/no is no word of the vocabulary"
    spread = (words - words.mean(0)).norm(dim=-1).mean()
    assert torch.allclose((soft - words.mean(0)).norm(dim=-1).mean(), spread, rtol=1e-4)


def mean_embedding(run: Run, word: str) -> torch.Tensor:
    """What stands for a word of several tokens."""
    ids = run.processor.template.plain(f" {word}")
    return run.model.get_input_embeddings().weight.detach()[ids].mean(0)


def test_a_picture_that_nothing_names_has_no_loss(run: Run) -> None:
    named = sample("red")
    unnamed = Sample("dark", named.media, named.turns[:1])
    seen = features(run, [named, unnamed])
    objective = Objective(run.model, run.processor, [named, sample("green"), unnamed], lambda count: seen)
    both, alone = objective([named, unnamed], seen)[0], objective([named], seen[[0]])[0]
    assert alone.item() > 0
    assert torch.allclose(both, alone / 2)
    with pytest.raises(BadData, match="contrast: no sample has a turn of the kinds name"):
        Objective(run.model, run.processor, [unnamed], lambda count: seen)
