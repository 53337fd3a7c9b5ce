"""The loop on a toy objective: skips, divergence, the schedule, checkpoints and what damages them."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from isthmus.data.seen import Seen
from isthmus.errors import BadCheckpoint, BadRecipe, Interrupted, IsthmusError
from isthmus.train import loop, state
from isthmus.train.mixture import Mixture
from isthmus.train.order import Order, Weighted, order
from isthmus.train.recipe import Mix, Stage
from isthmus.train.state import Progressed
from isthmus.train.world import world
from isthmus.types import Image, Sample, Turn

QUIET = Console(quiet=True)
SAMPLES = [Sample(f"s{i}", (Image(b""),), (Turn("?", "a"),)) for i in range(12)]


class Toy:
    """(w . f)^2 averaged; batches that hold a sample of `poison` give what `how` says."""

    def __init__(self, poison: set[str] = frozenset(), how: float = float("nan")) -> None:  # type: ignore[assignment]
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(4))
        self.idle = torch.nn.Parameter(torch.zeros(2))
        self.poison, self.how, self.seen = poison, how, []  # type: ignore[var-annotated]

    def __call__(self, samples: list[Sample], seen: Seen) -> tuple[Tensor, int]:
        self.seen.append([sample.id for sample in samples])
        loss = (seen.features("image")[0].flatten(1) @ self.weight).pow(2).mean()
        if self.poison & {sample.id for sample in samples}:
            loss = loss * self.how if self.how == self.how else loss * float("nan")
        return loss, 1

    def finish(self) -> None:
        """Nothing."""


def run(toy: Toy, folder: Path, steps: int = 12, groups: list[Any] | None = None, **options: Any) -> Progressed:
    features = torch.randn(12, 1, 4, generator=torch.Generator().manual_seed(1))
    stage = Stage(name="toy", train={"llm": 1.0}, data={"x": Mix()}, steps=steps, batch=2, warmup=2)
    groups = groups or [{"name": "w", "params": [toy.weight], "lr": 0.1}]
    mixture = Mixture(SAMPLES, [Mix()] * 12, Seen.of("image", features, 1))
    return loop.run_stage(stage, toy, mixture, groups, folder / "toy", console=QUIET, **options)


@pytest.mark.parametrize("how", [float("nan"), float("inf")])
def test_a_bad_batch_is_skipped_and_recorded(tmp_path: Path, how: float) -> None:
    toy = Toy({"s3"}, how)
    done = run(toy, tmp_path)
    assert done.step == 12
    assert [point[0] for point in done.points] == list(range(1, 13))
    assert all(point[2] == point[2] for point in done.points)
    assert len(done.skipped) in (2, 3)
    assert all("s3" in ids for ids in done.skipped)
    assert len(toy.seen) == 12 + len(done.skipped)
    order = Order([1] * 12, 2, "0/toy")  # skips take a place in the order, and no step
    assert toy.seen == [[SAMPLES[i].id for i in order[place]] for place in range(len(toy.seen))]
    assert toy.weight.isfinite().all()


def test_a_bad_gradient_changes_nothing(tmp_path: Path) -> None:
    toy = Toy()
    before = toy.weight.detach().clone()
    toy.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(IsthmusError, match="not finite for 5 batches in a row after step 0"):
        run(toy, tmp_path)
    assert torch.equal(toy.weight, before)


def test_a_bad_batch_leaves_no_trace_in_buffers(tmp_path: Path) -> None:
    """Such as a batch norm's statistics, which follow every batch that passes."""
    seen = torch.zeros(())
    call = Toy.__call__

    class Counts(Toy):
        def __call__(self, samples: list[Sample], features: Seen) -> tuple[Tensor, int]:
            seen.add_(float("nan") if any(sample.id == "s3" for sample in samples) else 1)
            return call(self, samples, features)

    toy = Counts({"s3"})
    done = run(toy, tmp_path, groups=[{"name": "w", "params": [toy.weight], "lr": 0.1, "buffers": [seen]}])
    assert done.skipped
    assert seen == done.step
    again, other = torch.zeros(()), Toy()
    state.restore(tmp_path / "toy", [other.weight], torch.optim.AdamW([other.weight]), [again])
    assert again == seen


