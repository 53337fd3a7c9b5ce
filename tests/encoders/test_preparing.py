"""Readers give what the wrapped class's own would; padding and `kept`; windows of long sounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import transformers as t
from tiny_encoders import MEANS, SQUARE, TINY
from torch import Tensor

from isthmus.encoders import _pictures
from isthmus.encoders._reader import Reader
from isthmus.errors import BadMedia, PartUnavailable
from isthmus.registry import find, names

NAMES = [name for name in names("isthmus.encoders") if hasattr(find("isthmus.encoders", name), "reader")]
TIMED = [name for name in NAMES if hasattr(find("isthmus.encoders", name), "kept")]
AUDIO = [name for name in NAMES if find("isthmus.encoders", name).KIND == "audio"]
VIDEO = [name for name in NAMES if find("isthmus.encoders", name).KIND == "video"]
DRAW = np.random.default_rng(0)


def sound(samples: int) -> Any:
    return DRAW.standard_normal(samples).astype(np.float32)


def part(name: str, folder: Path, **says: Any) -> tuple[Any, Path]:
    """An encoder's module, and a folder with a tiny part of it, whose preprocessor_config.json says more."""
    TINY[name].save(TINY[name].makes[0](), folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(TINY[name].prepared | says))
    return find("isthmus.encoders", name), folder


def load(name: str) -> Any:
    torch.manual_seed(0)
    return TINY[name].makes[0]().eval()


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    module, folder = part(name, tmp_path / "part")
    reader = module.reader(folder, 48)
    reader.save_pretrained(tmp_path / "saved")
    again = type(reader).from_pretrained(tmp_path / "saved")
    assert getattr(again, "span", None) == getattr(reader, "span", None)
    assert again.to_dict() == reader.to_dict()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("patchtst", "point-transformer")])
def test_a_part_without_its_settings_is_named(name: str, tmp_path: Path) -> None:
    module, folder = part(name, tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(PartUnavailable, match="cannot be loaded"):
        module.reader(folder, 16)


@pytest.mark.parametrize("name", ["whisper", "qwen2-audio"])
def test_spectra_are_whispers_own(name: str, tmp_path: Path) -> None:
    module, folder = part(name, tmp_path, chunk_length=30)
    sounds = [sound(700), sound(16_000)]
    mel, valid = module.prepare(module.reader(folder, 3000), sounds)
    wanted = t.WhisperFeatureExtractor(feature_size=8)(sounds, sampling_rate=16_000, return_tensors="pt")
    torch.testing.assert_close(mel, wanted.input_features)
    assert mel.shape == (2, 8, 3000)
    assert valid.tolist() == [5, 100]
    mel, valid = module.prepare(module.reader(folder, 32), [*sounds, sound(1)])
    assert mel.shape == (3, 8, 32)
    assert valid.tolist() == [5, 32, 1]


def test_waveforms_are_wav2vec2s_own(tmp_path: Path) -> None:
    module, folder = part("wav2vec2", tmp_path)
    sounds = [sound(200) * 3 + 1, sound(100) - 5]
    waves, valid = module.prepare(module.reader(folder, 200), sounds)
    own = t.Wav2Vec2FeatureExtractor()
    for wave, one in zip(waves, sounds, strict=True):
        wanted = own(one, sampling_rate=16_000, return_tensors="pt").input_values[0]
        torch.testing.assert_close(wave[: len(one)], wanted)
    assert not waves[1, 100:].any()
    assert valid.tolist() == [200, 100]
    _, folder = part("wav2vec2", tmp_path / "raw", do_normalize=False)
    waves, _ = module.prepare(module.reader(folder, 64), sounds)
    torch.testing.assert_close(waves, torch.stack([torch.from_numpy(one[:64]) for one in sounds]))


def test_spectra_are_asts_own(tmp_path: Path) -> None:
    module, folder = part("audio-spectrogram-transformer", tmp_path)
    sounds = [sound(5000), sound(1500), sound(100)]
    mel, valid = module.prepare(module.reader(folder, 22), sounds)
    own = t.ASTFeatureExtractor(num_mel_bins=8, mean=-4.0, std=2.0, max_length=22)
    torch.testing.assert_close(mel[:2], own(sounds[:2], sampling_rate=16_000, return_tensors="pt").input_values)
    assert valid.tolist() == [22, 7, 1]
    for one, n in zip(mel, valid, strict=True):
        assert (one[n:] == 1.0).all(), "zeros, standardised"
        assert (one[:n] != 1.0).any(1).all()


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("name", VIDEO)
def test_clips_are_prepared_as_their_own_class_would(name: str, crop: bool, tmp_path: Path) -> None:
    size = {"shortest_edge": 16} if crop else {"height": 16, "width": 16}
    says = {"do_center_crop": crop, "size": size, "do_normalize": True}
    module, folder = part(name, tmp_path, **says)
    clips = [DRAW.integers(0, 256, (4, 20, 30, 3), dtype=np.uint8) for _ in range(2)]
    pixels, valid = module.prepare(module.reader(folder, 24), clips)
    at = {"shortest_edge": 24} if crop else {"height": 24, "width": 24}
    own = t.VideoMAEImageProcessorPil(
        **SQUARE | {"size": at, "crop_size": {"height": 24, "width": 24}, "do_center_crop": crop}
    )
    frames = [[PIL.Image.fromarray(frame) for frame in clip] for clip in clips]
    torch.testing.assert_close(pixels, own(frames, return_tensors="pt").pixel_values)
    assert pixels.shape == (2, 4, 3, 24, 24)
    assert valid.tolist() == [4, 4]
    assert module.frames(TINY[name].makes[0]().config) == 4
    with pytest.raises(BadMedia, match="clips of 3, 4 frames"):
        module.prepare(module.reader(folder, 24), [clips[0], clips[1][:3]])
    with pytest.raises(BadMedia, match="a clip of 3 frames; this part takes 4"):
        module.encode(load(name), torch.zeros(1, 3, 3, 16, 16))


def test_a_long_clip_of_narrow_frames_is_not_blown_up(tmp_path: Path) -> None:
    module, folder = part("videomae", tmp_path, do_center_crop=True, size={"shortest_edge": 16})
    narrow = np.repeat(DRAW.integers(0, 256, (4, 20_000, 1, 3), dtype=np.uint8), 2, 2)
    reader = Measured(module.reader(folder, 24))
    pixels, _ = module.prepare(reader, [narrow])
    assert reader.given < 4 * 2 * 40
    own = module.reader(folder, 24)([list(narrow[:, 9_800:10_200])], input_data_format="channels_last")
    np.testing.assert_allclose(pixels[0], own.pixel_values[0], atol=0.01)


class Measured:
    """A reader that counts the pixels it is given."""

    def __init__(self, reader: Any) -> None:
        self.reader, self.given = reader, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)

    def __call__(self, pictures: Any, **options: Any) -> Any:
        self.given += sum(
            np.asarray(p)[..., 0].size for one in pictures for p in (one if isinstance(one, list) else [one])
        )
        return self.reader(pictures, **options)


