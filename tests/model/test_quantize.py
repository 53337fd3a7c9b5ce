"""An LLM in 4 bits: what it computes, learns, saves and refuses."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch
from tiny_parts import Built
from torch import Tensor

from isthmus.errors import BadRecipe, IsthmusError
from isthmus.model import add_lora, compose, describe, exporters, load, save_full, save_trained, unfreeze
from isthmus.model import quantize as quantized
from isthmus.types import IGNORE_INDEX

IDS = torch.arange(20, 60).unsqueeze(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny parts."""
    root = tmp_path_factory.mktemp("parts")
    tiny_run.parts(root, wide=True)
    return root


def built(folder: Path, quantize: str | None = "nf4", connector: str = "mlp") -> Built:
    more = {"tokens": 4} if connector == "mlp" else {}
    image = {"encoder": "vit-s", "connector": connector, "part": str(folder / "vision"), "size": 16} | more
    return compose(str(folder / "llm"), image, quantize=quantize)


def linears(model: Any) -> dict[str, Any]:
    return {name: m for name, m in model.llm.named_modules() if type(m).__module__ == "bitsandbytes.nn.modules"}


def restored(layer: Any) -> Tensor:
    import bitsandbytes

    return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)  # type: ignore[no-any-return]


def test_it_computes_with_its_rounded_weights(folder: Path) -> None:
    """The same logits as the plain LLM's with each weight replaced by what 4 bits keep of it: at most a sixth, in units
    of its block's largest."""
    model, own = built(folder)[0], built(folder, None)[0]
    layers = linears(model)
    assert len(layers) == 2 * 7, "all but the head"
    for name, layer in layers.items():
        plain = own.llm.get_submodule(name).weight
        errors = (restored(layer) - plain).flatten().abs().split(64)
        assert (
            0
            < max(float(e.max() / w.abs().max()) for e, w in zip(errors, plain.flatten().split(64), strict=True))
            < 1 / 6
        )
        plain.data = restored(layer)
    torch.testing.assert_close(model(IDS).logits, own(IDS).logits, atol=1e-4, rtol=1e-4)


def test_rows_that_are_restored_wrongly_on_some_cpus_are_refused(tmp_path: Path) -> None:
    tiny_run.parts(tmp_path)
    with pytest.raises(BadRecipe, match=r"quantize: .* has rows of 32 weights"):
        built(tmp_path)


def test_a_gradient_reaches_connector_and_adapter_alone(folder: Path) -> None:
    model, _ = built(folder)
    add_lora(model, "llm", 2, 4)
    before = copy.deepcopy({name: restored(layer) for name, layer in linears(model).items()})
    kept = model.llm.get_decoder().layers[0].self_attn.q_proj.lora_A["default"].weight
    features = torch.randn(1, 16, 24)
    ids = torch.cat([torch.full((1, 4), model.config.placeholders["image"]), IDS], 1)
    labels = ids.where(ids < 300, IGNORE_INDEX)
    model.eval()
    with torch.no_grad():  # as a check between two steps; on some CPUs bitsandbytes would pack its weights for good
        model(ids, features={"image": features}, labels=labels)
    model.train()
    model(ids, features={"image": features}, labels=labels).loss.backward()
    names = [name for name, _ in model.named_parameters()]
    learns = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert learns == {name for name in names if name.startswith("connectors.") or ".lora_" in name}
    assert kept.grad is not None
    assert all(torch.equal(restored(layer), before[name]) for name, layer in linears(model).items())
    assert not any(layer.support_avx512bf16_for_cpu for layer in linears(model).values())


def test_its_size(folder: Path) -> None:
    small, large = built(folder)[0].llm, built(folder, None)[0].llm
    assert sum(map(quantized.numel, small.parameters())) == sum(weight.numel() for weight in large.parameters())
    four, count = (
        quantized.nbytes(small),
        sum(map(quantized.numel, (m.weight for m in linears(built(folder)[0]).values()))),
    )
    assert quantized.nbytes(large) - 4 * count + count / 2 < four < quantized.nbytes(large) - 4 * count + count * 0.6
    assert describe(built(folder)[0]).splitlines()[-1] == describe(built(folder, None)[0]).splitlines()[-1]


def test_a_light_checkpoint_says_what_it_was_trained_over(folder: Path, tmp_path: Path) -> None:
    """Loaded as it was trained, logits are equal; over the LLM's own weights, they are those of these weights."""
    model, processor = built(folder)
    add_lora(model, "llm", 2, 4)
    for name, weight in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    save_trained(model, tmp_path / "light")
    assert (tmp_path / "light/trained.safetensors").stat().st_size < 80_000, "no weight of the LLM"
    again, _ = load(tmp_path / "light")
    assert again.config.quantize == "nf4"
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    own, _ = load(tmp_path / "light", quantize=False)
    assert (own.config.quantize, own.config.adapters, own.config.trained) == (None, {}, ["llm"])
    plain = built(folder, None)[0]
    add_lora(plain, "llm", 2, 4)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if ".lora_" in k}, strict=False)
    torch.testing.assert_close(own(IDS).logits, plain(IDS).logits, atol=1e-4, rtol=1e-4)
    save_full(own, processor, tmp_path / "full")
    torch.testing.assert_close(load(tmp_path / "full")[0](IDS).logits, own(IDS).logits)


def test_what_needs_the_weights_themselves_is_refused(folder: Path, tmp_path: Path) -> None:
    model, processor = built(folder)
    with pytest.raises(BadRecipe, match=r"4 bits \(nf4\); train an adapter"):
        unfreeze(model, "llm")
    for write in (
        lambda: save_full(model, processor, tmp_path / "full"),
        lambda: exporters.write(model, processor, "gguf", tmp_path / "gguf"),
    ):
        with pytest.raises(IsthmusError, match=r"in 4 bits \(nf4\). Load it with the LLM's own weights"):
            write()
    with pytest.raises(BadRecipe, match="copies of the LLM's weights"):
        built(folder, connector="visual_expert")
    built(folder, connector="gated_cross_attention")  # which has weights of its own
    assert not list(tmp_path.iterdir())


def test_forms_and_machines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRecipe, match="'fp3' is not one of nf4"):
        built(folder, "fp3")
    with monkeypatch.context() as patch:
        patch.setattr(
            "bitsandbytes.functional.quantize_4bit", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no"))
        )
        with pytest.raises(BadRecipe, match="does not run on this machine: no"):
            built(folder)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BadRecipe, match=r"needs bitsandbytes: pip install 'isthmus\[qlora\]'"):
        built(folder)