def test_divergence_stops_with_a_state_from_before(tmp_path: Path) -> None:
    toy = Toy()
    call = toy.__class__.__call__
    weights = []

    class Breaks(Toy):
        def __call__(self, samples: list[Sample], features: Tensor) -> tuple[Tensor, int]:
            weights.append(self.weight.detach().clone())
            loss, tokens = call(self, samples, features)
            return (loss * float("nan"), tokens) if len(self.seen) > 4 else (loss, tokens)

    breaks = Breaks()
    with pytest.raises(IsthmusError, match=r"after step 4\. Samples: s\d+, .*state from before them is in .*toy"):
        run(breaks, tmp_path)
    assert torch.equal(breaks.weight, weights[4])
    other = Toy()
    optimizer = torch.optim.AdamW([other.weight])
    done = state.restore(tmp_path / "toy", [other.weight], optimizer)
    assert (done.step, done.skipped, done.place) == (4, [], 4)
    assert torch.equal(other.weight, weights[4])
    assert run(Toy(), tmp_path, resume=True).step == 12  # the data mended, the run goes on


def test_the_next_batch_is_read_while_this_one_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = threading.Semaphore(0)
    take = Mixture.take
    monkeypatch.setattr(Mixture, "take", lambda self, indices: (take(self, indices), taken.release())[0])

    class Waits(Toy):
        def __call__(self, samples: list[Sample], seen: Seen) -> tuple[Tensor, int]:
            own = 2 if len(self.seen) == 0 else 1 if len(self.seen) < 11 else 0  # this batch's and the next one's
            assert all(taken.acquire(timeout=20) for _ in range(own))
            return super().__call__(samples, seen)

    assert run(Waits(), tmp_path).step == 12


def test_a_check_that_is_not_finite_is_not_the_best() -> None:
    nan = float("nan")
    assert Progressed(checks=[(1, nan), (2, 1.0), (3, 0.5), (4, nan)]).best == (3, 0.5)
    assert Progressed(checks=[(1, nan)]).best is None


def test_weights_that_helped_are_left_in_a_checkpoint(tmp_path: Path) -> None:
    weights = [torch.arange(3.0), torch.ones(2, 2)]
    state.save(tmp_path / "s", weights, None, Progressed(step=4), [torch.tensor(7.0)])
    one, buffer = torch.zeros(3), torch.tensor(0.0)
    with pytest.raises(BadCheckpoint, match="other trained parts"):
        state.restore(tmp_path / "s", [one], None, [buffer])
    assert state.restore(tmp_path / "s", [one], None, [buffer], helped=True).step == 4
    assert (one.tolist(), buffer.item()) == ([0, 1, 2], 7)
    assert state.step(tmp_path / "s") == 4
    assert state.step(tmp_path / "other") is None


def test_one_process_divides_nothing() -> None:
    with pytest.raises(BadRecipe, match="one process has nobody to share with"), world("all"):
        pass


def test_a_part_without_gradient_is_an_error(tmp_path: Path) -> None:
    toy = Toy()
    groups = [{"name": "w", "params": [toy.weight], "lr": 0.1}, {"name": "llm", "params": [toy.idle], "lr": 0.1}]
    with pytest.raises(BadRecipe, match="gives llm no gradient"):
        run(toy, tmp_path, groups=groups)


def test_ctrl_c_after_the_last_step_is_not_lost(tmp_path: Path) -> None:
    class Late(Toy):
        def finish(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="at the end of stage toy; saved"):
        run(Late(), tmp_path)
    assert run(Toy(), tmp_path, resume=True).step == 12