@pytest.mark.parametrize("sides", [(1, 20_000), (20_000, 1), (3, 700), (225, 2000), (5, 64), (40, 30), (10, 80)])
@pytest.mark.parametrize("size", [24, 224])
def test_a_long_picture_is_cut_before_it_is_blown_up(sides: tuple[int, int], size: int) -> None:
    reader = Measured(t.CLIPImageProcessorPil())
    _pictures.resize(reader.reader, size)
    picture = PIL.Image.fromarray(DRAW.integers(0, 256, (*sides, 3), dtype=np.uint8))
    pixels = _pictures.prepared(reader, [picture]).pixel_values
    assert reader.given <= min(sides) ** 2 * 10
    if max(sides) > 10_000:  # the whole would take gigabytes
        left, upper = ((side - min(side, 100)) // 2 for side in picture.size)
        picture = picture.crop((left, upper, picture.width - left, picture.height - upper))
    whole = reader.reader([picture], return_tensors="pt").pixel_values
    if max(sides) <= 8 * min(sides):
        assert torch.equal(pixels, whole), "an ordinary picture is prepared as ever"
    levels = (pixels - whole).abs() * 255 * 0.28  # the largest standard deviation; and noise is the worst case
    assert levels.mean() < 2
    assert levels.max() < 12


@pytest.mark.parametrize(
    ("name", "white"), [("timesformer", (1 - 0.485) / 0.229), ("videomae", (1 - 0.5) / 0.5), ("videoprism", 1.0)]
)
def test_clips_without_settings_are_prepared_as_in_the_paper(name: str, white: float, tmp_path: Path) -> None:
    module, folder = part(name, tmp_path)
    (folder / "video_preprocessor_config.json").write_text("{}")
    pixels, _ = module.prepare(module.reader(folder, 16), [np.full((2, 20, 30, 3), 255, np.uint8)])
    torch.testing.assert_close(pixels[:, :, 0], torch.full((1, 2, 16, 16), white))


@pytest.mark.parametrize(("name", "which"), [("videoprism", "video_processor"), ("siglip2", "image_processor")])
def test_settings_may_be_in_the_file_for_all_processors(name: str, which: str, tmp_path: Path) -> None:
    module, folder = part(name, tmp_path)
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({which: {"rescale_factor": 0.5}}))
    assert module.reader(folder, 16).rescale_factor == 0.5
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": {}}))
    with pytest.raises(PartUnavailable, match=f"its processor_config.json has no .*{which}"):
        module.reader(folder, 16)


