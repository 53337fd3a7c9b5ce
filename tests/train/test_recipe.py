"""Recipes: whatever is wrong with one is named with its line and the nearest known name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus import connectors
from isthmus.errors import BadRecipe
from isthmus.train.recipe import Check, Lora, Mix, Recipe, find_recipe, leaks, load_recipe, shipped

Write = Callable[..., Path]
EMOJI = """name: e
model:
  llm: smollm2-135m-instruct
  image: {encoder: vit-s, connector: mlp}
stages:
  - name: one
    train: {image.connector: 1e-3}
    data:
      emoji-captions: {count: 8, options: {concepts: 9}}
    steps: 2
evaluate:
  held out:
    data: emoji-captions
    split: vendor
    count: 3
"""


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_recipes_are_good(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("name: e", "nome: e", 1, "nome: no key 'nome'. Did you mean 'name'?"),
        ("llm: smol", "lm: smol", 3, "model.lm: no key 'lm'. Did you mean 'llm'? Known: llm, frame, image"),
        ("encoder: vit-s", "encode: vit-s", 4, "no key 'encode'. Did you mean 'encoder'?"),
        ("encoder: vit-s", "encoder: vit-z", 4, "no encoder 'vit-z'. Did you mean 'vit-s'?"),
        ("connector: mlp", "connector: mof_mlp", 4, "no connector 'mof_mlp'. Did you mean 'mlp'?"),
        ("connector: mlp", "connector: mof_mlp, tokens: 4", 4, "no connector 'mof_mlp'. Did you mean 'mlp'?"),
        (
            "connector: mlp",
            "connector: mlp, tokns: 4",
            4,
            "image.tokns: no key 'tokns'. Did you mean 'tokens'? Known: encoder, connector, part, size,"
            " frames, tiles, join, channels, new, rate, tokens, hidden",
        ),
        ("connector: mlp", "connector: mlp, tokens: 0", 4, "image.tokens: Input should be greater than 0, not 0"),
        ("connector: mlp", "connector: mlp, hidden: 0", 4, "image.hidden: Input should be greater than 0, not 0"),
        ("connector: mlp", "connector: mlp, hidden: wide", 4, "image.hidden: Input should be a valid integer"),
        ("connector: mlp", "connector: mlp, size: -14", 4, "image.size: Input should be greater than 0, not -14"),
        ("steps: 2", "stepz: 2", 10, "stages.0.stepz: no key 'stepz'. Did you mean 'steps'?"),
        (
            "steps: 2",
            "steps: 2\n    objective: next_token",
            11,
            "no objective 'next_token'. Did you mean 'next-token'?",
        ),
        (
            "steps: 2",
            "steps: 2\n    options: {temperature: 1}",
            11,
            "options.temperature: next-token: no option 'temperature'. Known options: none",
        ),
        (
            "train: {image.connector: 1e-3}",
            "objective: masked\n    train: {image.encoder: 1e-3}",
            8,
            "train.image.encoder: masked: the encoder vit-s has no masked pretraining. Those with: point-transformer",
        ),
        (
            "steps: 2",
            "steps: 2\n    objective: contrast\n    options: {temperature: 0}",
            12,
            "options.temperature: contrast: Input should be greater than 0, not 0",
        ),
        (
            "steps: 2",
            "steps: 2\n    objective: contrast\n    options: {noise: .inf}",
            12,
            "options.noise: contrast: Input should be a finite number",
        ),
        ("steps: 2", "steps: 0", 10, "stages.0.steps: Input should be greater than 0, not 0"),
        ("steps: 2", "steps: many", 10, "valid integer, unable to parse string as an integer, not 'many'"),
        ("steps: 2", "steps: 2\n    steps: 3", 11, "'steps' stands twice"),
        ("1e-3", "-1", 7, "stages.0.train.image.connector: Input should be greater than 0, not -1"),
        ("1e-3", ".nan", 7, "Input should be"),
        ("1e-3}", "1e-3, llm: {lor: 8, lr: 1}}", 7, "no key 'lor'. Did you mean 'lora'? Known: lora, lr, scale"),
        ("image.connector: 1", "image.conector: 1", 7, "Did you mean 'image.connector'? Known: llm, image.connector"),
        ("image.connector: 1", "image.eye: 1", 7, "no part that can be trained 'image.eye'"),
        ("1e-3}", "{lora: 4, lr: 1e-3}}", 7, "a connector is trained whole"),
        ("emoji-captions: {", "emoji-caption: {", 9, "no data set, file or folder 'emoji-caption'. Did you mean"),
        (
            "count: 8",
            "cuont: 8",
            9,
            "no key 'cuont'. Did you mean 'count'? Known: count, weight, turns, first, options",
        ),
        ("count: 8, ", "", 9, "say how many samples with `count`"),
        (
            "concepts: 9",
            "concept: 9",
            9,
            "no option 'concept'. Did you mean 'concepts'? Known options: concepts, unseen",
        ),
        ("concepts: 9", "unseen: gogle", 9, "options.unseen: emoji-captions: Input should be 'google', 'twitter'"),
        ("concepts: 9", "concepts: some", 9, "valid integer"),
        ("concepts: 9", "unseen: google", 12, "unseen: openmoji is to be unseen, but stage one trains on it"),
        ("split: vendor", "splt: vendor", 14, "no key 'splt'. Did you mean 'split'?"),
        ("split: vendor", "split: vendors", 14, "no split 'vendors'. Did you mean 'vendor'?"),
        ("name: one", "name: ../../one", 6, "String should match pattern"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    path = tmp_path / "e.yaml"
    assert old in EMOJI
    path.write_text(EMOJI.replace(old, new, 1))
    with pytest.raises(BadRecipe) as error:
        load_recipe(path)
    assert f"{path}, line {line}: " in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("sense", "line", "says"),
    [
        (
            "image: {encoder: vit-s, connector: mlp, frames: 4}",
            4,
            "image.frames: no option 'frames'. Known: part, size",
        ),
        ("image: {encoder: vit-s, connector: mlp, join: token}", 4, "image.join: no option 'join'"),
        ("image: {encoder: vit-s, connector: mlp, channels: 3}", 4, "image.channels: channels are those of a new"),
        ("image: {encoder: vit-s, connector: mlp, part: new}", 4, "image.part: the encoder vit-s is not trained from"),
        ("image: {encoder: vit-s, connector: mlp, part: [a, b]}", 4, "image.part: ['a', 'b'] is for several encoders"),
        ("image: {encoder: vit-s, connector: mlp, size: [112, 224]}", 4, "image.size: [112, 224] is for several"),
        ("image: {encoder: [vit, vit-s], connector: mlp, size: [1, 2, 3]}", 4, "image.size: 3 for 2 encoders"),
        ("image: {encoder: [vit, vit-s], connector: mlp, part: [a]}", 4, "image.part: 1 for 2 encoders"),
        ("image: {encoder: [vit-s], connector: mlp}", 4, "image.encoder: List should have at least 2 items"),
        ("image: {encoder: whisper, connector: mlp}", 4, "image.encoder: the encoder whisper is for audio. Those for"),
        ("image: {encoder: 5, connector: mlp}", 4, "image.encoder: Input should be a valid string, not 5"),
        ("image: {encoder: vit-s, connector: mlp, part: 5}", 4, "image.part: Input should be a valid string, not 5"),
        ("image: {encoder: vit-s, connector: mlp, size: x}", 4, "image.size: Input should be a valid integer"),
        ("audio: {encoder: whisper, connector: mlp, tiles: 2}", 4, "audio.tiles: no option 'tiles'"),
        (
            "audio: {encoder: qwen2-audio, connector: mlp}",
            4,
            "audio.part: the encoder qwen2-audio has no default weights",
        ),
        (
            "video: {encoder: vit-s, connector: mlp, frames: 100}",
            4,
            "video.frames: 100, a number from 1 to 64 is needed",
        ),
        ("video: {encoder: videomae, connector: mlp, frames: 8}", 4, "video.frames: no option 'frames'"),
        (
            "video:\n    encoder: vit-s\n    connector: mlp\n    frames: 65",
            7,
            "video.frames: 65, a number from 1 to 64",
        ),
    ],
)
def test_what_does_not_fit_a_kind_is_named_with_its_line(tmp_path: Path, sense: str, line: int, says: str) -> None:
    path, kind = tmp_path / "e.yaml", sense.partition(":")[0]
    text = EMOJI.replace("image: {encoder: vit-s, connector: mlp}", sense).replace(
        "image.connector", f"{kind}.connector"
    )
    path.write_text(text)
    with pytest.raises(BadRecipe) as error:
        load_recipe(path)
    assert str(error.value).startswith(f"{path}, line {line}: model.{says}")
    assert str(error.value).count("\n") == 0, "one mistake is one line"


def test_one_mistake_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(EMOJI.replace("1e-3}", "1e-3, llm: {lora: 8, lr: 1, sclae: 3}}"))
    with pytest.raises(BadRecipe) as error:
        load_recipe(path)
    assert str(error.value).count("\n") == 0
    assert "no key 'sclae'. Did you mean 'scale'?" in str(error.value)


def test_a_new_connectors_options_need_no_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ask_it.py").write_text(
        "class Connector:\n"
        "    def __init__(self, grid: object, width: int, llm_width: int, queries: int, heads: int = 4) -> None: ...\n"
    )
    monkeypatch.setattr(connectors, "__path__", [*connectors.__path__, str(tmp_path)])
    path = tmp_path / "e.yaml"

    def with_options(text: str) -> dict[str, object]:
        path.write_text(EMOJI.replace("connector: mlp", f"connector: ask-it{text}"))
        return load_recipe(path).model.image.model_dump(exclude_none=True)

    expected = {"encoder": "vit-s", "connector": "ask-it", "queries": 8, "heads": 4}
    assert with_options(", queries: 8") == expected
    for text, says in (
        (
            ", querys: 8",
            "no key 'querys'. Did you mean 'queries'? Known: encoder, connector, part, size, frames,"
            " tiles, join, channels, new, rate, queries, heads",
        ),
        (", queries: 8, tokens: 4", "no key 'tokens'"),
        (", queries: 8, heads: many", "image.heads: Input should be a valid integer"),
        ("", "image.queries: Field required"),
    ):
        with pytest.raises(BadRecipe) as error:
            with_options(text)
        assert f"{path}, line 4: " in str(error.value)
        assert says in str(error.value)


def test_a_recipe_comes_back_from_json_as_it_was() -> None:
    recipe = load_recipe("demo")
    assert recipe.model.image.model_dump()["tokens"] == 16
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert again.model_dump_json() == recipe.model_dump_json()


def test_equal_stage_names_are_refused(tmp_path: Path) -> None:
    stage = EMOJI[EMOJI.index("  - name") : EMOJI.index("evaluate")]
    (path := tmp_path / "e.yaml").write_text(EMOJI.replace(stage, stage * 2))
    with pytest.raises(BadRecipe, match=r"line 11: stages\.1\.name: another stage is called 'one'"):
        load_recipe(path)


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "\x00", "&a [*a]", "x: " + "[" * 5000])
def test_what_is_no_recipe(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "e.yaml").write_text(text)
    with pytest.raises(BadRecipe):
        load_recipe(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (path := tmp_path / "e.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(BadRecipe, match="not YAML"):
        load_recipe(path)


def test_changes(written: Write) -> None:
    path = written()
    recipe = load_recipe(
        path, ["stages.instruct.steps=4", "stages.0.batch=7", "stages.again.train.llm.lora=3", "seed=9"]
    )
    assert [stage.steps for stage in recipe.stages] == [3, 4, 3]
    assert recipe.stages[0].batch == 7
    assert recipe.stages[2].train["llm"] == Lora(lora=3, lr=1e-2)
    assert recipe.stages[1].train["llm"] == Lora(lora=2, lr=1e-2)
    assert recipe.seed == 9


@pytest.mark.parametrize(("name", "split"), [("moving-emoji", "concepts"), ("emoji-events", "pairs")])
@pytest.mark.parametrize(("trained", "asked"), [(4, 1), (1, 2)])
def test_drawings_of_other_packages_cannot_be_called_unseen(name: str, split: str, trained: int, asked: int) -> None:
    """What one package holds out is trained on, in part, where all four are drawn from."""
    plan = load_recipe("demo")
    mix = {"told-clips": Mix(count=4, options={"packages": trained})}
    stage = plan.stages[-1].model_copy(update={"data": mix})
    check = Check(data=name, split=split, count=4, options={"packages": asked})
    (found,) = leaks([stage], {"unseen": check})
    assert found[0] == ("evaluate", "unseen", "options", "packages")
    assert f"of packages: {asked} other things are held out" in found[1]
    assert not list(leaks([stage], {"unseen": check.model_copy(update={"options": {"packages": trained}})}))


def test_what_a_start_was_trained_on_cannot_be_called_unseen(tmp_path: Path) -> None:
    (folder := tmp_path / "first").mkdir()
    (path := tmp_path / "e.yaml").write_text(EMOJI.replace("concepts: 9", "unseen: google"))
    first = load_recipe(path, ["evaluate={}"])
    again = {"start": str(folder / "model")}  # of a run that goes round in a circle no end is looked for
    (folder / "recipe.json").write_text(first.model_copy(update=again).model_dump_json())
    path.write_text(EMOJI)
    load_recipe(path)
    with pytest.raises(BadRecipe, match="openmoji is to be unseen, but stage one trains on it"):
        load_recipe(path, [f"start={folder / 'model'}"])
    google = "evaluate.held out.options={unseen: google}"
    with pytest.raises(BadRecipe, match="google is to be unseen, but stage"):
        load_recipe(path, ["start=default", google, "stages.0.data={easy-vqa: {count: 8}}"])
    (folder / "recipe.json").write_text("{}")
    with pytest.raises(BadRecipe, match="cannot be read as a recipe"):
        load_recipe(path, [f"start={folder / 'model'}"])


def test_a_change_does_not_leak_through_an_alias() -> None:
    recipe = load_recipe("demo", ["stages.instruct.data.easy-vqa.count=5"])
    assert [stage.data["easy-vqa"].count == 5 for stage in recipe.stages] == [False, False, True]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("stages.instruct.steps", "written key=value"),
        ("=3", "written key=value"),
        ("stages.instrct.steps=3", "no entry 'instrct'. Did you mean 'instruct'?"),
        ("stages.7.steps=3", "or 0 to 2"),
        ("stagez.0.steps=3", "no key 'stagez'. Did you mean 'stages'?"),
        ("stages.instruct.stepz=3", "'stages.instruct.stepz=3': stages.1.stepz: no key 'stepz'. Did you mean 'steps'?"),
        ("stages.instruct.steps=few", "'stages.instruct.steps=few': stages.1.steps: Input should be a valid integer"),
        ("stages.instruct.steps.more=3", "nothing in which to set 'more'"),
        ("stages.instruct.steps=[", "not a YAML value"),
        ("stages=3", "'stages=3': stages: Input should be a valid list"),
    ],
)
def test_bad_changes(written: Write, change: str, says: str) -> None:
    with pytest.raises(BadRecipe) as error:
        load_recipe(written(), [change])
    assert says in str(error.value)


def test_names_near_a_shipped_recipe(tmp_path: Path) -> None:
    for name in ("dem", "recipes/dmo.yaml", "demo.yml"):
        with pytest.raises(BadRecipe, match="Did you mean 'demo'"):
            find_recipe(name)
    with pytest.raises(BadRecipe, match=r"^demo\.yml: no such file\. Did you mean 'demo', the recipe that comes with"):
        find_recipe("demo.yml")
    with pytest.raises(BadRecipe, match="Known: "):
        find_recipe("something-else")
    with pytest.raises(BadRecipe):
        find_recipe(str(tmp_path))
