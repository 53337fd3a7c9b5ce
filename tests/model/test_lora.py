"""The fused LoRA layer beside PEFT's own, and every case that must fall back to it."""

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import nn

from isthmus.model.lora import Adapted, _fused


def pair(bias: bool) -> tuple[Linear, Linear]:
    """PEFT's layer and ours with the same weights; B is not zero, as it is after some training."""
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Linear(24, 40, bias=bias)).requires_grad_(False)
    ours = copy.deepcopy(theirs)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["0"])
    inject_adapter_in_model(config, theirs)
    config._register_custom_module({nn.Linear: _fused()})
    inject_adapter_in_model(config, ours)
    nn.init.normal_(theirs[0].lora_B["default"].weight)
    ours.load_state_dict(theirs.state_dict())
    assert type(theirs[0]) is Linear
    assert type(ours[0]) is not Linear
    return theirs[0], ours[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(24,), (7, 24), (2, 5, 24)])
def test_outputs_and_gradients_are_pefts(bias: bool, shape: tuple[int, ...]) -> None:
    found = []
    for layer in pair(bias):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        found.append([y, x.grad, layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_an_input_without_gradient_gets_none() -> None:
    _, ours = pair(False)
    ours(torch.randn(3, 24)).sum().backward()
    assert ours.lora_A["default"].weight.grad is not None


def test_gradients_in_double_precision() -> None:
    drawn = lambda *shape: torch.randn(shape, dtype=torch.float64)
    W, b = drawn(5, 6), drawn(5)
    x, A, B = (tensor.requires_grad_() for tensor in (drawn(3, 6), drawn(2, 6), drawn(5, 2)))
    assert torch.autograd.gradcheck(lambda x, A, B: Adapted.apply(x, W, b, A, B, 0.7), (x, A, B))


@pytest.mark.parametrize("case", ["merged", "disabled", "autocast", "bfloat16", "dropout"])
def test_where_it_does_not_apply_it_is_pefts(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adapted, "apply", lambda *_: pytest.fail("fused"))
    theirs, ours = pair(True)
    for layer in (theirs, ours):
        if case == "merged":
            layer.merge()
        if case == "disabled":
            layer.enable_adapters(False)
        if case == "bfloat16":
            layer.base_layer.to(torch.bfloat16)
        if case == "dropout":
            layer.lora_dropout["default"] = nn.Dropout(0.5)
    x, results = torch.randn(3, 24), []
    for layer in (theirs, ours):
        torch.manual_seed(0)
        with torch.autocast("cpu", enabled=case == "autocast"):
            results.append(layer(x.to(layer.base_layer.weight.dtype)))
    torch.testing.assert_close(results[1], results[0])
