"""A whole run, from a recipe to answers, on media of every kind: tiny random parts, real files made here."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import soundfile
import tiny_media
import tiny_run
import torch
from rich.console import Console
from tiny_encoders import TINY

from isthmus.chat import Chat
from isthmus.data.seen import Seen
from isthmus.errors import BadMedia, BadRecipe, Interrupted
from isthmus.evaluate.run import ask_all
from isthmus.model import IsthmusModel, load
from isthmus.model.checkpoint import trained_tensors
from isthmus.train import check, features, run, setup
from isthmus.train.mixture import Mixture, read_data
from isthmus.train.objectives.next_token import Objective
from isthmus.train.recipe import Mix, Recipe, load_recipe
from isthmus.types import KINDS, Sample, Series, Turn

QUIET = Console(quiet=True)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recipe]:
    """A recipe for these kinds of media."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))

    def make(*kinds: str, connector: str = "mlp") -> Recipe:
        return Recipe.model_validate(tiny_media.facts(tmp_path, *kinds, connector=connector))

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_from_media_of_every_kind(kind: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """Its loss on what it saw is lower than with another one's medium; what is saved says the same."""
    plan = recipe(kind)
    trained = run.train(plan, tmp_path / "run", console=QUIET)
    samples, _ = read_data(plan)[1]
    own, swapped = losses(trained, samples)
    assert own < 0.5 * swapped
    answers, _ = ask_all(trained, plan.evaluate)
    assert {answer.kind for answer in answers} == {"name"}
    assert all(answer.swapped is not None for answer in answers)
    model, processor = load(tmp_path / "run/model")
    chat = Chat(model, processor)
    chat.show(samples[0].media[0])
    said = Chat(trained.model, trained.processor)
    said.show(samples[0].media[0])
    assert chat.ask("What is this?") == said.ask("What is this?")


def losses(trained: setup.Run, samples: list[Sample]) -> tuple[float, float]:
    """The loss on samples with their own media, and with those of one that is called something else."""
    trained.model.eval()
    seen = features.features(trained, samples)
    goal = Objective(trained.model, trained.processor, samples, lambda count: seen)
    other = [
        next(j for j, one in enumerate(samples) if one.turns != s.turns and one.media[0].kind == s.media[0].kind)
        for s in samples
    ]
    with torch.no_grad():
        return goal(samples, seen)[0].item(), goal(samples, seen[other])[0].item()


@pytest.mark.parametrize("connector", ["mlp", "resampler", "gated-cross-attention", "visual-expert"])
def test_kinds_are_mixed_in_one_batch(connector: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """Sounds, pictures and series in one run, stopped and resumed: the same weights as in one go."""
    plan = recipe("image", "audio", "series", connector=connector)
    whole = run.train(plan, tmp_path / "whole", console=QUIET)
    own, swapped = losses(whole, read_data(plan)[-1][0])
    assert own < swapped
    again = run.train(plan, tmp_path / "whole", resume=True, console=QUIET)
    expected = trained_tensors(whole.model)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in trained_tensors(again.model).items())


def test_a_sample_has_several_media_of_several_kinds_or_none(recipe: Callable[..., Recipe]) -> None:
    """In one batch their losses are those that each has alone."""
    plan = recipe("image", "audio")
    alone = setup.composed(plan)
    sounds, pictures = [
        [sample.media[0] for sample in read_data(plan)[1][0] if sample.media[0].kind == kind]
        for kind in ("audio", "image")
    ]
    turns = (Turn("What is this?", "red"), Turn("is it blue ?", "a dog"))
    media = [(), (sounds[0],), (pictures[0], sounds[1], pictures[1]), (sounds[2], pictures[2]), (pictures[1],)]
    samples = [Sample(str(number), own, turns[: 1 + number % 2]) for number, own in enumerate(media)]
    seen = features.features(alone, samples)
    goal = Objective(alone.model, alone.processor, samples, lambda count: seen)
    with torch.no_grad():
        together, _ = goal(samples, seen)
        each = [goal([sample], seen[[place]])[0] for place, sample in enumerate(samples)]
    tokens = torch.tensor(
        [sum(len(alone.processor.template.answer(turn.answer)) for turn in sample.turns) for sample in samples]
    )
    torch.testing.assert_close(together, (torch.stack(each) * tokens).sum() / tokens.sum())
    fresh = features.encode(alone, samples)
    assert [seen.slots(place) for place in range(5)] == [fresh.slots(place) for place in range(5)]
    torch.testing.assert_close(goal(samples, fresh)[0].detach(), together, atol=2e-3, rtol=2e-3)  # kept as float16


@pytest.mark.parametrize(
    "options", [{"tiles": 2}, {"encoder": ["vit", "vit"], "join": "channel"}], ids=["tiles", "two"]
)
def test_it_learns_from_tiles_and_by_several_encoders(
    options: dict[str, Any], recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    facts = recipe("image").model_dump(exclude_none=True)
    for file in (tmp_path / "media").glob("*.png"):
        PIL.Image.open(file).resize((16 + 30 * (int(file.stem) % 2), 16)).save(file)  # some have tiles, some have not
    facts["model"]["image"] |= options
    plan = load_recipe(written(facts, tmp_path / "plan.yaml"))
    samples, _ = read_data(plan)[1]
    check.check(plan, QUIET)
    trained = run.train(plan, tmp_path / "run", console=QUIET)
    own, swapped = losses(trained, samples)
    assert own < 0.7 * swapped
    pieces = {len(pieces) for media in features.features(trained, samples).rows for pieces in media}
    assert pieces == ({1, 3} if "tiles" in options else {1})


def test_samples_can_be_chosen_and_joined() -> None:
    rows = torch.arange(6.0).view(3, 1, 2)
    one = Seen({"image": rows}, {}, [[[("image", 0, 4)]], [], [[("image", 2, 4)], [("image", 1, 4)]]])
    two = Seen({"audio": rows + 9}, {"audio": torch.tensor([3, 1, 2])}, [[[("audio", 1, 5)]]])
    both = Seen.joined([one, two, one[[2]]])
    assert [both.slots(place) for place in range(5)] == [*map(one.slots, range(3)), two.slots(0), one.slots(2)]
    assert both[[3, 2]].features("image")[0].flatten().tolist() == [4, 5, 2, 3]
    assert both[[4, 3]].inputs()["valid"]["audio"].tolist() == [1]
    assert both[[4]].features("image")[0].flatten().tolist() == [4, 5, 2, 3]
    assert both[[1]].inputs() == {"features": {}}
    assert both.places("image") == ([0, 2, 1, 5, 4], [0, 2, 2, 4, 4])


def test_a_digest_follows_media_that_are_not_kept(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    plan = recipe("audio")
    samples, mixes = read_data(plan)[1]
    before = Mixture(samples, mixes).digest
    assert Mixture(samples, mixes).digest == before
    file = Path(str(samples[0].media[0].source))
    soundfile.write(file, tiny_media.tone(3, np.random.default_rng(5)), 16_000)
    assert Mixture(samples, mixes).digest != before


def test_media_that_the_model_does_not_take_stop_the_run_at_once(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    plan = recipe("audio")
    picture = tiny_run.pictures(tmp_path / "pictures")
    stages = [stage.model_copy(update={"data": {str(picture): Mix()}}) for stage in plan.stages]
    with pytest.raises(BadRecipe, match=r"warm: sample .* holds image, and the model takes audio"):
        run.train(plan.model_copy(update={"stages": stages}), tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run/model").exists()


@pytest.mark.parametrize("kind", ["points", "series"])
def test_an_encoder_is_trained_from_nothing(
    kind: str, recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    facts = recipe(kind).model_dump()
    facts["model"][kind] |= {"part": "new", "channels": 3, "size": 32}
    untrained = written(facts, tmp_path / "untrained.yaml")
    with pytest.raises(BadRecipe, match=rf"no stage trains it\. Add {kind}\.encoder"):
        load_recipe(untrained)
    facts["stages"][0]["train"][f"{kind}.encoder"] = 1e-3
    plan = Recipe.model_validate(facts)
    check.check(plan, QUIET)
    trained = run.train(plan, tmp_path / "run", console=QUIET)
    fresh = setup.composed(plan).model.encoders[kind].state_dict()
    own = trained.model.encoders[kind].state_dict()
    assert any(not torch.equal(own[name], fresh[name]) for name in own)
    model, _ = load(tmp_path / "run/model")
    assert all(torch.equal(own[name], tensor) for name, tensor in model.encoders[kind].state_dict().items())


def test_an_encoder_that_does_not_learn_stays_in_evaluation(recipe: Callable[..., Recipe]) -> None:
    plan = recipe("image", "series")
    made = setup.composed(plan)
    samples, _ = read_data(plan)[0]
    made.model.requires_grad_(False)
    made.model.encoders["image"].requires_grad_(True)
    made.model.train()
    features.encode(made, samples[:2], learns=True)
    assert (made.model.encoders["image"].training, made.model.encoders["series"].training) == (True, False)


def normed(model: Any) -> bool:
    """Whether there are batch norms in it, as in the PatchTST of a hub."""
    return any(isinstance(module, torch.nn.modules.batchnorm._NormBase) for module in model.modules())


def test_batch_statistics_are_resumed_and_saved(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that trains an encoder with batch norms, stopped twice, is the one that was not stopped, bit for bit."""
    facts = recipe("series").model_dump()
    for stage in facts["stages"]:
        stage |= {"train": stage["train"] | {"series.encoder": 1e-3}, "steps": 6}
    plan = Recipe.model_validate(facts)
    whole = run.train(plan, tmp_path / "whole", console=QUIET)
    assert normed(whole.model.encoders["series"])
    for after in (3, 6, 5):  # in the first stage, in the second, and there again
        call, count = Seen.features, iter(range(10_000))

        def pressed(self: Any, kind: str, call: Any = call, count: Any = count, after: int = after) -> Any:
            if next(count) == after:
                os.kill(os.getpid(), signal.SIGINT)
            return call(self, kind)

        with monkeypatch.context() as patch:
            patch.setattr(Seen, "features", pressed)
            with pytest.raises(Interrupted):
                run.train(plan, tmp_path / "cut", resume=True, console=QUIET)
    cut = run.train(plan, tmp_path / "cut", resume=True, console=QUIET)
    expected = whole.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in cut.model.state_dict().items())
    for folder in ("whole", "cut"):
        model, _ = load(tmp_path / folder / "model")
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("how", ["frozen", "adapter"])
def test_batch_statistics_of_a_part_that_does_not_learn_stay(
    how: str, recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside an encoder that learns, and under an adapter; what is saved is what was trained."""
    facts = recipe("image", "series").model_dump()
    learns = {"image.encoder": 1e-3} if how == "frozen" else {"series.encoder": {"lora": 2, "lr": 1e-2}}
    facts["stages"][0] |= {"train": facts["stages"][0]["train"] | learns, "steps": 4}
    facts["stages"] = facts["stages"][:1]
    plan = Recipe.model_validate(facts)
    before = dict(setup.composed(plan).model.encoders["series"].named_buffers())
    trained = run.train(plan, tmp_path / "run", console=QUIET)
    after = dict(trained.model.encoders["series"].named_buffers())
    assert normed(trained.model.encoders["series"])
    assert all(torch.equal(after[name], buffer) for name, buffer in before.items())
    model, _ = load(tmp_path / "run/model", merge=False)
    expected = trained.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_only_what_learns_is_encoded_in_every_step(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = recipe("image", "audio", "points").model_dump()
    for stage in facts["stages"]:
        stage["steps"] = 6
    facts["stages"][0]["train"]["points.encoder"] = 1e-3
    plan = Recipe.model_validate(facts)
    encoded: Counter[str] = Counter()
    encode = IsthmusModel.encode

    def counted(self: Any, kind: str, media: Any, *more: Any) -> Any:
        encoded[kind] += len(media)
        return encode(self, kind, media, *more)

    monkeypatch.setattr(IsthmusModel, "encode", counted)
    check.check(plan, QUIET)
    encoded.clear()
    run.train(plan, tmp_path / "run", console=QUIET)
    samples, _ = read_data(plan)[0]
    there = Counter(sample.media[0].kind for sample in samples)
    assert encoded["image"] <= there["image"]  # some of them are there since the check
    assert encoded["audio"] <= there["audio"]
    assert encoded["points"] > 2 * there["points"]


def test_kept_features_and_new_ones_are_in_reading_order(recipe: Callable[..., Recipe]) -> None:
    """Of samples with media of kinds that are kept and of one that is not, or of one sort only."""
    facts = recipe("image", "audio", "points").model_dump()
    facts["stages"][0]["train"]["points.encoder"] = 1e-3
    plan = Recipe.model_validate(facts)
    stage, made = plan.stages[0], setup.composed(plan)
    each: dict[str, list[Any]] = {}
    for sample in read_data(plan)[0][0]:
        each.setdefault(sample.media[0].kind, []).append(sample.media[0])
    image, audio, points = (each[kind] for kind in ("image", "audio", "points"))
    media = [(image[0], points[0], image[1], points[1]), (points[2],), (), (audio[0], points[0]), (audio[1], image[2])]
    samples = [Sample(str(number), own, (Turn("What?", "red"),)) for number, own in enumerate(media)]
    mixture = features.mixed(stage=stage, run=made, samples=samples, mixes=[Mix()] * 5)
    assert mixture.features is not None
    assert set(mixture.features.store) == {"image", "audio"}
    assert mixture.digest != features.mixed(made, stage, samples[::-1], [Mix()] * 5).digest
    goal = Objective(made.model, made.processor, samples, mixture.some)
    for places in ([0, 1, 2, 3, 4], [3, 0], [1], [4, 2]):
        picked, seen = mixture.batch(places, random.Random(0))
        wanted = features.encode(made, picked)
        assert [seen.slots(place) for place in range(len(places))] == [wanted.slots(p) for p in range(len(places))]
        torch.testing.assert_close(goal(picked, seen)[0], goal(picked, wanted)[0], atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(mixture.some(5).features("points"), features.encode(made, samples).features("points"))


def pretrained(facts: dict[str, Any]) -> Recipe:
    """The recipe with an encoder of points that begins with nothing, and learns alone first."""
    facts["model"]["points"] |= {"part": "new", "channels": 3, "size": 32}
    first = facts["stages"][0]
    alone = {"name": "alone", "objective": "masked", "train": {"points.encoder": 5e-3}, "steps": 40, "batch": 12}
    return Recipe.model_validate(facts | {"stages": [first | alone, first | {"steps": 4}]})


def test_an_encoder_learns_alone_first(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `masked`: no features are made for it, it resumes bit for bit, and the next stage has what it learned."""
    small(monkeypatch)
    plan = pretrained(recipe("points").model_dump())
    console = Console(file=io.StringIO(), width=200)
    check.check(plan, console)
    assert "media a step; no text goes through the LLM" in console.file.getvalue()  # type: ignore[attr-defined]
    fresh = {name: tensor.clone() for name, tensor in setup.composed(plan).model.state_dict().items()}
    stages: list[dict[str, torch.Tensor]] = []
    encode, call, count = IsthmusModel.encode, Seen.features, iter(range(10_000))

    def noted(self: Any, kind: str, media: Any, *more: Any) -> Any:
        stages.append({name: tensor.clone() for name, tensor in self.state_dict().items()})
        return encode(self, kind, media, *more)

    def pressed(self: Any, kind: str) -> Any:
        if next(count) == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return call(self, kind)

    with monkeypatch.context() as patch:
        patch.setattr(IsthmusModel, "encode", noted)
        whole = run.train(plan, tmp_path / "whole", console=QUIET)
    losses = [point[2] for point in whole.stages["alone"].points]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    changed = {name for name, tensor in stages[0].items() if not torch.equal(tensor, fresh[name])}
    assert changed == {name for name in fresh if name.startswith("encoders.points.")}
    with monkeypatch.context() as patch:
        patch.setattr(Seen, "features", pressed)
        with pytest.raises(Interrupted, match="of stage alone"):
            run.train(plan, tmp_path / "cut", console=QUIET)
    cut = run.train(plan, tmp_path / "cut", resume=True, console=QUIET)
    expected = whole.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in cut.model.state_dict().items())
    model, _ = load(tmp_path / "cut/model")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_masked_asks_the_encoder(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    facts = recipe("points", "image").model_dump()
    facts["stages"] = [facts["stages"][0] | {"objective": "masked"}]
    for train, says in (
        ({"image.encoder": 1e-3}, "masked: the encoder vit has no masked pretraining. Those with: point-transformer"),
        ({"points.connector": 1e-3}, "masked: the stage trains no encoder of the media that it has"),
        ({"points.encoder": 1e-3, "image.connector": 1e-3}, "the objective masked gives image.connector no gradient"),
    ):
        facts["stages"][0]["train"] = train
        with pytest.raises(BadRecipe, match=says):
            run.train(Recipe.model_validate(facts), tmp_path / str(len(says)), console=QUIET)


@pytest.mark.parametrize("learns", [False, True])
def test_a_medium_that_does_not_fit_names_its_sample(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learns: bool
) -> None:
    small(monkeypatch)
    plan = recipe("series")
    done = setup.composed(plan)
    samples, _ = read_data(plan)[0]
    wrong = dataclasses.replace(samples[1], id="the wrong one", media=(Series(np.zeros((5, 40), np.float32)),))
    with pytest.raises(BadMedia, match=r"sample the wrong one: .*5 channels"):
        (features.encode if learns else features.features)(done, [samples[0], wrong])


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """New encoders of a size for tests."""
    from isthmus.encoders import patchtst, point_transformer

    monkeypatch.setattr(point_transformer, "fresh", lambda size, channels: TINY["point-transformer"].makes[0]())
    monkeypatch.setattr(
        patchtst, "fresh", lambda size, channels: patchtst.PatchTSTModel(
            patchtst.PatchTSTConfig(
                num_input_channels=channels, context_length=size, patch_length=8, patch_stride=8, d_model=16,
                num_attention_heads=2, num_hidden_layers=1, ffn_dim=16, norm_type="layernorm", do_mask_input=False,
            )
        ),
    )  # fmt: skip


def written(facts: dict[str, Any], path: Path) -> Path:
    import yaml

    path.write_text(yaml.safe_dump(facts))
    return path
