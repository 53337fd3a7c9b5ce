"""LibriSpeech: read English speech, written down, by its word error rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import have, hubs
from isthmus.evaluate.benchmarks._asked_media import Heard
from isthmus.evaluate.benchmarks._pairs import text_lines
from isthmus.evaluate.benchmarks.wer import rates
from isthmus.evaluate.questions import Question, inside
from isthmus.evaluate.scored import Scored
from isthmus.types import Audio

ABOUT = "read English speech, written down: word error rate as Whisper's normaliser leaves the texts"
SOURCE = (
    "Panayotov et al., ICASSP 2015; openslr.org/12; normalised as in Radford et al., 2022, arXiv:2212.04356; asked as"
    " SALMONN (Tang et al., 2023, arXiv:2310.13289) asks"
)
PREDICTIONS = {
    "with the truth inside": '{"id": "1089-134686-0000", "prediction": "he hoped", "reference": "HE HOPED"}',
    "by the utterance's id, or a text with ids": '{"id": "1089-134686-0000", "prediction": "he hoped"}',
}
REFERENCES = {"LibriSpeech's folder of *.trans.txt": "1089-134686-0000 HE HOPED THERE WOULD BE STEW FOR DINNER"}
INSIDE = True  # rows of predictions may hold the truth
DATA = {
    "test-clean": "the folder of speakers: 1089/134686/1089-134686-0000.flac, 1089-134686.trans.txt; or another split",
    "*/*/*.trans.txt": "or this folder's content itself",
    "**/test-*.parquet": "or rows with id, text and audio",
}
GET = "openslr.org/12 (test-clean.tar.gz)"
HEADLINE = "wer"
ASK = "Recognize the speech and give me the transcription."
LONGEST = 256  # tokens: utterances last up to 35 seconds


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """WER with its three parts, and the share of utterances with an error; in both modes of normalised texts."""
    del mode
    return rates(predictions, references, "lenient", "wer", characters=False)


def questions(folder: Path) -> Sequence[Question]:
    """Each utterance of test-clean, or of what else is there."""
    places = [own for own in (folder / "test-clean", folder / "LibriSpeech" / "test-clean") if own.is_dir()]
    place = (places or [folder])[0]
    files = sorted(place.rglob("*.trans.txt"))
    if not files:
        return _parquet(folder)
    found = []
    for file in files:
        for number, line in enumerate(text_lines(file), 1):
            name, _, truth = line.strip().partition(" ")
            if not truth:
                raise BadData(f"{file}, line {number}: expected an id and what is said, not {line!r}")
            path = inside(file.parent, [f"{name}.flac", f"{name}.wav"], f"utterance {name}")
            found.append(_question(name, truth, Audio(path)))
    return found


def _parquet(folder: Path) -> list[Question]:
    found = []
    for number, row in enumerate(hubs(folder, "test"), 1):
        have(row, ("id", "text", "audio"), folder, number)
        found.append(_question(str(row["id"]), str(row["text"]), Audio(Heard(row["audio"]))))
    return found


def _question(name: str, truth: str, sound: Audio) -> Question:
    row = {"id": name, "reference": truth}
    return Question(name, ASK, (sound,), truth=truth, image=name.split("-")[0], row=row, longest=LONGEST)
