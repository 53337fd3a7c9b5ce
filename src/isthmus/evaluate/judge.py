"""A model as the judge of answers: what it was asked and said, question by question, and what that comes to.

Every reply is a line of the verdicts' file as soon as it is there, keyed by the sample, the task version (rubric, rule
and judge), the text that was judged and the decoding. A run that was killed goes on from these lines, and in the end
the file has them in the order of the answers, so it is the same however often it was stopped. What was not judged is
`unjudged` with a reason and in no figure; where too little was judged, there is no headline at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus.errors import BadData, BadRecipe, Interrupted, UnknownName
from isthmus.evaluate.endpoint import Endpoint, Reply, Unanswered
from isthmus.evaluate.files import rows
from isthmus.evaluate.harness import put
from isthmus.evaluate.judges import Rubric, Unread
from isthmus.types import Message

IDS = ("id", "question_id", "index", "uniq_id")
ASKED = ("question", "prompt", "text", "instruction")
SAID = ("prediction", "response", "answer", "text")  # beside a prediction, an answer is the truth
TRUE = ("reference", "truth", "ground_truth", "gt_answer", "answer_gt")
KNOWN = ("context", "meta_info", "caption")  # what is known of the medium, which a judge does not see
Line = dict[str, Any]
Chat = Sequence[Message]
Said = Reply | Unanswered


class Judge(Protocol):
    """Who judges: `name` stands for the model and its version."""

    name: str

    def stream(self, asked: Sequence[Chat], longest: int, temperature: float) -> Iterator[tuple[int, Said]]:
        """What it says to each, with the number of what it was asked, in any order."""


class Case(NamedTuple):
    """What is judged once: a sample's answer; of a pair in one order; or again for the same (`run`)."""

    id: str
    order: str  # `ab`, or `ba` for a pair turned round; empty for one answer
    run: int
    prompt: str


@dataclass(frozen=True)
class Sample:
    """An answer, and what it is judged by."""

    id: str
    question: str
    answer: str
    other: str = ""
    reference: str = ""
    context: str = ""
    human: float | str | None = None
    category: str = ""
    row: Line = field(default_factory=dict, hash=False)  # as it stands in the file


def samples(answers: Path, against: Path | None = None, references: Path | None = None) -> list[Sample]:
    """The answers of a file (rows of JSON lines, as a run's `samples.jsonl`), with another model's or references by id.

    Raises `BadData` for rows without an id or an answer, an id that stands twice, and files without an id in common.
    """
    others = _by_id(against) if against else {}
    truths = _by_id(references) if references else {}
    found = []
    for name, row in _by_id(answers).items():
        if others and name not in others:
            continue
        said = _cell(row, SAID) or ""
        if others and not str(_cell(others[name], SAID) or "").strip():
            said = ""
        true = truths.get(name, row)
        found.append(
            Sample(
                name,
                str(_cell(row, ASKED) or _cell(true, ASKED) or ""),
                str(said),
                str(_cell(others[name], SAID) or "") if others else str(row.get("other", "")),
                str(_cell(true, (*TRUE, "answer", "text") if references or "prediction" in row else TRUE) or ""),
                str(next((own[key] for own in (row, true) for key in KNOWN if own.get(key)), "")),
                row.get("human"),
                str(row.get("category") or true.get("category") or next(iter(row.get("parts") or []), "")),
                row,
            )
        )
    if not any(own.answer.strip() for own in found):
        known = f"{answers} and {against} have no id in common" if against else f"{answers} has no answers"
        raise BadData(f"{known}. Rows need an id ({', '.join(IDS)}) and an answer ({', '.join(SAID)})")
    return found


def cases(rubric: Rubric, some: Sequence[Sample], times: int = 1) -> list[Case]:
    """All that the judge is asked: a pair in both orders.

    Raises `BadData` where a reference or a second answer is missing.
    """
    found = []
    for own in some:
        if not own.answer.strip():
            continue  # there is nothing to judge, which `verdicts` tells
        texts = {"question": own.question, "context": own.context or "(nothing)"}
        if rubric.kind == "reference" and not own.reference:
            raise BadData(f"{own.id}: {rubric.name} needs a reference ({', '.join(TRUE)}), or --references")
        if rubric.kind == "pair" and not (own.other or (own.reference and getattr(rubric.module, "SCORES", False))):
            raise BadData(f"{own.id}: {rubric.name} compares two answers: give the other model's with --against")
        for run in range(times):
            if rubric.kind != "pair":
                prompt = rubric.asked(**texts, answer=own.answer, reference=own.reference)
                found.append(Case(own.id, "", run, prompt))
                continue
            first, second = own.answer, own.other or own.reference
            found.append(Case(own.id, "ab", run, rubric.asked(**texts, first=first, second=second)))
            found.append(Case(own.id, "ba", run, rubric.asked(**texts, first=second, second=first)))
    return found


