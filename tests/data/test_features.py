"""The feature cache: keys, interruption, a second run, damage."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from isthmus.data import features
from isthmus.data.features import BATCH, FeatureCache, Source, TooLarge
from isthmus.errors import IsthmusError
from isthmus.media.forms import key


class Encoder:
    """Mean colours, [N, 2, 3], and how many pictures it was asked for."""

    def __init__(self, fails_after: int = 10**9) -> None:
        self.seen, self.left = 0, fails_after

    def __call__(self, pictures: list[PIL.Image.Image]) -> tuple[Tensor, None]:
        if self.seen + len(pictures) > self.left:
            raise KeyboardInterrupt
        self.seen += len(pictures)
        means = [torch.from_numpy(np.array(picture, dtype=np.float32)).mean((0, 1)) for picture in pictures]
        return torch.stack(means).unsqueeze(1).repeat(1, 2, 1), None


def pictures(count: int, size: tuple[int, int] = (4, 2)) -> list[PIL.Image.Image]:
    return [PIL.Image.new("RGB", size, (i, 2 * i % 256, 7)) for i in range(count)]


def given(media: Iterable[Any]) -> Iterator[Source]:
    """Media without names."""
    return (Source("", functools.partial(lambda own: own, medium)) for medium in media)


def get(folder: Path, encoder: Encoder, some: list[PIL.Image.Image], name: str = "e") -> Tensor:
    store = FeatureCache(folder, name)
    try:
        found, valid, pieces = store.get(given([picture] for picture in some), len(some), encoder)
        assert valid is None
        return found[[row for (row,) in pieces]]
    finally:
        store.close()


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    first, second, other = Encoder(), Encoder(), Encoder()
    some = pictures(70)
    one = get(tmp_path, first, some)
    assert (first.seen, one.shape, one.dtype) == (70, (70, 2, 3), torch.float16)
    assert one[5, 0].tolist() == [5, 10, 7]
    assert torch.equal(get(tmp_path, second, some[::-1]), one.flip(0))
    assert second.seen == 0
    get(tmp_path, other, some[:3], "another-encoder")
    assert other.seen == 3


def test_equal_pictures_are_computed_once(tmp_path: Path) -> None:
    encoder = Encoder()
    some = pictures(2) * 40
    found = get(tmp_path, encoder, some)
    assert encoder.seen == 2
    assert torch.equal(found, found[:2].repeat(40, 1, 1))


def test_equal_bytes_of_other_shapes_differ(tmp_path: Path) -> None:
    wide, high = PIL.Image.new("RGB", (4, 2), "red"), PIL.Image.new("RGB", (2, 4), "red")
    grey = PIL.Image.new("L", (8, 3))
    assert wide.tobytes() == high.tobytes()
    assert len({key(wide), key(high), key(grey), key(PIL.Image.new("RGB", (8, 1)))}) == 4
    encoder = Encoder()
    get(tmp_path, encoder, [wide, high])
    assert encoder.seen == 2


def test_an_interrupted_computation_keeps_what_it_had(tmp_path: Path) -> None:
    some = pictures(3 * BATCH)
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, Encoder(fails_after=2 * BATCH), some)
    rest = Encoder()
    get(tmp_path, rest, some)
    assert rest.seen == BATCH


def test_pictures_are_drawn_as_they_are_needed(tmp_path: Path) -> None:
    drawn = 0

    def lazily() -> object:
        nonlocal drawn
        for picture in pictures(3 * BATCH):
            drawn += 1
            yield [picture]

    held: list[int] = []

    def encode(some: list[PIL.Image.Image]) -> tuple[Tensor, None]:
        held.append(drawn - sum(held))
        return torch.zeros(len(some), 1, 1), None

    store = FeatureCache(tmp_path, "e")
    store.get(given(lazily()), 3 * BATCH, encode)  # type: ignore[arg-type]
    store.close()
    assert held == [BATCH] * 3, "each batch is encoded before the next one is drawn"


def test_media_of_several_pieces_and_of_different_lengths(tmp_path: Path) -> None:
    """Sounds of one to three windows: features say which window they are of, lengths come back from the file too."""
    sounds = [
        [np.full(4 + window, 10 * medium + window, np.float32) for window in range(medium + 1)] for medium in range(3)
    ]
    calls: list[int] = []

    def encode(windows: list[np.ndarray]) -> tuple[Tensor, Tensor]:  # type: ignore[type-arg]
        calls.append(len(windows))
        return torch.tensor([[[w[0]], [w[0]]] for w in windows]), torch.tensor([len(w) for w in windows])

    for _ in range(2):
        store = FeatureCache(tmp_path, "sounds")
        found, valid, pieces = store.get(given([*sounds, sounds[1]]), 4, encode)
        store.close()
        assert [found[some][:, 1, 0].tolist() for some in pieces] == [
            [0],
            [10, 11],
            [20, 21, 22],
            [10, 11],
        ]
        assert valid is not None
        assert valid.tolist() == [4, 4, 5, 4, 5, 6]
        assert found.shape == (6, 2, 1), "what is the same stands once"
    assert calls == [6], "all of it came from the file the second time"


def test_damage_and_infinity_are_named(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e/index.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(IsthmusError, match=r"index\.sqlite cannot be used: .*delete its folder"):
        get(tmp_path, Encoder(), pictures(1))
    store = FeatureCache(tmp_path, "f")
    with pytest.raises(IsthmusError, match="not finite in float16"):
        store.get(given([pictures(1)]), 1, lambda some: (torch.full((1, 1, 1), 1e6), None))
    store.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(IsthmusError, match="cannot be used"):
        FeatureCache(tmp_path / "file", "e")


def test_shards_are_mapped_and_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SHARD", 300)
    some = pictures(3 * BATCH)
    found = get(tmp_path, Encoder(), some)
    files = sorted((tmp_path / "e").glob("*.f16"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 3
    store = FeatureCache(tmp_path, "e")
    rows, _, _ = store.get(given([picture] for picture in some), len(some), Encoder(fails_after=0))
    store.close()
    assert all(isinstance(shard, np.memmap) for shard in rows.shards)
    for index in (5, [0, 95, 40], slice(90, None)):
        assert torch.equal(rows[index], found[index])
    os.utime(files[1], (1, 1))  # it was not used for long
    monkeypatch.setenv("ISTHMUS_FEATURES_GB", str((4 * BATCH * 12 - 1) / 1e9))
    get(tmp_path, Encoder(), pictures(BATCH, (8, 8)), "other")
    assert [path.exists() for path in files] == [True, False, True]
    assert torch.equal(rows[BATCH : 2 * BATCH], found[BATCH : 2 * BATCH]), "what is mapped stays readable"
    monkeypatch.delenv("ISTHMUS_FEATURES_GB")
    again = Encoder()
    assert torch.equal(get(tmp_path, again, some), found)
    assert again.seen == BATCH, "what was deleted is computed anew"


def test_features_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_FEATURES_GB", str(2.5 * BATCH * 12 / 1e9))
    with pytest.raises(TooLarge, match=r"features of 64 of 96 media fill the .* Set ISTHMUS_FEATURES_GB to more"):
        get(tmp_path, Encoder(), pictures(3 * BATCH))


def test_what_a_batch_found_is_not_deleted_for_its_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SHARD", 1)
    for start in (0, 8):
        get(tmp_path, Encoder(), pictures(16)[start : start + 8])
    monkeypatch.setenv("ISTHMUS_FEATURES_GB", str(2.5 * 8 * 12 / 1e9))
    some = pictures(24)
    found = get(tmp_path, Encoder(), [*some[:4], *some[16:]])
    assert found[:, 0, 0].tolist() == [0, 1, 2, 3, *range(16, 24)]


def write(folder: Path, start: int) -> float:
    return float(get(folder, Encoder(), pictures(120)[start : start + 80]).sum())


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        sums = list(pool.map(write, [tmp_path] * 3, [0, 20, 40]))
    encoder = Encoder()
    found = get(tmp_path, encoder, pictures(120))
    assert encoder.seen == 0
    assert sums == [float(found[start : start + 80].sum()) for start in (0, 20, 40)]


def test_what_has_a_name_is_read_once(tmp_path: Path) -> None:
    read: list[int] = []

    def source(number: int) -> Source:
        def own() -> Any:
            read.append(number)
            return None if number == 3 else [pictures(9)[number]]

        return Source(f"picture {number}", own)

    encoder, wanted = Encoder(), [0, 1, 2, 3, 1]
    for name in ("e", "e", "another-encoder"):
        store = FeatureCache(tmp_path, name)
        found, _, pieces = store.get(map(source, wanted), 5, encoder)
        store.close()
        assert pieces[3] is None  # nothing is known of what is left out, so it is tried again
        assert [found[pieces[i][0]][0, 0] for i in (0, 1, 2, 4)] == [0, 1, 2, 1]
    assert read == [0, 1, 2, 3, 1, 3, 0, 1, 2, 3, 1]
    assert encoder.seen == 6
    for shard in (tmp_path / "e").glob("*.f16"):
        shard.unlink()  # as when room was needed
    store = FeatureCache(tmp_path, "e")
    store.get(map(source, [2]), 1, encoder)
    store.close()
    assert read[-1] == 2


def test_a_known_medium_that_changed_unnoticed_is_found_out_when_it_is_read(tmp_path: Path) -> None:
    one, two = pictures(2)
    for content, expected in ((one, [0]), (two, [1]), (None, [])):
        store = FeatureCache(tmp_path, "e")
        found, _, pieces = store.get([Source("file", lambda own=content: own and [own])], 1, Encoder())
        store.close()
        assert [found[row][0, 0].item() for own in pieces if own is not None for row in own] == expected
        for shard in (tmp_path / "e").glob("*.f16"):
            shard.unlink()  # as when room was needed


def test_a_shard_that_another_process_deletes_is_read_on(tmp_path: Path) -> None:
    get(tmp_path, Encoder(), some := pictures(BATCH))
    store, (shard,) = FeatureCache(tmp_path, "e"), (tmp_path / "e").glob("*.f16")

    def deleted() -> Iterator[Any]:
        for picture in [*some, *pictures(2 * BATCH)[BATCH:]]:
            yield [picture]
        assert not shard.exists()

    def encode(pieces: Any) -> Any:
        shard.unlink()  # the second batch is encoded, when the first was found
        return Encoder()(pieces)

    found, _, pieces = store.get(given(deleted()), 2 * BATCH, encode)
    store.close()
    assert [int(found[own[0]][0, 0]) for own in pieces] == list(range(2 * BATCH))
