"""Any kind of media, through its encoder and connector to an answer; several kinds at once; checkpoints of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from tiny_parts import Built
from tiny_senses import KINDS, medium, sense

import isthmus
from isthmus.chat import Chat, _command
from isthmus.errors import BadCheckpoint, BadData, BadMedia, BadRecipe
from isthmus.media.forms import Signal
from isthmus.model import compose, load, save_full
from isthmus.registry import names
from isthmus.types import Audio, Image, Message, Points, Series, Video


@pytest.fixture
def make(folders: dict[str, str], tmp_path: Path) -> Callable[..., Built]:
    """A tiny Llama with the senses of these encoders, each through a connector of large random weights."""

    def build(*names: str, connector: str = "mlp", **options: Any) -> Built:
        senses = {KINDS[name]: sense(name, tmp_path, connector, **options) for name in names}
        built = compose(folders["llama"], **{"image": None} | senses)
        torch.manual_seed(1)
        for weight in built[0].connectors.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        return built

    return build


def answers(built: Built, talks: Any) -> list[list[int]]:
    model, processor = built
    inputs = processor.encode(talks)
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    return out[:, inputs["input_ids"].shape[1] :].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("connector", names("isthmus.connectors"))
@pytest.mark.parametrize("name", list(KINDS))
def test_a_kind_to_an_answer(make: Callable[..., Built], name: str, connector: str, tmp_path: Path) -> None:
    few = {"tokens": 4}
    tokens = {"resampler": few, "qformer": few | {"hidden": 16, "heads": 2}}.get(connector, {})
    built = make(name, connector=connector, **tokens)
    for block in getattr(built[0].connectors[KINDS[name]], "blocks", []):
        torch.nn.init.constant_(block.gate_attention, 1.0)
    some = [medium(name, seed, long) for seed, long in ((0, 1.0), (1, 0.5), (2, 1.0))]
    talks = [
        [Message("user", "is it ?", (some[0],))],
        [
            Message("user", "is it red ?", (some[1],)),
            Message("assistant", "yes"),
            Message("user", "what ?", (some[2],)),
        ],
        [Message("user", "is it ?")],
    ]
    together = answers(built, talks)
    assert together == [answers(built, [talk])[0] for talk in talks], "a batch equals its rows"
    save_full(*built, tmp_path / "whole")
    assert answers(load(tmp_path / "whole"), talks) == together
    model, processor = built
    first, other = (processor.encode([[Message("user", "is it ?", (one,))]]) for one in (some[0], some[2]))
    assert first["input_ids"].shape == other["input_ids"].shape
    with torch.no_grad():
        far = (model(**first).logits[:, -1] - model(**other).logits[:, -1]).abs().max()
    assert far > (1e-4 if connector == "qformer" else 1e-3)  # fresh queries look at all features nearly alike


@pytest.mark.parametrize("name", ["whisper", "wav2vec2"])
def test_a_shorter_sound_takes_fewer_slots_and_a_longer_one_has_pieces(make: Callable[..., Built], name: str) -> None:
    model, processor = make(name)
    most = model.connectors["audio"].num_tokens  # of one piece
    (_, slots) = processor.prepare([medium(name, 0, long) for long in (0.5, 2.5)])
    short, long = slots
    assert len(short) == 1
    assert 0 < short[0][1] < most
    assert len(long) > 1
    assert [count for _, count in long[:-1]] == [most] * (len(long) - 1)
    with torch.no_grad():
        batch = processor("is it ?", media=medium(name, 0, 2.5))
        assert model(**batch).logits.shape[1] == batch["input_ids"].shape[1]


def test_any_mixture_of_kinds(make: Callable[..., Built]) -> None:
    """In any order, several of a kind, over several turns, in rows that lack some of them; beams too."""
    names = ["vit", "whisper", "videomae", "point-transformer", "patchtst"]
    model, processor = built = make(*names)
    image, audio, video, points, series = (medium(name, 3) for name in names)
    talks = [
        [Message("user", "is it ?", (audio, image, series))],
        [
            Message("user", "is it ?", (video, points)),
            Message("assistant", "no"),
            Message("user", "what ?", (image, audio)),
        ],
        [Message("user", "is it ?", (medium("whisper", 4, 0.4), audio, audio))],
        [Message("user", "what ?")],
    ]
    together = answers(built, talks)
    assert together == [answers(built, [talk])[0] for talk in talks]
    inputs = processor.encode(talks)
    beams = model.generate(**inputs, num_beams=3, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    alone = [
        model.generate(**processor.encode([talk]), num_beams=3, max_new_tokens=4, min_new_tokens=4, do_sample=False)
        for talk in talks
    ]
    assert [row[-4:] for row in beams.tolist()] == [one[0, -4:].tolist() for one in alone]


def test_an_llm_without_senses(folders: dict[str, str]) -> None:
    model, processor = compose(folders["llama"], image=None)
    with torch.no_grad():
        inputs = processor("is it red ?")
        assert torch.equal(model(**inputs).logits, model.llm(**inputs).logits)
    with pytest.raises(BadData, match="this model takes no media, not image"):
        processor("is it red ?", Image(b""))


@pytest.mark.parametrize(
    ("senses", "message"),
    [
        ({"audio": ("vit-s", "mlp")}, "audio: the encoder vit-s is for image. Those for audio: .*whisper"),
        ({"image": ("whisper", "mlp")}, "image: the encoder whisper is for audio"),
        ({"audio": ("qwen2-audio", "mlp")}, "audio: the encoder qwen2-audio has no default weights"),
        ({"video": {"encoder": "vit-s", "connector": "mlp", "frames": 0}}, "video: frames: 0"),
        ({"video": {"encoder": "vit-s", "connector": "mlp", "fps": 0}}, "video: .*no option 'fps'"),
        ({"series": {"encoder": "patchtst", "connector": "mlp", "rate": 0}}, "series: rate: 0, steps a second"),
        ({"image": {"encoder": "vit", "connector": "mlp", "rate": 9}}, "image: no option 'rate'"),
        ({"series": {"connector": "mlp"}}, "series: no encoder is named. For example: {encoder: patchtst"),
    ],
)
def test_what_cannot_be_composed(senses: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        compose("nowhere", **{"image": None} | senses)


def test_a_series_is_brought_to_the_models_rate(make: Callable[..., Built], tmp_path: Path) -> None:
    model, processor = make("patchtst", rate=50)
    slow, fast = (np.sin(np.arange(0, 0.36, 1 / rate)[:, None] * [20, 30, 40]) for rate in (50, 100))
    for name, values, rate in (("slow", slow, 50), ("fast", fast, 100)):
        rows = [f"{step / rate:.2f},{','.join(f'{v:.6f}' for v in row)}" for step, row in enumerate(values)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["time,x,y,z", *rows]))
    np.save(tmp_path / "unsaid.npy", slow.T)
    (once,) = processor.arrays(Series(tmp_path / "slow.csv"))
    (twice,) = processor.arrays(Series(tmp_path / "fast.csv"))
    np.testing.assert_allclose(twice, once, atol=1e-5)
    (unsaid,) = processor.arrays(Series(tmp_path / "unsaid.npy"))
    np.testing.assert_allclose(unsaid, once, atol=1e-5)
    assert sum(window.shape[1] for window in processor.arrays(Series(tmp_path / "unsaid.npy", rate=25))) == 35
    save_full(model, processor, tmp_path / "saved")
    _, again = load(tmp_path / "saved")
    assert again.encoders["series"]["rate"] == 50
    _, free = make("patchtst")
    assert sum(window.shape[1] for window in free.arrays(Series(tmp_path / "fast.csv"))) == 36, (
        "its own, where the model has none"
    )


@pytest.mark.parametrize("reader", ["Raeder", "pipeline", "LlamaModel", "models", None])
def test_a_checkpoint_with_an_unknown_reader_is_refused(
    make: Callable[..., Built], tmp_path: Path, reader: str | None
) -> None:
    save_full(*make("patchtst"), tmp_path / "saved")
    (tmp_path / "saved/manifest.json").unlink()
    file = tmp_path / "saved/processor_config.json"
    said = json.loads(file.read_text())
    said["encoders"]["series"]["reader"] = reader
    file.write_text(json.dumps(said))
    with pytest.raises(BadCheckpoint, match=f"saved: .*encoders.series: no reader {reader!r}. Known: Reader, Several"):
        load(tmp_path / "saved")


def test_nothing_of_a_long_series_is_lost(make: Callable[..., Built]) -> None:
    model, processor = make("patchtst", rate=50)
    series = medium("patchtst", 1, 2.5)
    values = series.source.values
    size = processor.encoders["series"]["size"]
    windows = processor.arrays(series)
    assert [window.shape[1] for window in windows] == [size] * (45 // size) + [45 % size]
    np.testing.assert_array_equal(np.concatenate(windows, 1), values)
    inputs = processor("is it ?", media=series)
    assert len(inputs["media"]["series"]) == len(windows)
    values[:, 0] += 1
    with torch.no_grad():
        other = processor("is it ?", media=Series(Signal(values, series.source.times, series.source.names)))
        assert not torch.equal(model(**inputs).logits, model(**other).logits), "its beginning is seen"


def test_a_video_of_more_frames_than_the_encoder_sees(make: Callable[..., Built]) -> None:
    _, processor = make("videomae")
    count, film = processor.encoders["video"]["frames"], medium("videomae", 1, 3)
    assert [len(piece) for piece in processor.arrays(film)] == [count]
    assert [len(piece) for piece in processor.arrays(replace(film, frames=2 * count))] == [count] * 2
    (held,) = processor.arrays(replace(film, frames=1))
    assert (held == held[:1]).all()


@pytest.mark.parametrize(
    ("name", "form", "file", "message"),
    [
        ("patchtst", Series, "a.csv", "a series of 2 channels; this model's encoder takes 3. Give it those that"),
        ("patchtst", Series, "one.csv", "no two different times, so it has no rate. Give it more rows"),
        ("videomae", Video, "a.csv", "not a video that can be read"),
        ("point-transformer", Points, "a.npy", "points without colours, and this model's encoder sees them. Give"),
    ],
)
def test_an_error_names_the_file(
    make: Callable[..., Built], tmp_path: Path, name: str, form: Any, file: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n")
    (tmp_path / "one.csv").write_text("time,x,y,z\n1,2,3,4\n")
    np.save(tmp_path / "a.npy", np.zeros((20, 3)))
    _, processor = make(name)
    if name == "point-transformer":
        processor.readers["points"].channels = 6
    for ask in (processor.arrays, lambda medium: processor("is it ?", media=medium)):
        with pytest.raises(BadMedia, match=f"^{tmp_path / file}: .*{message}"):
            ask(form(tmp_path / file))


def test_a_chat_about_sound(make: Callable[..., Built], tmp_path: Path) -> None:
    model, processor = make("whisper", "vit")
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, 3000), 8000)
    chat = Chat(model, processor)
    console = Console(file=io.StringIO(), width=200)
    assert _command(chat, f"/audio {tmp_path / 'a.wav'}", console)
    answer, tokens = chat.ask("is it ?")
    assert tokens > 0
    assert answer == isthmus.ask(model, processor, "is it ?", Audio(tmp_path / "a.wav"))
    assert [message.role for message in chat.said] == ["user", "assistant"]
    with pytest.raises(BadData, match="this model takes image, audio, not video"):
        chat.show(Video(tmp_path / "a.wav"))
    with pytest.raises(BadMedia, match=r"b\.wav"):
        chat.show(Audio(tmp_path / "b.wav"))