def judged(
    rubric: Rubric,
    judge: Judge,
    some: Sequence[Sample],
    out: Path,
    *,
    times: int = 1,
    temperature: float = 0.0,
    resume: bool = False,
    command: str = "",
    console: Console,
) -> list[Line]:
    """Ask the judge what is missing in the file `out`, and return its lines in the order of the cases.

    Raises `BadRecipe` for a file that is there without `resume`, and `Interrupted` after Ctrl-C.
    """
    if out.exists() and not resume:
        raise BadRecipe(f"{out} is there already. Go on with --resume, or choose another --out")
    version = rubric.version(judge.name)
    asked = cases(rubric, some, times)
    keys = [_key(case, version, temperature, rubric.module.LONGEST) for case in asked]
    before = list(_written(out))
    if strange := len({line["key"] for line in before} - {*keys}):
        raise BadRecipe(
            f"{out} holds {strange:,} verdicts of another rubric, judge, temperature or other answers, which are kept."
            " Go on with the same, or choose another --out"
        )
    done = {line["key"]: line for line in before if "value" in line or not line.get("again")}
    todo = [(case, key) for case, key in zip(asked, keys, strict=True) if key not in done]
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.completed}/{task.total} verdicts"))
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            Progress(*columns, TimeRemainingColumn(), console=console, refresh_per_second=2) as bar,
            out.open("a", encoding="utf-8", errors="backslashreplace") as file,
        ):
            shown = bar.add_task(rubric.name, total=len(asked), completed=len(asked) - len(todo))
            chats = [[Message("system", rubric.system), Message("user", case.prompt)] for case, _ in todo]
            for number, said in judge.stream(chats, rubric.module.LONGEST, temperature) if chats else ():
                case, key = todo[number]
                done[key] = _line(rubric, case, key, version, judge.name, said)
                file.write(json.dumps(done[key], ensure_ascii=False) + "\n")
                file.flush()
                bar.advance(shown)
    except KeyboardInterrupt:
        again = command or "the same again with resume=True"
        raise Interrupted(f"stopped; what was judged is in {out}. Go on: {again}") from None
    lines = [done[key] for key in keys]
    put(out, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return lines


def _line(rubric: Rubric, case: Case, key: str, version: str, name: str, reply: Said) -> Line:
    own: Line = {"key": key, "id": case.id, "order": case.order, "run": case.run, "version": version, "judge": name}
    if isinstance(reply, Unanswered):
        return own | {"unjudged": str(reply)} | ({"again": True} if reply.again else {})
    own |= {"reply": reply.text}
    try:
        if reply.cut:
            raise Unread(f"cut off after {rubric.module.LONGEST} tokens")
        return own | {"value": rubric.read(reply.text)}
    except Unread as error:
        return own | {"unjudged": str(error)}


def _key(case: Case, version: str, temperature: float, longest: int) -> str:
    whole = [case.id, case.order, case.run, version, case.prompt, temperature, longest]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:24]


def _written(out: Path) -> Iterator[Line]:
    """The lines of a file of verdicts; the last one may have been torn off."""
    if not out.exists():
        return
    lines = out.read_bytes().decode("utf-8", errors="replace").split("\n")  # the end may be half a letter
    whole = "".join(f"{line}\n" for line in lines[:-1])
    if lines[-1]:
        put(out, whole)
    for number, line in enumerate(lines[:-1], 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise BadData(f"{out}, line {number}: damaged ({error}). Delete the line and resume") from error


def _by_id(path: Path) -> dict[str, Line]:
    found: dict[str, Line] = {}
    for number, row in enumerate(rows(path), 1):
        name = next((str(row[key]) for key in IDS if row.get(key) is not None), "")
        if not name:
            raise BadData(f"{path}, row {number}: no id ({', '.join(IDS)}). It has {', '.join(row)}")
        if name in found:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        found[name] = row
    return found


def _cell(row: Line, keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


class Remote:
    """A judge on an OpenAI-compatible server; its version is what the server calls it."""

    def __init__(self, name: str, **options: Any) -> None:
        self.endpoint = Endpoint.named(name, **options)
        self.name = self.endpoint.named_model()

    def stream(self, asked: Sequence[Chat], longest: int, temperature: float) -> Iterator[tuple[int, Said]]:
        """Several at once."""
        return self.endpoint.stream(asked, longest=longest, temperature=temperature)


class Local:
    """A composed model, or an LLM alone, as the judge; its version is the digest of its files.

    What an LLM is told becomes tokens as anywhere in Isthmus: nothing in it is read as a control token.
    """

    def __init__(self, name: str) -> None:
        from isthmus import compose, load_with_processor
        from isthmus.bulk.run import model_facts

        alone = not _is_composed(name)
        facts = model_facts(name) if not alone or Path(name).expanduser().is_dir() else {}
        self.name = f"{name} {facts['sha256'][:12]}" if facts else name  # a part of a package is pinned by its name
        self.model, self.processor = compose(llm=name, image=None) if alone else load_with_processor(name)
        self.model.eval()

    def stream(self, asked: Sequence[Chat], longest: int, temperature: float) -> Iterator[tuple[int, Said]]:
        """One after another, greedily."""
        if temperature:
            raise BadRecipe("a local judge answers greedily: leave --temperature out")
        for number, conversation in enumerate(asked):
            yield number, self._reply(conversation, longest)

    def _reply(self, conversation: Chat, longest: int) -> Said:
        import torch

        inputs = self.processor.encode([list(conversation)])
        length = inputs["input_ids"].shape[1]
        reads = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if reads is not None and length + longest > reads:
            return Unanswered(f"{length + longest:,} tokens with the reply; the judge reads {reads:,}")
        with torch.inference_mode():
            out = self.model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        said = out[0, 1 if self.model.config.is_encoder_decoder else length :]
        text = self.processor.decode(said).strip()
        return Reply(text, self.name, len(said) >= longest) if text else Unanswered("an empty reply")


def _is_composed(name: str) -> bool:
    from isthmus.evaluate import models

    try:
        return models.kind(name) == "composed"
    except UnknownName:
        return False


def opened(name: str, **options: Any) -> Judge:
    """A judge by `http://HOST/v1#MODEL`, `default`, a checkpoint's folder, or an LLM as `compose` takes it."""
    return Remote(name, **options) if name.startswith(("http://", "https://")) else Local(name)