def test_the_schedule() -> None:
    rates = [loop.rate(step, 50, 10) for step in range(50)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(loop.FLOOR, abs=0.01)
    assert loop.rate(0, 1, 0) == 1.0


def test_order_is_a_function_of_the_step() -> None:
    lengths = [1 + i % 5 for i in range(103)]
    one, two = Order(lengths, 4, "7"), Order(lengths, 4, "7")
    steps = list(range(60))
    plan = {step: one[step] for step in steps}
    assert {step: two[step] for step in reversed(steps)} == plan
    epoch = -(-103 // 4)
    assert sorted(i for step in range(epoch) for i in plan[step]) == list(range(103))
    assert Order(lengths, 4, "8")[0] != plan[0]


def test_data_that_changed_are_noticed(tmp_path: Path) -> None:
    run(Toy(), tmp_path, steps=3)
    facts = json.loads((tmp_path / "toy/state.json").read_text())
    facts["progress"]["data"] = "other"
    (tmp_path / "toy/state.json").write_text(json.dumps(facts))
    remanifest(tmp_path / "toy")
    with pytest.raises(BadCheckpoint, match="samples, pictures or parts changed"):
        run(Toy(), tmp_path, resume=True)


def test_parts_that_changed_are_noticed(tmp_path: Path) -> None:
    run(Toy(), tmp_path, steps=3, parts=["a" * 64, "b" * 64])
    run(Toy(), tmp_path, steps=3, parts=["a" * 64, "b" * 64], resume=True)
    with pytest.raises(BadCheckpoint, match="parts changed"):
        run(Toy(), tmp_path, steps=3, parts=["a" * 64, "c" * 64], resume=True)


def test_the_digest_of_the_data_follows_their_features() -> None:
    features = torch.randn(12, 1, 4)
    both = [Seen.of("image", tensor, 1) for tensor in (features, features.clone())]
    one, two = (Mixture(SAMPLES, [Mix()] * 12, seen) for seen in both)
    assert one.digest == two.digest
    both[1].store["image"][7, 0, 2] += 1e-3
    assert one.digest != two.digest


def remanifest(folder: Path) -> None:
    from isthmus.parts import cache

    (folder / cache.MANIFEST).unlink()
    cache.write_manifest(folder, {})


def test_a_full_disk_leaves_the_state_before(tmp_path: Path) -> None:
    toy = Toy()
    optimizer = torch.optim.AdamW([toy.weight])
    state.save(tmp_path / "toy", [toy.weight], optimizer, Progressed(step=3))
    before = {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()}
    big = torch.nn.Parameter(torch.zeros(100_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # as on a full disk, writing fails half way
    try:
        with pytest.raises(IsthmusError, match=r"was not written: .*What was there is unchanged"):
            state.save(tmp_path / "toy", [big], optimizer, Progressed(step=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    toy = Toy()
    optimizer = torch.optim.AdamW([toy.weight])
    state.save(tmp_path / "toy", [toy.weight], optimizer, Progressed(step=3))
    (tmp_path / "toy").rename(tmp_path / ".replaced-toy")
    assert state.restore(tmp_path / "toy", [toy.weight], optimizer).step == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "no manifest", "not json", "foreign"])
def test_damaged_states_are_refused(tmp_path: Path, damage: str) -> None:
    toy, folder = Toy(), tmp_path / "toy"
    optimizer = torch.optim.AdamW([toy.weight])
    state.save(folder, [toy.weight], optimizer, Progressed(step=3))
    tensors = folder / "state.safetensors"
    if damage == "flip":
        tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x01")
    elif damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-4])
    elif damage == "missing":
        tensors.unlink()
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    elif damage == "not json":
        (folder / "state.json").write_text("{")
    else:
        toy.weight = torch.nn.Parameter(torch.zeros(7))
    with pytest.raises(BadCheckpoint, match="start"):
        state.restore(folder, [toy.weight], optimizer)


def test_data_sets_have_their_shares() -> None:
    sizes, weights = [5, 1000, 50], [1.0, 2.0, 0.5]
    lengths = list(range(sum(sizes)))

    def plan() -> Weighted:
        return Weighted(lengths, 8, "0", sizes, weights)

    steps = [plan()[step] for step in (0, 40, 41, 7)]
    first = plan()
    drawn = [first[step] for step in range(160)]
    assert steps == [drawn[step] for step in (0, 40, 41, 7)]  # whatever was asked before: a resumed run goes on
    assert all(len(batch) == 8 for batch in drawn)
    flat = [index for batch in drawn for index in batch]
    own = [[index for index in flat if start <= index < end] for start, end in ((0, 5), (5, 1005), (1005, 1055))]
    shares = [len(some) / len(flat) for some in own]
    assert shares == pytest.approx([weight / sum(weights) for weight in weights], abs=0.01)
    for some, size in zip(own, sizes, strict=True):  # each comes once before one comes again
        counts = {index: some.count(index) for index in some}
        assert len(counts) == min(size, len(some))
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_temperature_evens_the_shares() -> None:
    mixes = [Mix()] * 10 + [Mix()] * 1000
    samples = [Sample(f"s{i}", (), (Turn("?", "a"),)) for i in range(1010)]
    mixture = Mixture(samples, mixes)
    stage = Stage(name="toy", train={"llm": 1.0}, data={"x": Mix()}, steps=1, batch=10, temperature=2.0)
    batches = order(mixture, stage, 0)
    drawn = [index for step in range(320) for index in batches[step]]
    assert sum(index < 10 for index in drawn) / len(drawn) == pytest.approx(10**0.5 / (10**0.5 + 1000**0.5), abs=0.01)
    assert isinstance(order(mixture, stage.model_copy(update={"temperature": None}), 0), Order)
