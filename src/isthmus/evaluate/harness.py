"""Asking a model the questions of benchmarks, and scoring what it says.

    OUT/run.json                   the model, and how it was asked
        results.json               the figures of every benchmark that is done
        NAME/predictions.jsonl     in the benchmark's own form, as `isthmus score` reads it
             samples.jsonl         a line for each question, for `isthmus report`
             media/                small copies of what was shown
             shards/               what is done of a run that was stopped

A shard is written whole or not at all, so a run that was killed goes on with --resume and ends with the same files.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from isthmus.bulk.ledger import Ledger
from isthmus.bulk.pool import Line, Pool
from isthmus.bulk.run import Task, drive
from isthmus.errors import BadData, BadRecipe
from isthmus.evaluate import models, previews, replies, sheet, told
from isthmus.evaluate.benchmarks import asking, score
from isthmus.evaluate.models import Said
from isthmus.evaluate.models.served import NO_LIKELIHOODS
from isthmus.evaluate.questions import Question, absent, numbered, place
from isthmus.evaluate.scored import Scored
from isthmus.train.run import differences

WAYS = ("generate", "likelihood")
TOLERATE = 0.05  # of the questions may go without an answer
RUN, RESULTS = "run.json", "results.json"


@dataclass(frozen=True)
class How:
    """How a model is asked.

    Args:
        way: `generate` an answer, or the `likelihood` of each option.
        circular: ask in every rotation of the options, and count a question as right only if all are.
        limit: at most so many questions, drawn with `seed`.
        mode: of scoring.
        shard: questions that are done together, or a few more; what a kill costs at most.
    """

    way: str = "generate"
    circular: bool = False
    limit: int | None = None
    seed: int = 0
    mode: str = "official"
    shard: int = sheet.SHARD


class Asker:
    """A model at work on the shards of a sheet."""

    def __init__(self, own: sheet.Sheet, model: str, how: How, device: str, shards: Path | None = None) -> None:
        self.sheet, self.how, self.shards = own, how, shards
        self.model = models.opened(model, own.questions, device, how.seed)

    def close(self) -> None:
        """Nothing is open."""

    def __call__(self, number: int) -> list[Line]:
        """The lines of a shard."""
        questions = self.sheet.shard(number)
        said: dict[str, Said] = {}
        for own in questions:
            if other := {medium.kind for medium in own.media} - {*self.model.takes}:
                takes = ", ".join(self.model.takes) or "no media"
                said[own.id] = Said(None, f"the model takes {takes}, not {', '.join(sorted(other))}", left=True)
        asked = [own for own in questions if own.id not in said]
        if self.how.way == "likelihood":
            answers = self.model.chosen(asked)
        elif self.shards is not None and isinstance(self.model, models.Streams):
            answers = replies.answers(self.shards / f"{number:05}{replies.ENDING}", self.model, asked)
        else:
            answers = self.model.answers(asked)
        said |= {own.id: answer for own, answer in zip(asked, answers, strict=True)}
        return [sheet.line(own, said[own.id]) for own in questions]


def evaluate(
    model: str,
    benchmarks: Sequence[str],
    out: Path,
    pool: Pool,
    how: How,
    *,
    data: str | Path | None = None,
    tolerate: float = TOLERATE,
    resume: bool = False,
    command: str = "",
    console: Console,
) -> dict[str, Any]:
    """Ask a model benchmarks into the folder `out`, and return what its `results.json` holds.

    Args:
        model: a name as `evaluate.models` tells.
        data: where benchmarks lie (`questions.place`).
        tolerate: the share of a benchmark's questions that may go without an answer, before it is given up.

    Raises:
        UnknownName: for a benchmark or a model that does not exist; before anything is asked.
        BadData: for a folder that is missing or broken; likewise. And for too many questions without an answer.
        Interrupted: after Ctrl-C.
    """
    if how.way not in WAYS:
        raise BadRecipe(f"no way {how.way!r} to ask. Known: {', '.join(WAYS)}")
    models.kind(model)
    if models.kind(model.removeprefix(models.BLIND)) == "served" and how.way == "likelihood":
        raise BadRecipe(NO_LIKELIHOODS)
    modules = {name: asking(name) for name in dict.fromkeys(benchmarks)}
    folders = _places(modules, data)
    sheets = {name: _questions(name, module, folders[name], how, tolerate) for name, module in modules.items()}
    if pool.world.first:
        _begin(out, {"model": model, "options": vars(how)}, resume)
    about = models.facts(model)  # once: it reads all of the model's files
    for name, module in modules.items():
        _one(name, module, folders[name], *sheets[name], about, out, pool, how, tolerate, resume, command, console)
    if not pool.world.first:
        return {}
    results = _results(out)
    if modules and not any(results["benchmarks"][name]["answered"] for name in modules):
        why = next(iter(results["benchmarks"][next(iter(modules))]["unscored"]["reasons"]), "there are none")
        raise BadData(f"no question of {', '.join(modules)} was answered: {why}. What is known is in {out}")
    return results


def _places(names: Iterable[str], data: str | Path | None) -> dict[str, Path]:
    """The folder of each benchmark. Raises `BadData` that tells of all that are not there."""
    found, missing = {}, []
    for name in names:
        try:
            found[name] = place(name, data)
        except BadData as error:
            missing.append(str(error))
    if missing:
        raise BadData("\n".join(missing))
    return found


def _questions(name: str, module: ModuleType, folder: Path, how: How, tolerate: float) -> tuple[list[Question], int]:
    """What is asked, and of how many questions."""
    try:
        every = numbered(module.questions(folder))
    except BadData as error:
        raise error if str(folder) in str(error) else BadData(f"{name}, {folder}: {error}") from error
    if len(files := absent(every)) > tolerate * len(every):
        raise BadData(
            f"{name}: {len(files):,} of {len(every):,} questions show a file that is not there, such as {files[0]}. "
            f"Get it: {module.GET}; or tolerate more with --tolerate: these are then unscored"
        )
    if how.circular and not any(own.listed and own.options for own in every):
        raise BadRecipe(f"{name}: its questions list no options that could be rotated. Leave --circular out")
    if how.way == "likelihood" and (free := sum(not own.answers for own in every)):
        raise BadRecipe(f"{name}: {free:,} of {len(every):,} questions have no options to choose from. Let it generate")
    return sheet.some(every, how.limit, how.seed), len(every)


def _one(
    name: str, module: ModuleType, folder: Path, questions: list[Question], of: int, about: Mapping[str, Any],
    out: Path, pool: Pool, how: How, tolerate: float, resume: bool, command: str, console: Console,
) -> None:  # fmt: skip
    """A benchmark from its questions to its figures."""
    asked = sheet.Sheet(sheet.rotations(questions) if how.circular else list(questions), how.shard)
    ledger = Ledger(out / name / "shards")
    if pool.world.first and resume:
        _forget(ledger, asked.shards)
    facts = {"task": "eval", "benchmark": name, "model": about, "way": how.way, "seed": how.seed}
    task = Task(
        name,
        "answers",
        lambda line: int(line["answer"] is not None),
        functools.partial(Asker, asked, about["name"], how, shards=ledger.folder),
    )
    drive(
        task,
        asked,
        ledger.folder,
        facts,
        pool,
        tolerate=tolerate,
        resume=resume,
        command=command,
        console=console,
    )
    if not pool.world.first:
        return
    for left in ledger.folder.glob(f"*{replies.ENDING}"):
        left.unlink()
    lines = {line["id"]: sheet.said(line) for number in range(asked.shards) for line in ledger.lines(number)}
    said = sheet.merged(questions, lines)
    found = scored(name, module, folder, out / name, questions, said, how.mode)
    if how.circular:  # the answers that are written down are what all rotations come to
        found.notes = [note for note in found.notes if note != getattr(module, "ONE_ROUND", "")]
        found.notes.append("CircularEval: a question is right if it is in every rotation of its options")
    if cut := sum(one.cut for one in said):
        found.notes.append(f"{cut:,} answers were cut off at the most tokens that the benchmark gives them")
    _samples(out / name, questions, said, found)
    whole = found.to_dict(name, how.mode) | {"notes": found.notes, "headline": module.HEADLINE}
    whole["answered"] = sum(one.answer is not None for one in said)
    whole["asked"] = {"way": how.way, "circular": how.circular, "limit": how.limit, "of": of}
    whole["asked"]["sha256"] = about.get("sha256")
    results = _results(out)
    results["benchmarks"][name] = whole
    put(out / RESULTS, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    told.show(name, how.mode, found, console)


def _forget(ledger: Ledger, shards: int) -> None:
    """Do shards again in which a question went without an answer for a reason that passes, as a server that is down."""
    for number in range(shards):
        if ledger.path(number).is_file() and any(line.get("again") for line in ledger.lines(number)):
            ledger.path(number).unlink()


def scored(
    name: str,
    module: ModuleType,
    folder: Path,
    out: Path,
    questions: Sequence[Question],
    said: Sequence[Said],
    mode: str,
) -> Scored:
    """Write the predictions in the benchmark's own form, and score them; what has no answer is unscored."""
    answered = [(own, str(one.answer)) for own, one in zip(questions, said, strict=True) if one.answer is not None]
    failed = {own.id: one.failed for own, one in zip(questions, said, strict=True) if one.answer is None}
    if not answered:
        return Scored(unscored=failed)
    if write := getattr(module, "write", None):
        path: Path | None = write(folder, out, answered)
    else:
        path = out / "predictions.jsonl"
        rows = (json.dumps(own.row | {"prediction": text}, ensure_ascii=False) + "\n" for own, text in answered)
        put(path, "".join(rows))
    truths = getattr(module, "truths", None)
    if path is None or getattr(module, "JUDGE", None):
        answers = path if path and path.suffix == ".jsonl" else out / "samples.jsonl"  # the form that a judge reads
        judge = f"not judged yet: isthmus judge {getattr(module, 'JUDGE', '')} --answers {answers}"
        why = judge if path else "the truths are not public"
        return Scored(unscored=dict.fromkeys((own.id for own in questions), why) | failed)
    found = score(name, path, truths(folder) if truths else None, mode)
    asked = {own.id for own in questions}  # references hold others as well, where not all were asked
    found.unscored = {name: why for name, why in found.unscored.items() if name in asked} | failed
    return found


