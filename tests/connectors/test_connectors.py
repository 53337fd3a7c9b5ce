"""The contract that every connector in the folder keeps, and what `mlp` says of itself."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.errors import BadRecipe
from isthmus.registry import find, names

NAMES = names("isthmus.connectors")
GRID, FEATURES, WIDTH, LLM_WIDTH = (4, 4), 16, 6, 10


def make(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = find("isthmus.connectors", name).Connector(GRID, WIDTH, LLM_WIDTH, **options)
    return module


def features(count: int = 3) -> Tensor:
    return torch.randn(count, FEATURES, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokens", [None, 4])
def test_features_become_as_many_soft_tokens_as_it_says(name: str, tokens: int | None) -> None:
    connector = make(name, tokens=tokens)
    assert connector(features()).shape == (3, connector.num_tokens, LLM_WIDTH)
    assert tokens in (None, connector.num_tokens)


@pytest.mark.parametrize("name", NAMES)
def test_media_do_not_see_each_other(name: str) -> None:
    connector = make(name)
    alone = torch.cat([connector(one[None]) for one in features()])
    torch.testing.assert_close(connector(features()), alone)
    assert connector(features(0)).shape == (0, connector.num_tokens, LLM_WIDTH)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_trained(name: str) -> None:
    connector = make(name)
    connector(features()).square().sum().backward()
    assert [n for n, p in connector.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


@pytest.mark.parametrize("name", NAMES)
def test_its_state_is_complete(name: str) -> None:
    one, two = make(name), copy.deepcopy(make(name))
    for tensor in two.state_dict().values():
        tensor.normal_().abs_()
    torch.save(two.state_dict(), buffer := io.BytesIO())
    buffer.seek(0)
    one.load_state_dict(torch.load(buffer))
    assert torch.equal(one(features()), two(features()))


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_cached_features_of_half_precision(name: str) -> None:
    connector = make(name)
    soft = connector(features().half())
    assert soft.dtype == torch.float32
    torch.testing.assert_close(soft, connector(features()), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_options_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(BadRecipe, match=r"tokens: 17 .*16 features"):
        make(name, tokens=17)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name: str) -> None:
    assert find("isthmus.connectors", name).ABOUT


def test_mlp_shuffles_squares_of_neighbours() -> None:
    connector = find("isthmus.connectors", "mlp").Connector(16, 1, 2, tokens=4)
    square = torch.arange(16.0).view(1, 16, 1)
    assert connector.shuffle(square)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_mlp_standardises_and_moves() -> None:
    connector = make("mlp")
    before = connector(features())
    connector.mean.fill_(2.0), connector.std.fill_(3.0), connector.offset.fill_(5.0)
    with torch.no_grad():
        connector.gain.fill_(7.0)
    torch.testing.assert_close(connector(features() * 3 + 2), before * 7 + 5)


@pytest.mark.parametrize("tokens", [0, -1, 2, 5, 8, 32])
def test_mlp_names_the_numbers_that_fit(tokens: int) -> None:
    with pytest.raises(BadRecipe, match="Possible: 16, 4, 1"):
        make("mlp", tokens=tokens)


@pytest.mark.parametrize("hidden", [0, -3])
def test_mlp_refuses_what_is_no_width(hidden: int) -> None:
    with pytest.raises(BadRecipe, match=f"hidden: {hidden} is no width"):
        make("mlp", hidden=hidden)
