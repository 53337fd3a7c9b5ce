"""Checkpoints: what is saved comes back, and what is damaged is refused."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tiny_parts import Built, picture
from transformers import AutoModelForMultimodalLM, AutoProcessor

from isthmus import parts
from isthmus.errors import BadCheckpoint, BadRecipe, IsthmusError, PartUnavailable
from isthmus.model import add_lora, checkpoint, compose, load, merge_lora, save_full, save_trained, unfreeze
from isthmus.parts import cache
from isthmus.parts.converters import llama_gguf


def train(built: Built, *adapters: str) -> Built:
    """Stand in for training: adapters, and other values in all that is trainable."""
    model, _ = built
    for where in adapters:
        add_lora(model, where, r=2, alpha=4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
        for buffer in model.connectors.buffers():
            buffer.uniform_(0.5, 1.5)
    return built


def logits(built: Built) -> torch.Tensor:
    model, processor = built
    with torch.no_grad():
        return model(**processor("what colour is it ?", picture("red"))).logits


@pytest.mark.parametrize("llm", ["llama", "qwen2", "gpt2"])
def test_a_light_checkpoint_comes_back(build: Callable[..., Built], llm: str, tmp_path: Path) -> None:
    built = train(build(llm), "llm", "image.encoder")
    save_trained(built[0], tmp_path / "run")
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == ["config.json", "manifest.json", "trained.safetensors"]
    assert all("lora" in name or name.startswith("conn") for name in load_file(tmp_path / "run/trained.safetensors"))
    assert torch.equal(logits(load(tmp_path / "run", merge=False)), logits(built))
    merged, processor = load(tmp_path / "run")
    assert not any("lora" in name for name, _ in merged.named_modules())
    torch.testing.assert_close(logits((merged, processor)), logits(built), atol=1e-4, rtol=1e-4)


def test_adapters_can_be_trained_further(built: Built, tmp_path: Path) -> None:
    save_trained(train(built, "llm")[0], tmp_path / "run")
    again, _ = load(tmp_path / "run", merge=False)
    before = {name for name, parameter in built[0].named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in again.named_parameters() if parameter.requires_grad} == before
    save_trained(again, tmp_path / "run")
    assert torch.equal(logits(load(tmp_path / "run", merge=False)), logits(built))


def test_half_precision_keeps_vectors_whole(built: Built, tmp_path: Path) -> None:
    train(built, "llm")
    built[0].connectors["image"].std.fill_(1e-9)  # zero as float16
    save_trained(built[0], tmp_path / "run", dtype=torch.float16)
    stored = load_file(tmp_path / "run/trained.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.dim() > 1} == {torch.float16}
    model, _ = load(tmp_path / "run", merge=False)
    assert model.dtype == torch.float32
    assert torch.equal(model.connectors["image"].std, built[0].connectors["image"].std)
    ours, theirs = model.connectors["image"].linear_1.weight, built[0].connectors["image"].linear_1.weight
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("llm", ["llama", "gpt2"])
def test_a_part_trained_whole_is_saved(build: Callable[..., Built], llm: str, tmp_path: Path) -> None:
    built = build(llm)
    built[0].llm.requires_grad_(True)
    save_trained(train(built)[0], tmp_path / "run")
    built[0].llm.requires_grad_(False)
    save_trained(built[0], tmp_path / "run")  # a later stage that freezes it must not lose it
    assert torch.equal(logits(load(tmp_path / "run")), logits(built))


def test_a_part_unfrozen_and_frozen_again_is_saved(built: Built, tmp_path: Path) -> None:
    model, _ = built
    assert len(unfreeze(model, "image.connector")) == len(list(model.connectors.parameters()))
    assert model.config.trained == []
    assert all(weight.requires_grad for weight in unfreeze(model, "llm"))
    train(built)
    model.requires_grad_(False)
    save_trained(model, tmp_path / "run")
    assert torch.equal(logits(load(tmp_path / "run")), logits(built))


def test_a_merged_model_can_be_saved_light(built: Built, tmp_path: Path) -> None:
    train(built, "llm")
    before = logits(built)
    merge_lora(built[0])
    assert built[0].config.trained == ["llm"]
    torch.testing.assert_close(logits(built), before, atol=1e-4, rtol=1e-4)
    save_trained(built[0], tmp_path / "run")
    assert torch.equal(logits(load(tmp_path / "run")), logits(built))


@pytest.mark.parametrize("llm", ["llama", "gpt2"])
def test_a_full_checkpoint_is_an_ordinary_folder(build: Callable[..., Built], llm: str, tmp_path: Path) -> None:
    built = train(build(llm), "llm")
    save_full(*built, tmp_path / "run")
    assert built[0].config.adapters == {"llm": {"r": 2, "alpha": 4}}, "the model that is saved stays as it was"
    model, info = AutoModelForMultimodalLM.from_pretrained(tmp_path / "run", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ordinary = model.eval(), AutoProcessor.from_pretrained(tmp_path / "run")
    torch.testing.assert_close(logits(ordinary), logits(built), atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(load(tmp_path / "run")), logits(ordinary))
    save_trained(load(tmp_path / "run")[0], tmp_path / "light")
    assert torch.equal(logits(load(tmp_path / "light")), logits(ordinary))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda run: (run / "trained.safetensors").unlink(), "incomplete: trained.safetensors is missing"),
    "truncated": (lambda run: (run / "trained.safetensors").write_bytes(b"abc"), "has 3 bytes"),
    "flipped": (lambda run: flip(run / "trained.safetensors"), "was altered"),
    "config": (lambda run: flip(run / "config.json"), "no checkpoint|was altered"),
    "no config": (lambda run: (run / "config.json").unlink(), "config.json is missing"),
    "no manifest": (lambda run: (run / "manifest.json").unlink(), "manifest.json is missing"),
    "bad manifest": (lambda run: (run / "manifest.json").write_text("[]"), "manifest.json is missing or damaged"),
    "nothing": (shutil.rmtree, "no checkpoint"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_light_checkpoint_is_refused(built: Built, tmp_path: Path, case: str) -> None:
    save_trained(built[0], tmp_path / "run")
    damage, message = DAMAGE[case]
    damage(tmp_path / "run")
    with pytest.raises(BadCheckpoint, match=message):
        load(tmp_path / "run")


@pytest.mark.parametrize("manifest", [True, False])
def test_a_damaged_full_checkpoint_is_refused(built: Built, tmp_path: Path, manifest: bool) -> None:
    save_full(*built, tmp_path / "run")
    if not manifest:
        (tmp_path / "run/manifest.json").unlink()
    file = tmp_path / "run/model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadCheckpoint, match=r"run"):
        load(tmp_path / "run")


def test_other_parts_are_refused(built: Built, tmp_path: Path, folders: dict[str, str]) -> None:
    save_trained(built[0], tmp_path / "run")
    shutil.copytree(folders["llama"], tmp_path / "llm")
    edit(tmp_path / "run", lambda facts: facts["parts"]["llm"].update(name=str(tmp_path / "llm")))
    assert load(tmp_path / "run")
    for name in ("model.safetensors", "tokenizer.json"):
        own = (tmp_path / "llm" / name).read_bytes()
        flip(tmp_path / "llm" / name)
        with pytest.raises(BadCheckpoint, match=r"made for another .*\(llm\)"):
            load(tmp_path / "run")
        (tmp_path / "llm" / name).write_bytes(own)
    shutil.rmtree(tmp_path / "llm")
    with pytest.raises(BadCheckpoint, match="made for a part that is not here"):
        load(tmp_path / "run")
    with pytest.raises(BadCheckpoint, match="holds a 'llama' model, not a composed one"):
        load(folders["llama"])


@pytest.fixture
def catalogued(folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    """A model of parts that the catalogue has, as finished folders of a cache."""
    places = {"smollm2-135m-instruct": tmp_path / "llm", "vit-s": tmp_path / "vision"}
    for kind, place in zip(("llama", "vision"), places.values(), strict=True):
        shutil.copytree(folders[kind], place)
        cache.write_manifest(place, {})
    monkeypatch.setattr(parts, "get", lambda name: places[name])
    return compose(image={"encoder": "vit-s", "connector": "mlp", "size": 16, "tokens": 4})


def test_a_part_of_another_converter_is_refused(
    catalogued: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_trained(catalogued[0], tmp_path / "run")
    assert load(tmp_path / "run")
    monkeypatch.setattr(llama_gguf, "VERSION", llama_gguf.VERSION + 1)
    with pytest.raises(BadCheckpoint, match=r"llama-gguf-1, here \w{12}\.\.\.\+llama-gguf-2\."):
        load(tmp_path / "run")


def test_a_part_altered_in_the_cache_is_refused(catalogued: Built, tmp_path: Path) -> None:
    save_trained(catalogued[0], tmp_path / "run")
    flip(tmp_path / "vision/model.safetensors")  # its size stays
    with pytest.raises(PartUnavailable, match=r"vision/model\.safetensors was altered.*Delete the folder"):
        load(tmp_path / "run")


def test_tensors_that_do_not_fit_are_refused(built: Built, tmp_path: Path) -> None:
    save_trained(built[0], tmp_path / "run")
    edit(tmp_path / "run", lambda facts: facts["connectors"]["image"].update(hidden=7))
    with pytest.raises(BadCheckpoint, match=r"3 tensors differ, such as connectors.image.linear_1.bias"):
        load(tmp_path / "run")


def edit(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change config.json and sign it again, as a hand-made checkpoint would be."""
    change(facts := json.loads((run / "config.json").read_text()))
    (run / "config.json").write_text(json.dumps(facts))
    (run / "manifest.json").unlink()
    checkpoint.cache.write_manifest(run, {})


