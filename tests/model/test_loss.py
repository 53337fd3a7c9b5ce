"""The loss of supervised tokens: torch's own, with its gradients, for plain heads and for others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isthmus.model import loss as module
from isthmus.model.loss import supervised_loss
from isthmus.types import IGNORE_INDEX


class Scaled(nn.Linear):
    """A head that is no plain one."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * super().forward(x)


def hooked(inner: int, words: int) -> nn.Linear:
    head = nn.Linear(inner, words, bias=False)
    head.register_forward_hook(lambda *given: 3 * given[-1])
    return head


HEADS: dict[str, Callable[[int, int], nn.Linear]] = {
    "plain": lambda inner, words: nn.Linear(inner, words, bias=False),
    "biased": nn.Linear,
    "scaled": Scaled,
    "hooked": hooked,
}


def given(kind: str) -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    head, hidden = HEADS[kind](8, 50), torch.randn(2, 30, 8, requires_grad=True)
    labels = torch.randint(-20, 50, (2, 30))
    return head, hidden, labels.masked_fill(labels < 0, IGNORE_INDEX)


@pytest.mark.parametrize("chunk", [512, 7])
@pytest.mark.parametrize("kind", HEADS)
def test_loss_and_gradients_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, kind: str, chunk: int) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    head, hidden, labels = given(kind)
    found = supervised_loss(hidden, head, labels)
    expected = cross_entropy(head(hidden)[:, :-1].reshape(-1, 50), labels[:, 1:].reshape(-1), ignore_index=IGNORE_INDEX)
    weights = [hidden, *head.parameters()]
    pairs = zip(torch.autograd.grad(2 * found, weights), torch.autograd.grad(2 * expected, weights), strict=True)
    assert torch.allclose(found, expected, atol=1e-6)
    for one, other in pairs:
        assert torch.allclose(one, other, atol=1e-6)


def test_frozen_and_unlearned_heads() -> None:
    head, hidden, labels = given("plain")
    expected = supervised_loss(hidden, head, labels).item()
    with torch.no_grad():
        assert supervised_loss(hidden, head, labels).item() == pytest.approx(expected)
    head.requires_grad_(False)
    supervised_loss(hidden, head, labels).backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert head.weight.grad is None


def test_logits_far_apart_give_a_finite_loss() -> None:
    head, hidden, labels = given("plain")
    with torch.no_grad():
        head.weight.mul_(1e3)
    found = supervised_loss(hidden, head, labels)
    logits = head(hidden)[:, :-1].reshape(-1, 50)
    assert torch.isfinite(found)
    assert torch.allclose(found, cross_entropy(logits, labels[:, 1:].reshape(-1), ignore_index=IGNORE_INDEX))


def test_half_precision_is_near() -> None:
    head, hidden, labels = given("plain")
    whole = supervised_loss(hidden, head, labels)
    half = supervised_loss(hidden.bfloat16(), head.bfloat16(), labels)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(whole.item(), abs=0.02)
