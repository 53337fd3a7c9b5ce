"""Geometry against slow references; what the point transformer promises beyond the contract; its masked pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from isthmus.encoders import point_transformer as module
from isthmus.encoders._geometry import chamfer, farthest, nearest, take
from isthmus.encoders._reader import Reader
from isthmus.errors import BadMedia

SIZES: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def config(**more: Any) -> module.PointTransformerConfig:
    return module.PointTransformerConfig(**SIZES | {"num_groups": 6, "group_size": 5, "decoder_layers": 1} | more)


def slow_farthest(points: list[list[float]], count: int) -> list[int]:
    """By the definition, point by point."""

    def gap(a: list[float], b: list[float]) -> float:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    mean = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    chosen = [max(range(len(points)), key=lambda i: gap(points[i], mean))]
    while len(chosen) < count:
        chosen.append(max(range(len(points)), key=lambda i: min(gap(points[i], points[j]) for j in chosen)))
    return chosen


def clouds(B: int, P: int, C: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(B, P, C, generator=torch.Generator().manual_seed(seed))


def test_farthest_points_are_those_of_the_definition() -> None:
    points = clouds(4, 30)
    assert farthest(points, 12).tolist() == [slow_farthest(cloud.tolist(), 12) for cloud in points]
    valid = torch.tensor([30, 12, 14, 20])
    wanted = [slow_farthest(cloud[:n].tolist(), 12) for cloud, n in zip(points, valid, strict=True)]
    assert farthest(points, 12, valid).tolist() == wanted


def test_nearest_points_are_those_of_the_definition() -> None:
    points, centres = clouds(3, 20), clouds(3, 4, seed=1)
    valid = torch.tensor([20, 9, 3])
    found = nearest(centres, points, 5, valid)
    for b in range(3):
        for g in range(4):
            order = sorted(range(int(valid[b])), key=lambda i: float((points[b, i] - centres[b, g]).square().sum()))
            wanted = (order + [order[0]] * 5)[:5]
            assert found[b, g].tolist() == wanted
    assert nearest(centres, points[:, :2], 5).shape == (3, 4, 5)
    torch.testing.assert_close(take(points, found)[1, 2, 3], points[1, found[1, 2, 3]])


def test_chamfer_is_that_of_the_definition() -> None:
    a, b = clouds(2, 7), clouds(2, 4, seed=1)
    for row, wanted in enumerate(chamfer(a, b)):
        to = sum(min(float((x - y).square().sum()) for y in b[row]) for x in a[row]) / 7
        fro = sum(min(float((x - y).square().sum()) for x in a[row]) for y in b[row]) / 4
        assert float(wanted) == pytest.approx(to + fro, rel=1e-5)
    assert chamfer(a, a[:, torch.randperm(7)]).tolist() == [0, 0]


def test_the_order_of_points_changes_nothing() -> None:
    model = module.PointTransformerModel(config(channels=6)).eval()
    points = clouds(3, 40, 6)
    with torch.no_grad():
        x, y = (module.encode(model, p) for p in (points, points[:, torch.randperm(40)]))
    torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)


def test_clouds_smaller_than_a_group_and_than_the_groups() -> None:
    model = module.PointTransformerModel(config()).eval()
    points = clouds(2, 40)
    valid = torch.tensor([3, 40])
    with torch.no_grad():
        x = module.encode(model, points, valid)
        alone = module.encode(model, points[:1, :3], valid[:1])
        whole = module.encode(model, points[1:])
    assert module.kept(model.config, 40, 3) == 3
    torch.testing.assert_close(x[0, :3], alone[0, :3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x[1:], whole, atol=1e-5, rtol=1e-5)


def test_points_of_another_kind_are_refused() -> None:
    with pytest.raises(BadMedia, match="points of 6 numbers; this part takes 3"):
        module.encode(module.PointTransformerModel(config()), clouds(1, 9, 6))
    for cloud, says in (
        (np.zeros((4, 6), np.float32), "points of 6 numbers; this model's encoder takes 3"),
        (np.zeros((0, 3), np.float32), r"shape \(0, 3\)"),
        (np.full((4, 3), np.nan, np.float32), "not finite"),
    ):
        with pytest.raises(BadMedia, match=says):
            module.prepare(Reader(span=8), [cloud])


def test_a_cloud_is_brought_into_the_unit_sphere() -> None:
    small, large = (clouds(1, P, seed=P)[0] * 7 + 3 for P in (5, 30))
    points, valid = module.prepare(Reader(span=8), [small.numpy(), large.numpy()])
    assert points.shape == (2, 8, 3)
    assert valid.tolist() == [5, 8]
    assert not points[0, 5:].any()
    for cloud in (points[0, :5], points[1]):
        torch.testing.assert_close(cloud.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(cloud.norm(dim=1).max(), torch.tensor(1.0))
    same, _ = module.prepare(Reader(span=8), [np.ones((3, 3), np.float32)])
    assert same.isfinite().all()


def test_a_sized_part_tells_a_cup_from_a_sofa() -> None:
    cloud = clouds(1, 12)[0].numpy()
    points, _ = module.prepare(Reader(span=12, sized=True), [cloud, 10 * cloud])
    assert points.shape == (2, 12, 4)
    torch.testing.assert_close(points[0, :, :3], points[1, :, :3])
    radius = np.linalg.norm(cloud - cloud.mean(0), axis=1).max()
    torch.testing.assert_close(points[..., 3], torch.tensor([radius / 100, radius / 10]).log()[:, None].expand(2, 12))
    model = module.fresh(12, groups=6, group_size=5, width=24, layers=1, heads=4, group_width=16, sized=True).eval()
    assert (model.tokens.both[0].in_features, model.tokens.each[0].in_features) == (32, 3)
    with torch.no_grad():
        small, large = module.encode(model, points)
    assert not torch.allclose(small, large)
    assert module.masked(model)(points).isfinite()
    with pytest.raises(BadMedia, match="points of 3 numbers; this part takes 4"):
        module.encode(model, points[..., :3])


def test_whether_a_part_is_sized_is_kept_with_it(tmp_path: Path) -> None:
    module.fresh(12, groups=6, group_size=5, width=24, layers=1, heads=4, group_width=16, sized=True).save_pretrained(
        tmp_path
    )
    assert module.load(tmp_path).blocks.position[0].in_features == 4
    reader = module.reader(tmp_path, 12)
    assert (reader.channels, reader.sized) == (3, True)
    reader.save_pretrained(tmp_path)
    assert Reader.from_pretrained(tmp_path).sized is True


def shape(number: int, generator: torch.Generator) -> Tensor:
    """Points on a ball, a box or a disc."""
    points = torch.randn(96, 3, generator=generator)
    if number % 3 == 0:
        return points / points.norm(dim=1, keepdim=True)
    if number % 3 == 1:
        return points / points.abs().amax(1, keepdim=True)
    return points * torch.tensor([1, 1, 0]) / points.norm(dim=1).amax()


def test_masked_pretraining_learns_and_its_encoder_is_a_part(tmp_path: Path) -> None:
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(0)
    model = module.PointTransformerForMaskedPretraining(config(num_groups=8, group_size=8))
    points = torch.stack([shape(number, draw) for number in range(12)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = model(points, generator=draw)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(weight.grad is not None for weight in model.parameters())
    said_nothing = model.encoder.group(points)[1].square().sum(-1).mean()  # every point at its group's centre
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])
    assert np.mean(losses[-5:]) < 0.5 * said_nothing
    model.save_pretrained(tmp_path / "whole")
    model.encoder.save_pretrained(tmp_path / "part")
    with torch.no_grad():
        wanted = model.encoder(points).last_hidden_state
        for folder in ("whole", "part"):
            torch.testing.assert_close(module.encode(module.load(tmp_path / folder), points), wanted)
        torch.testing.assert_close(AutoModel.from_pretrained(tmp_path / "part")(points).last_hidden_state, wanted)


def test_what_fills_a_cloud_up_changes_no_loss() -> None:
    model = module.masked(module.PointTransformerModel(config()))
    points = clouds(1, 40)
    filled, valid = torch.cat([points, clouds(1, 9, seed=1)], 1), torch.tensor([40])
    losses = [model(some, valid, generator=torch.Generator().manual_seed(3)) for some in (points, filled)]
    torch.testing.assert_close(losses[0], losses[1])


def test_the_loss_is_over_hidden_groups_and_the_encoder_sees_the_others() -> None:
    model = module.PointTransformerForMaskedPretraining(config(mask_ratio=0.5))
    points, seen = clouds(2, 40), []
    model.encoder.blocks.register_forward_pre_hook(lambda _, arguments: seen.append(arguments))
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)  # it says that every hidden point is at its group's centre
    loss = model(points, generator=torch.Generator().manual_seed(3))
    order = torch.rand(2, 6, generator=torch.Generator().manual_seed(3)).argsort(1)
    centres, groups = model.encoder.group(points)
    tokens = model.encoder.tokens(groups)
    for row in range(2):
        for place, number in enumerate(order[row, :3]):
            torch.testing.assert_close(seen[0][0][row, place], tokens[row, number])
            torch.testing.assert_close(seen[0][1][row, place], centres[row, number])
    assert seen[0][0].shape[1] == 3
    hidden = torch.stack([groups[row, number] for row in range(2) for number in order[row, 3:]])
    assert loss.item() == pytest.approx(
        hidden.square().sum(-1).mean().item(), rel=1e-5
    )  # a centre is one of its points
