"""`speech-to-text`: what is said and when, by Whisper (Radford et al., 2022, arXiv:2212.04356).

transformers does what sections 2.3 and 4.5 of the paper say for long sounds: windows of 30 seconds, each beginning
where the last whole segment of the one before ends, and another try at a higher temperature where text repeats itself.
What it does not do well is hear that nobody speaks: it measures how likely a text is after words were ruled out, so
that small Whispers say "you" of silence. So a second look is taken: the probability of no speech, and of each segment's
text without anything ruled out. A segment is told where the paper's rule does not call its window silent (`NO_SPEECH`,
`UNLIKELY`), its text does not repeat itself (`REPEATS`), and is not less likely than any words that were really said
(`LEAST`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from isthmus import parts
from isthmus.errors import PartUnavailable
from isthmus.experts import kind_of
from isthmus.experts._told import Told
from isthmus.media import load as decode
from isthmus.media.forms import Sound
from isthmus.parts.weights import SAFE, pretrained
from isthmus.types import Medium, Video

ABOUT = "what is said and when, by Whisper tiny.en or any other Whisper"
KINDS = ("audio", "video")
SHORT = "speech"
PARTS = ("whisper-tiny-en",)
RATE, WINDOW = 16_000, 30.0  # samples a second; seconds that Whisper hears at once
STEP = 0.02  # seconds between two of its time stamps
NO_SPEECH, UNLIKELY, REPEATS = 0.6, -1.0, 2.4  # the paper's, section 4.5; the first two together
LEAST = (
    -1.5
)  # mean log-probability: of 64 clips of speech the least had -1.09, of sounds without -1.55 (docs/experts.md)
TEMPERATURES, AGAIN = (0.0, 0.4, 0.8), 1.35  # tries, and transformers' ratio over tokens above which there is another


def load(part: str = PARTS[0]) -> Callable[[Medium], list[Told]]:
    """An expert for speech with the Whisper called `part`: of the catalogue, a folder, or hf://org/name@revision.

    Raises `UnknownName` or `PartUnavailable` for a part that is not there, or is no whole Whisper.
    """
    folder = parts.get(part)
    model = pretrained(WhisperForConditionalGeneration, folder).eval()
    try:
        processor = WhisperProcessor.from_pretrained(folder, **SAFE)
    except (OSError, ValueError) as error:
        raise PartUnavailable(f"{part}: no tokenizer and feature extractor of a Whisper lie in {folder}") from error
    return SpeechToText(model, processor)


class SpeechToText:
    """Called with a sound, or a video whose sound is taken, it tells what is said; see `load`."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.generation = model.generation_config

    def __call__(self, medium: Medium) -> list[Told]:
        """Segments as Whisper ends them, with their seconds. Raises `BadMedia` for what cannot be decoded."""
        kind_of(medium, KINDS, "speech-to-text")
        sound = heard(medium)
        if sound is None or not sound.samples.any():
            return []
        return list(self.segments(sound.resampled(RATE)))

    def segments(self, sound: Sound) -> Iterator[Told]:
        """What is said in a sound of `RATE` samples a second."""
        waiting = self._generated(sound)
        while waiting:
            first = waiting[0][0]
            inside = [one for one in waiting if one[1] <= first + WINDOW or one is waiting[0]]
            waiting = waiting[len(inside) :]
            none, chances = self._second_look(sound, first, inside)
            said = [self.processor.decode(tokens).strip() for _, _, tokens in inside]
            together = " ".join(said).encode()
            mean = sum(chances) / len(chances)
            if (none > NO_SPEECH and mean < UNLIKELY) or len(together) / len(zlib.compress(together)) > REPEATS:
                continue
            for (start, end, _), text, chance in zip(inside, said, chances, strict=True):
                if chance >= LEAST and any(char.isalnum() for char in text):
                    yield Told("speech", text, start, max(start, min(end, sound.seconds)))

    def _generated(self, sound: Sound) -> list[tuple[float, float, list[int]]]:
        """Segments (start, end, tokens of the text) as transformers finds them; the same sound gives the same."""
        short = sound.seconds <= WINDOW
        how: dict[str, Any] = {} if short else {"truncation": False, "padding": "longest"}
        given = self.processor(
            sound.samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True, **how
        )
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the tries that draw
            found = self.model.generate(
                given.input_features.to(self.model.device),
                attention_mask=given.attention_mask.to(self.model.device),
                return_timestamps=True,
                return_segments=True,
                temperature=TEMPERATURES,
                compression_ratio_threshold=AGAIN,
            )
        ends = self.processor.tokenizer.eos_token_id  # all that is no text comes after
        rows = [
            (float(one["start"]), float(one["end"]), [i for i in one["tokens"].tolist() if i < ends])
            for one in found["segments"][0]
        ]
        return sorted(row for row in rows if row[2] and row[0] < sound.seconds)

    def _second_look(
        self, sound: Sound, first: float, inside: list[tuple[float, float, list[int]]]
    ) -> tuple[float, list[float]]:
        """The probability that nobody speaks in the window from `first` on, and each segment's mean log-probability."""
        samples = sound.samples[int(first * RATE) : int((first + WINDOW) * RATE)]
        mel = self.processor(samples, sampling_rate=RATE, return_tensors="pt").input_features.to(self.model.device)
        stamps = self.generation.no_timestamps_token_id + 1
        ids, owners = [self.generation.decoder_start_token_id], [-1]
        with torch.inference_mode():
            if getattr(self.generation, "is_multilingual", False):
                ids += [int(self.model.detect_language(mel)), self.generation.task_to_id["transcribe"]]
                owners += [-1, -1]
            for number, (start, end, tokens) in enumerate(inside):
                a, b = (stamps + min(1500, max(0, round((time - first) / STEP))) for time in (start, end))
                ids += [a, *tokens, b]
                owners += [-1, *[number] * len(tokens), -1]
            room = self.model.config.max_target_positions
            ids, owners = ids[:room], owners[:room]
            line = torch.tensor([ids], device=self.model.device)
            chances = self.model(mel, decoder_input_ids=line).logits[0].float().log_softmax(-1)
        none = float(chances[0, stamps - 2].exp())  # <|nospeech|> stands before <|notimestamps|>
        own = chances[:-1].gather(1, line[0, 1:, None]).squeeze(1)
        who = torch.tensor(owners[1:], device=own.device)
        return none, [float(own[who == k].mean()) if (who == k).any() else LEAST - 1 for k in range(len(inside))]


def heard(medium: Medium) -> Sound | None:
    """The sound of a medium; None for a video without. Raises `BadMedia` for what cannot be decoded."""
    if isinstance(medium, Video):
        return decode(replace(medium, frames=1, sampling="uniform", fps=None, sound=True)).sound
    return decode(medium)  # type: ignore[return-value]