FULL_DISK = r"run was not written: .*the disk is full"


@pytest.mark.parametrize(
    ("where", "error", "shown", "message"),
    [
        ("save_file", OSError(errno.ENOSPC, "No space left on device"), IsthmusError, FULL_DISK),
        ("save_file", SafetensorError("I/O error: No space left on device (os error 28)"), IsthmusError, FULL_DISK),
        ("save_file", OSError(errno.EACCES, "Permission denied"), IsthmusError, "was not written: .*Permission denied"),
        ("save_file", KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        ("cache.write_manifest", OSError(errno.ENOSPC, "No space left on device"), IsthmusError, FULL_DISK),
    ],
)
def test_a_failed_write_leaves_the_old_one(
    built: Built,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: BaseException,
    shown: type[BaseException],
    message: str,
) -> None:
    save_trained(built[0], tmp_path / "run")
    before = logits(load(tmp_path / "run"))
    train(built)

    def full(*args: Any) -> None:
        raise error

    monkeypatch.setattr(f"isthmus.model.checkpoint.{where}", full)
    with pytest.raises(shown, match=message):
        save_trained(built[0], tmp_path / "run")
    assert torch.equal(logits(load(tmp_path / "run")), before)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_killed_between_two_renames_the_earlier_one_is_named(built: Built, tmp_path: Path) -> None:
    save_trained(built[0], tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / ".replaced-run")
    with pytest.raises(BadCheckpoint, match=r"An earlier one lies in .*\.replaced-run"):
        load(tmp_path / "run")
    assert load(tmp_path / ".replaced-run")


def test_no_path_of_this_machine_is_in_a_full_checkpoint(built: Built, tmp_path: Path, folders: dict[str, str]) -> None:
    built[0].config.parts = {}  # these name the folders of the parts, on purpose
    save_full(*built, tmp_path / "run")
    text = "".join(path.read_text() for path in (tmp_path / "run").glob("*.json"))
    assert str(Path(folders["llama"]).parent) not in text


def test_nothing_but_a_checkpoint_is_replaced(built: Built, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("the only copy")
    with pytest.raises(IsthmusError, match="holds something that is not a checkpoint"):
        save_trained(built[0], tmp_path / "run")
    assert (tmp_path / "run/thesis.txt").read_text() == "the only copy"


def test_what_is_not_finite_is_not_saved(built: Built, tmp_path: Path) -> None:
    with torch.no_grad():
        built[0].connectors["image"].linear_1.weight[0, 0] = 1e6
    with pytest.raises(IsthmusError, match=r"linear_1.weight is not finite as torch.float16"):
        save_trained(built[0], tmp_path / "run", dtype=torch.float16)
    save_trained(built[0], tmp_path / "run")


def test_adapters_go_where_they_can(built: Built) -> None:
    model, _ = built
    with pytest.raises(BadRecipe, match="a connector is trained whole"):
        add_lora(model, "image.connector", 2, 4)
    with pytest.raises(BadRecipe, match=r"no part 'vision.encoder'. Did you mean 'image.encoder'"):
        add_lora(model, "vision.encoder", 2, 4)
    add_lora(model, "llm", 2, 4)
    with pytest.raises(BadRecipe, match="has an adapter already"):
        add_lora(model, "llm", 2, 4)
    adapted = {name.split(".")[-1] for name, m in model.llm.named_modules() if hasattr(m, "lora_A")}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
