"""One call of `isthmus judge`: answers in, verdicts and figures out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from isthmus.errors import BadRecipe
from isthmus.evaluate import judge as judges
from isthmus.evaluate import verdicts
from isthmus.evaluate.harness import put
from isthmus.evaluate.judges import PACKAGE, Rubric, rubric, told
from isthmus.evaluate.scored import Scored
from isthmus.registry import names


def judge(
    name: str,
    by: str,
    answers: Path,
    against: Path | None = None,
    references: Path | None = None,
    calibration: Path | None = None,
    out: Path | None = None,
    rubric_file: Path | None = None,
    *,
    times: int = 1,
    temperature: float = 0.0,
    coverage: float = verdicts.COVERAGE,
    key_from: str = "OPENAI_API_KEY",
    resume: bool = False,
    command: str = "",
    console: Console,
) -> Scored:
    """The figures of a judge's verdicts of all answers of a file.

    Args:
        name: a rubric.
        by: the judge, as `evaluate.judge.opened` takes it.
        against: another model's answers, for a pair; of LLaVA-Bench the reference's.
        calibration: rows with a person's verdict under `human`; judged as well, into a file beside `out`.
        out: the verdicts, by default beside the answers.

    Raises what `evaluate.judge.judged` does.
    """
    own = rubric(name, rubric_file)
    some = judges.samples(answers, against, references)
    judges.cases(own, some[:1])  # what is missing is told before a judge is opened
    place = out or answers.with_name(f"{answers.stem}.{own.name}.verdicts.jsonl")
    if place.exists() and not resume:
        raise BadRecipe(f"{place} is there already. Go on with --resume, or choose another --out")
    people = judges.samples(calibration) if calibration else []
    verdicts.checked(own, people, calibration)
    options: dict[str, Any] = {"key_from": key_from} if by.startswith("http") else {}
    asked = judges.opened(by, **options)
    how: dict[str, Any] = {"temperature": temperature, "resume": resume, "command": command, "console": console}
    lines = judges.judged(own, asked, some, place, times=times, **how)
    found = verdicts.summary(own, some, lines, coverage)
    found.notes.append(f"judge: {asked.name}; task version {own.version(asked.name)}; verdicts: {place}")
    if waiting := sum(bool(line.get("again")) for line in lines):
        found.notes.append(f"{waiting:,} may be judged at another try: {command or 'resume'}")
    if people:
        beside = place.with_name(f"{place.stem}.people{place.suffix}")
        held = judges.judged(own, asked, people, beside, **how)
        theirs = Scored()
        values = verdicts.by_sample(own, held, theirs)
        if any(one.human is not None and one.id in values for one in people):
            found.add(verdicts.agreement(own, people, values))
        if theirs.unscored:
            found.notes.append(
                f"{len(theirs.unscored):,} of {len(people):,} samples of the calibration were not judged"
            )
    if hasattr(own.module, "written") and verdicts.enough(found, coverage):
        path = place.with_name(f"{place.stem}.scores.{own.module.ENDING}")
        put(path, own.module.written(_rows(own, some, lines)))
        found.notes.append(f"isthmus score {own.name} --predictions {path}")
    return found


def _rows(own: Rubric, some: list[judges.Sample], lines: list[judges.Line]) -> list[dict[str, Any]]:
    """For each sample all verdicts, as a benchmark's own file of them has them; none where one is missing.

    Of a pair in both orders each is a review; in each the others' score stands first.
    """
    by_id: dict[str, list[judges.Line]] = {}
    for line in lines:
        by_id.setdefault(line["id"], []).append(line)
    rows = []
    for sample in some:
        held = by_id.get(sample.id, [])
        whole = held if all("value" in line for line in held) else []
        rows.append(
            {
                "id": sample.id,
                "values": [line["value"][::-1] if line["order"] == "ab" else line["value"] for line in whole],
                "replies": [line["reply"] for line in whole],
                "judges": [line["judge"] for line in whole],
                "category": sample.category,
                "row": sample.row,
                "unjudged": next((line["unjudged"] for line in held if "unjudged" in line), "no answer to judge"),
            }
        )
    return rows


def listed(console: Console, as_json: bool) -> None:
    """The rubrics."""
    found = [told(name) for name in names(PACKAGE)]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for own in found:
        console.print(f"[bold]{own['name']}[/]  {own['about']}", highlight=False)