def _samples(out: Path, questions: Sequence[Question], said: Sequence[Said], found: Scored) -> None:
    """A line for each question: what was asked, shown and said, and what it scored."""
    shown = previews.written(out / "media", [medium for own in questions for medium in own.media])
    lines = []
    for own, one in zip(questions, said, strict=True):
        row: dict[str, Any] = {"id": own.id, "prompt": own.text, "answer": one.answer, "truth": own.truth}
        row |= {"score": found.marks.get(own.id), "parts": list(own.parts), "image": own.image or own.id}
        row["media"] = [
            {"kind": m.kind} | ({"file": f"media/{file}"} if (file := shown.get(m)) else {}) for m in own.media
        ]
        if why := found.unscored.get(own.id):
            row["unscored"] = why
        if one.confidence is not None:
            row["confidence"] = one.confidence
        if one.cut:
            row["cut"] = True
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    put(out / "samples.jsonl", "".join(lines))


def _begin(out: Path, facts: Mapping[str, Any], resume: bool) -> None:
    """Claim a folder for a model asked in this way; benchmarks may be added to it later."""
    path = out / RUN
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise BadRecipe(f"{out} holds something else already. Choose another --out")
        put(path, json.dumps(facts, indent=1) + "\n")
        put(out / RESULTS, json.dumps({"model": facts["model"], "benchmarks": {}}, indent=1) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if changes := "; ".join(differences(before, before | json.loads(json.dumps({k: facts[k] for k in before})))):
        raise BadRecipe(f"{out} was begun otherwise: {changes}. Choose another --out")
    if before.keys() < facts.keys():  # language tasks alone were asked before
        put(path, json.dumps(facts, indent=1) + "\n")


def _results(out: Path) -> dict[str, Any]:
    if not (out / RESULTS).exists():  # deleted; the shards have all that was said
        return {"model": json.loads((out / RUN).read_text(encoding="utf-8"))["model"], "benchmarks": {}}
    try:
        return dict(json.loads((out / RESULTS).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BadData(f"{out / RESULTS} cannot be read ({error}). Choose another --out") from error


def put(path: Path, text: str) -> None:
    """Write a file in one step: no interruption leaves half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".writing-{path.name}")
    with new.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    with suppress(OSError):
        new.unlink()
