"""The contract that every connector in the folder keeps, and what `mlp` says of itself."""

from __future__ import annotations

import copy
import functools
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.connectors._soft import SoftTokens
from isthmus.errors import BadRecipe, UnknownName
from isthmus.registry import find, names

NAMES = names("isthmus.connectors")
GRID, FEATURES, WIDTH, LLM_WIDTH = (4, 4), 16, 6, 10


TOKEN_LEVEL = [name for name in NAMES if issubclass(find("isthmus.connectors", name).Connector, SoftTokens)]
FEWER = ["linear", "mlp"]  # whose tokens are joined features; others make any number


def make(name: str, grid: tuple[int, ...] = GRID, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = find("isthmus.connectors", name).Connector(grid, WIDTH, LLM_WIDTH, **options)
    return module


def features(count: int = 3) -> Tensor:
    return torch.randn(count, FEATURES, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokens", [{}, {"tokens": 4}])
@pytest.mark.parametrize("grid", [GRID, (16,), (4, 2, 2)])  # a picture, a sound, a video
def test_features_become_as_many_soft_tokens_as_it_says(name: str, tokens: dict[str, int], grid: Any) -> None:
    connector = make(name, grid, **tokens)
    assert connector(features()).shape == (3, connector.num_tokens, LLM_WIDTH)
    assert connector.soft is not None
    assert connector.soft(features()).shape == (3, connector.soft.num_tokens, LLM_WIDTH)
    if tokens:
        assert connector.soft.num_tokens == 4


@pytest.mark.parametrize("name", NAMES)
def test_media_do_not_see_each_other(name: str) -> None:
    connector = make(name).soft
    alone = torch.cat([connector(one[None]) for one in features()])
    torch.testing.assert_close(connector(features()), alone)
    assert connector(features(0)).shape == (0, connector.num_tokens, LLM_WIDTH)


@pytest.mark.parametrize("grid", [(16,), (4, 2, 2)])  # a sound, a video
@pytest.mark.parametrize("name", TOKEN_LEVEL)
def test_what_a_mask_leaves_out_does_not_matter(name: str, grid: tuple[int, ...]) -> None:
    connector, kept = make(name, grid, tokens=8 if grid == (16,) else 4), torch.tensor([16, 4, 12])
    mask, x = torch.arange(16) < kept.unsqueeze(1), features()
    keep, soft = connector.keep(kept), connector(x, None, mask)
    other = connector(x.where(mask.unsqueeze(-1), 9.0), None, mask)
    assert torch.equal(soft[keep], other[keep])
    full = connector(x)
    torch.testing.assert_close(soft[0], full[0])
    if name in FEWER:  # as many as the features fill, and those are what they were
        assert keep.sum(1).tolist() == [len(keep[0]) * n // 16 for n in kept]
        torch.testing.assert_close(soft[keep], full[keep])
    else:
        assert bool(keep.all())
        assert not torch.allclose(soft[1:], full[1:], atol=1e-3)


@pytest.mark.parametrize("name", TOKEN_LEVEL)
def test_every_parameter_is_trained(name: str) -> None:
    connector = make(name)
    connector(features()).square().sum().backward()
    assert [n for n, p in connector.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


@pytest.mark.parametrize("name", NAMES)
def test_its_state_is_complete(name: str) -> None:
    one, two = make(name), copy.deepcopy(make(name))
    for tensor in two.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_().abs_()
    torch.save(two.state_dict(), buffer := io.BytesIO())
    buffer.seek(0)
    one.load_state_dict(torch.load(buffer))
    assert torch.equal(one(features()), two(features()))


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_cached_features_of_half_precision(name: str) -> None:
    connector = make(name).soft
    soft = connector(features().half())
    assert soft.dtype == torch.float32
    torch.testing.assert_close(soft, connector(features()), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", FEWER)
def test_options_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(BadRecipe, match=r"tokens: 17 .*16 features"):
        make(name, tokens=17)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("qformer", {"hidden": 30, "heads": 4}, "heads: 4 do not divide a width of 30"),
        ("qformer", {"instruction": True}, "cannot read without `vocab`"),
        ("gated-cross-attention", {"memory": "visual-expert"}, "a token-level connector is needed"),
        ("gated-cross-attention", {"memory": "resampler", "partial": True}, "keep a token for each feature"),
        ("gated-cross-attention", {"tokens": 4, "partial": True}, "keep a token for each feature"),
        ("visual-expert", {"memory": "gated_cross_attention"}, "a token-level connector is needed"),
        ("visual-expert", {"tokens": 17}, "does not divide 16 features"),
    ],
)
def test_other_options_that_do_not_fit(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        make(name, **options)


def test_a_memory_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'mlp'"):
        make("visual-expert", memory="mlpp")


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name: str) -> None:
    assert find("isthmus.connectors", name).ABOUT


@pytest.mark.parametrize("name", NAMES)
def test_underscores_are_dashes(name: str) -> None:
    assert find("isthmus.connectors", name.replace("-", "_")) is find("isthmus.connectors", name)


@pytest.mark.parametrize("name", FEWER)
def test_neighbours_are_shuffled_or_averaged(name: str) -> None:
    square = torch.arange(16.0).view(1, 16, 1)
    connector = find("isthmus.connectors", name).Connector
    shuffled = connector((4, 4), 1, 2, tokens=4).fewer(square)[0]
    assert shuffled.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert connector((4, 4), 1, 2, tokens=4, pool="average").fewer(square)[0].tolist() == [[2.5], [4.5], [10.5], [12.5]]
    assert connector((16,), 1, 2, tokens=8).fewer(square)[0, :2].tolist() == [[0, 1], [2, 3]]
    frames = connector((4, 2, 2), 1, 2, tokens=4).fewer(square)[0]
    assert frames.tolist() == [[4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3] for i in range(4)]  # frames stay apart
    assert connector((2, 4), 1, 2, tokens=2).fewer(square[:, :8])[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]


@pytest.mark.parametrize("name", FEWER)
def test_one_token_sees_a_square_in_several_frames(name: str) -> None:
    clip = torch.arange(32.0).view(1, 32, 1)  # four frames of 2 x 4
    connector = functools.partial(find("isthmus.connectors", name).Connector, (4, 2, 4), 1, 2, span=2)
    tubes = [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
    joined = connector(tokens=4).fewer
    assert joined(clip)[0].tolist() == [*tubes, *([16 + place for place in tube] for tube in tubes)]
    assert connector(tokens=4, pool="average").fewer(clip)[0].tolist() == [[6.5], [8.5], [22.5], [24.5]]
    assert connector().fewer(clip)[0, :2].tolist() == [[0, 8], [1, 9]]
    kept = joined.keep(torch.tensor([0, 8, 16, 24, 32]))  # of so many features, one frame fills tokens of its own
    assert kept.sum(1).tolist() == [0, 2, 2, 4, 4]
    with pytest.raises(BadRecipe, match=r"tokens: 8 does not divide 16 features\. Possible: 16, 4"):
        connector(tokens=8)
    with pytest.raises(BadRecipe, match=r"span: 3 does not divide 4 frames\. Possible: 1, 2, 4"):
        connector(span=3)
    with pytest.raises(BadRecipe, match=r"span: 2 does not divide 1 frames\. Possible: 1"):
        make(name, span=2)


def test_the_resampler_tells_frames_apart() -> None:
    frames = features()
    swapped = frames.unflatten(1, (4, 4))[:, [1, 0, 2, 3]].flatten(1, 2)
    video = make("resampler", (4, 2, 2))
    assert not torch.allclose(video(frames), video(swapped), atol=1e-3)
    still = make("resampler")  # without time, features are a set
    torch.testing.assert_close(still(frames), still(swapped))


def test_a_qformer_reads_the_instruction() -> None:
    connector = make("qformer", instruction=True, vocab=50, hidden=16, heads=2).eval()
    ask = lambda *ids: (torch.tensor([list(ids)] * 3), torch.ones(3, len(ids), dtype=torch.long))
    one, other = connector(features(), ask(4, 5, 6)), connector(features(), ask(4, 9, 6))
    assert not torch.allclose(one, other, atol=1e-4)
    ids, mask = ask(4, 5, 6)
    padded = torch.cat([ids, ids], 1), torch.cat([mask, 0 * mask], 1)
    torch.testing.assert_close(connector(features(), padded), one)
    with pytest.raises(BadRecipe, match="none was given"):
        connector(features())


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


@pytest.mark.parametrize("name", TOKEN_LEVEL)
def test_frames_have_a_position_in_time_when_asked(name: str) -> None:
    plain, timed = make(name, (4, 2, 2), time=False), make(name, (4, 2, 2), time=True)
    assert set(timed.state_dict()) - set(plain.state_dict()) == {"time"}
    timed.load_state_dict(plain.state_dict() | {"time": torch.zeros(4, 1, WIDTH)})
    assert torch.equal(timed(features()), plain(features()))
    if name != "resampler":
        assert not make(name, (4, 2, 2), time=True).time.any(), "zero at the start"
    with torch.no_grad():
        timed.time.normal_()
        for part in (plain, timed):
            part.mean.fill_(0.5)
            part.std.fill_(2.0)
    by_hand = features() + 2 * timed.time.expand(-1, 4, -1).reshape(16, WIDTH)
    torch.testing.assert_close(timed(features()), plain(by_hand))
    timed(features()).square().sum().backward()
    assert bool(timed.time.grad.any())
    assert make(name, GRID, time=True).state_dict().keys() == make(name, GRID).state_dict().keys(), "a picture has none"


@pytest.mark.parametrize("memory", ["features", *TOKEN_LEVEL])
def test_frames_have_a_position_in_time_in_a_memory(memory: str) -> None:
    connector = make("gated-cross-attention", (4, 2, 2), memory=memory, time=True)
    owner = connector if memory == "features" else connector.memory
    assert owner.time.shape == (4, 1, WIDTH)
    expert = make("visual-expert", (4, 2, 2), memory=memory, time=True) if memory != "features" else None
    assert expert is None or expert.memory.time.shape == (4, 1, WIDTH)