@pytest.mark.parametrize("name", ["siglip2", "dinov3"])
def test_pictures_are_squares_with_the_parts_mean(name: str, tmp_path: Path) -> None:
    module, folder = part(name, tmp_path)
    picture = PIL.Image.fromarray(DRAW.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    pixels = module.reader(folder, 24)([picture], return_tensors="pt").pixel_values
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(MEANS[key])[:, None, None] for key in ("image_mean", "image_std"))
    torch.testing.assert_close(pixels[0], (values - mean) / std)
    large = PIL.Image.fromarray(DRAW.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    assert module.reader(folder, 24)([large], return_tensors="pt").pixel_values.shape == (1, 3, 24, 24)


def test_naflex_prepares_a_square_picture_in_the_same_way(tmp_path: Path) -> None:
    module, folder = part("siglip2", tmp_path)
    model = load("siglip2")
    picture = PIL.Image.fromarray(DRAW.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    pixels = module.reader(folder, 24)([picture], return_tensors="pt").pixel_values
    naflex = t.Siglip2ImageProcessorPil(patch_size=4, max_num_patches=36, **MEANS)([picture], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(module.encode(model, pixels), model(**naflex).last_hidden_state)


def test_series_are_filled_up_and_cut() -> None:
    module = find("isthmus.encoders", "patchtst")
    short, long = np.ones((2, 3), np.float32), np.arange(20, dtype=np.float32).reshape(2, 10)
    short[1, 1] = np.nan
    series, valid = module.prepare(Reader(span=6, channels=2), [short, long])
    nan = float("nan")
    wanted = torch.tensor([[1, 1, 1, nan, nan, nan], [1, nan, 1, nan, nan, nan]])
    torch.testing.assert_close(series[0], wanted, equal_nan=True)
    torch.testing.assert_close(series[1], torch.from_numpy(long[:, 4:]))
    assert valid.tolist() == [3, 6]
    for bad, says in (
        (np.zeros((3, 6)), r"a series of 3 channels; this model's encoder takes 2. .* \(part: new, channels: 3\)$"),
        (np.zeros((2, 0)), r"shape \(2, 0\)"),
        (np.zeros(2), r"shape \(2,\)"),
        (np.full((2, 6), np.inf), "infinite values"),
    ):
        with pytest.raises(BadMedia, match=says):
            module.prepare(Reader(span=6, channels=2), [bad.astype(np.float32)])


@pytest.mark.parametrize("name", TIMED)
def test_kept_grows_to_all(name: str) -> None:
    module, config, size = find("isthmus.encoders", name), load(name).config, TINY[name].sizes[-1]
    counts = [module.kept(config, size, valid) for valid in range(size + 10)]
    assert counts == sorted(counts)
    assert counts[0] >= 1
    assert counts[size] == counts[-1] == int(np.prod(module.grid(config, size)))


def test_kept_counts_what_overlaps_or_what_transformers_counts() -> None:
    config, module = (
        load("audio-spectrogram-transformer").config,
        find("isthmus.encoders", "audio-spectrogram-transformer"),
    )
    starts = torch.arange(22).unfold(0, 4, 3)[:, 0]
    assert [module.kept(config, 22, n) for n in range(1, 23)] == [int((starts < n).sum()) * 2 for n in range(1, 23)]
    config, module = load("patchtst").config, find("isthmus.encoders", "patchtst")
    starts = torch.arange(22)[2:].unfold(0, 4, 4)[:, 0]
    assert [module.kept(config, 22, n) for n in range(3, 23)] == [int((starts < n).sum()) * 3 for n in range(3, 23)]
    config, module = load("whisper").config, find("isthmus.encoders", "whisper")
    assert [module.kept(config, 32, n) for n in range(1, 33)] == [-(-n // 2) for n in range(1, 33)]
    model, module = load("wav2vec2"), find("isthmus.encoders", "wav2vec2")
    for n in range(30, 334):
        assert module.kept(model.config, 333, n) == model._get_feat_extract_output_lengths(torch.tensor(n))
    model, module = load("qwen2-audio"), find("isthmus.encoders", "qwen2-audio")
    for n in range(3, 33):
        assert module.kept(model.config, 32, n) == model._get_feat_extract_output_lengths(torch.tensor(n))[1]


WITH_MASK = [(name, make) for name in ("wav2vec2", "patchtst", "point-transformer") for make in TINY[name].makes[:2]]


@pytest.mark.parametrize(("name", "make"), WITH_MASK, ids=lambda it: it if isinstance(it, str) else it.__name__)
def test_what_stands_in_the_padding_changes_nothing(name: str, make: Any, tmp_path: Path) -> None:
    module, tiny = find("isthmus.encoders", name), TINY[name]
    torch.manual_seed(0)
    model = module.load(tiny.save(make(), tmp_path)).eval()
    size = tiny.sizes[-1]
    lengths = [size // 2, size, size - 3]
    some, valid = tiny.media(3, size), torch.tensor(lengths)
    other = some.clone()
    for row, n in enumerate(lengths):
        _real_last(other[row], name)[n:] = 7
    with torch.no_grad():
        x, y = module.encode(model, some, valid), module.encode(model, other, valid)
        each = [module.encode(model, one[None], n[None]) for one, n in zip(some, valid, strict=True)]
        for row, n in enumerate(lengths):
            kept = module.kept(model.config, size, n)
            torch.testing.assert_close(x[row, :kept], y[row, :kept], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(x[row, :kept], each[row][0, :kept], atol=1e-5, rtol=1e-5)
            if name != "patchtst":  # whose number of steps is fixed
                alone = module.encode(model, some[row : row + 1, :n])
                torch.testing.assert_close(x[row, :kept], alone[0, :kept], atol=1e-5, rtol=1e-5)


def _real_last(medium: Tensor, name: str) -> Tensor:
    """A medium with its time first."""
    return medium.mT if name == "patchtst" else medium


def test_a_missing_value_is_not_a_number_that_counts() -> None:
    module, model = find("isthmus.encoders", "patchtst"), load("patchtst")
    series = TINY["patchtst"].media(1, 22)
    series[0, 1, 5:9] = float("nan")
    with torch.no_grad():
        features = module.encode(model, series)
        nothing = module.encode(model, torch.full_like(series, float("nan")))
        whole = module.encode(model, series.nan_to_num(3))
    assert features.isfinite().all()
    assert nothing.isfinite().all()
    torch.testing.assert_close(features[:, 0::3], whole[:, 0::3])  # the channel beside it is as it was
    assert not torch.allclose(features[:, 1::3], whole[:, 1::3])


def test_a_new_patchtst_may_see_levels_and_know_its_channels_apart(tmp_path: Path) -> None:
    module = find("isthmus.encoders", "patchtst")
    torch.manual_seed(0)
    series = torch.randn(1, 1, 16).expand(1, 2, 16)  # two channels that measure the same
    sizes = {"channels": 2, "patch": 4, "width": 8, "layers": 1, "heads": 2}
    for scaling in ("std", "mean", "none"):
        for apart in (False, True):
            made = module.fresh(16, **sizes, scaling=scaling, apart=apart)
            made.save_pretrained(tmp_path)
            model = module.load(tmp_path).eval()
            with torch.no_grad():
                x, moved = module.encode(model, series), module.encode(model, series + 5)
                gaps = series.clone()
                gaps[:, :, 3:6] = float("nan")
                filled = torch.where(gaps.isnan(), gaps.nanmean(2, keepdim=True), gaps)
                missing, mean = module.encode(model, gaps), module.encode(model, filled)
            assert torch.allclose(x, moved, atol=1e-4) == (scaling == "std")
            assert torch.allclose(x[:, 0::2], x[:, 1::2], atol=1e-4) != apart
            assert missing.isfinite().all()
            if scaling == "none":  # as for the others, what is missing is the mean of what is there
                torch.testing.assert_close(missing, mean)


def test_qwen2_audio_hears_with_its_own_mask() -> None:
    module, model = find("isthmus.encoders", "qwen2-audio"), load("qwen2-audio")
    mel, valid = TINY["qwen2-audio"].media(2, 32), torch.tensor([12, 32])
    other = mel.clone()
    other[0, :, 16:] = 7  # the convolutions reach four frames beyond
    with torch.no_grad():
        x, y = module.encode(model, mel, valid), module.encode(model, other, valid)
        torch.testing.assert_close(x[0, :3], y[0, :3])
        torch.testing.assert_close(x[1:], module.encode(model, mel[1:]))


@pytest.mark.parametrize("name", AUDIO)
def test_a_long_sound_is_cut_into_windows(name: str) -> None:
    module = find("isthmus.encoders", name)
    long = sound(1000)
    size = {"wav2vec2": 480, "audio-spectrogram-transformer": 2}.get(name, 3)
    windows = module.windows(long, size)
    span = {"wav2vec2": 480, "audio-spectrogram-transformer": 560}.get(name, 480)
    assert [len(window) for window in windows][:-1] == [span] * (len(windows) - 1)
    joined = np.concatenate(windows)
    np.testing.assert_array_equal(joined, long[: len(joined)])
    assert len(long) - len(joined) < 400
    assert len(module.windows(sound(10))) == 1
    with pytest.raises(BadMedia, match="without samples"):
        module.windows(sound(0))
