"""MM-SafetyBench: harmful questions whose harm is in the picture, in thirteen scenarios."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, first, records, slug, text, tidy
from isthmus.evaluate.benchmarks._asked import have, parquet_rows, shown, somewhere
from isthmus.evaluate.benchmarks._safety import add_rates
from isthmus.evaluate.files import Row
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Figure, Scored
from isthmus.types import Image

ABOUT = "harmful questions whose harm is in the picture, in thirteen scenarios; the share of attacks that succeed"
SOURCE = "Liu et al., 2024, arXiv:2311.17600; github.com/isXinLiu/MM-SafetyBench"
PREDICTIONS = {
    "a scenario's questions with judged answers, 01-Illegal_Activitiy.json, or the folder of all": (
        '{"0": {"Question": "...", "ans": {"llava_v1.5_7b": {"text": "I cannot ...", "is_safe(gpt)": "safe"}}}}'
    ),
    "rows": '{"scenario": "02-HateSpeech", "image_type": "SD_TYPO", "response": "...", "eval": "unsafe"}',
}
REFERENCES: dict[str, str] = {}
DATA = {
    "processed_questions/*.json": "01-Illegal_Activitiy.json and so on, the questions of each scenario",
    "imgs": "the folder of pictures: 01-Illegal_Activitiy/SD/0.jpg, SD_TYPO and TYPO beside SD",
    "data/*/*.parquet": "or rows that hold the pictures: data/Illegal_Activitiy/SD.parquet and so on",
}
GET = "github.com/isXinLiu/MM-SafetyBench (data/processed_questions), and its pictures in the folder imgs"
HUB = "PKU-Alignment/MM-SafetyBench"
HEADLINE = "attack_success_rate"
LONGEST = 512  # tokens of an answer
ASKED = {"SD": "Rephrased Question(SD)", "SD_TYPO": "Rephrased Question", "TYPO": "Rephrased Question"}
SCENARIO = re.compile(r"(?:0[1-9]|1[0-3])[-_][A-Za-z_]+")
SCENARIOS = ("scenario", "category", "scene")
TYPES = ("image_type", "img_type", "type", "image_mode")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """attack_success_rate of all, of each scenario, and of each kind of picture or model where there are several.

    `scenario_mean/attack_success_rate` is the mean of the scenarios' rates.
    """
    del references
    found = Scored()
    some = list(_rows(predictions))
    several = len({kind for _, _, kind, _ in some}) > 1
    rows = []
    for name, scenario, kind, row in some:
        parts = [slug(scenario)] if scenario else []
        rows.append((name, row, tuple(parts + ([slug(kind)] if several and kind else []))))
    scenarios = sorted({slug(scenario) for _, scenario, _, _ in some if scenario})
    add_rates(found, rows, mode, scenarios)
    rates = [found.metrics[key] for name in scenarios if (key := f"{name}/attack_success_rate") in found.metrics]
    if len(rates) > 1:
        nan = float("nan")
        value = sum(rate.value for rate in rates) / len(rates)
        found.add({"attack_success_rate": Figure(value, nan, nan, sum(rate.n for rate in rates))}, "scenario_mean")
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Each question with each of its three kinds of picture, worded as belongs to the picture."""
    files = sorted(path for path in folder.rglob("*.json") if SCENARIO.fullmatch(path.stem))
    if not files:
        return _parquet(folder)
    found = []
    for file in files:
        for number, row in enumerate(records(file), 1):
            have(row, ("id", *(key.lower() for key in ASKED.values())), file, number)
            for kind, key in ASKED.items():
                name, place = text(row["id"]), f"{file.stem}/{kind}/{text(row['id'])}.jpg"
                tried = [f"{own}{place}" for own in ("imgs/", "data/imgs/", "MM-SafetyBench(imgs)/", "")]
                media = somewhere(folder, tried, f"question {file.stem}/{kind}/{name}")
                found.append(_question(file.stem, kind, name, text(row[key.lower()]), media))
    return found


def _parquet(folder: Path) -> list[Question]:
    """The questions of the hub's files, whose folders are the scenarios, and whose names the kinds of picture."""
    found = []
    for kind in ASKED:
        for path in sorted(folder.rglob(f"{kind}.parquet")):
            for number, row in enumerate(parquet_rows(path), 1):
                have(row, ("id", "question", "image"), path, number)
                scenario = path.parent.name
                media = shown(row["image"], folder, f"question {scenario}/{kind}/{text(row['id'])}")
                found.append(_question(scenario, kind, text(row["id"]), text(row["question"]), media))
    if not found:
        raise BadData(f"{folder}: no 01-Illegal_Activitiy.json, ..., and no Illegal_Activitiy/SD.parquet, ... below it")
    return found


def _question(scenario: str, kind: str, name: str, asked: str, media: Image) -> Question:
    row = {"scenario": scenario, "image_type": kind, "id": name, "question": asked}
    own = f"{scenario}/{kind}/{name}"
    return Question(own, asked, (media,), parts=(slug(scenario), slug(kind)), image=own, row=row, longest=LONGEST)


def _rows(path: Path) -> Iterator[tuple[str, str, str, Row]]:
    """Of each answer an id, the scenario, the kind of picture (or the model), and the row with the verdict."""
    files = sorted(path.rglob("*.json*")) if path.is_dir() else [path]
    if not files:
        raise BadData(f"{path}: no file 01-Illegal_Activitiy.json, ... in this folder")
    for file in files:
        above = SCENARIO.findall(
            "/".join([*file.parts[len(path.parts) :], file.stem] if path.is_dir() else [file.stem])
        )
        for number, row in enumerate(records(file), 1):
            own = text(first(row, IDS) if first(row, IDS) is not None else number)
            name = f"{file.stem}/{own}"
            scenario = str(first(row, SCENARIOS) or (above[0] if above else ""))
            answers = row.get("ans")
            if isinstance(answers, dict):
                for kind, answer in answers.items():
                    judged = tidy(answer) if isinstance(answer, dict) else {"text": answer}
                    yield f"{scenario or file.stem}/{name}/{kind}", scenario, str(kind), judged
            else:
                kind = str(first(row, TYPES) or "")
                told = f"{scenario}/{kind}/{own}" if scenario and kind and not path.is_dir() else f"{scenario}/{name}"
                yield told, scenario, kind, row
