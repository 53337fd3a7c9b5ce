r"""MATH: competition problems, whose answer stands in \boxed{}."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._latex import boxed, equal, inside
from isthmus.evaluate.benchmarks._numbers import value
from isthmus.evaluate.benchmarks._rows import Judged, accuracies, slug, text
from isthmus.evaluate.benchmarks._tasks import Task, tasks
from isthmus.evaluate.scored import Scored

ABOUT = "competition mathematics: is the boxed answer right?"
SOURCE = "Hendrycks et al., 2021, arXiv:2103.03874; github.com/hendrycks/math, math_equivalence.py"
PREDICTIONS = {
    "rows, with the references' problem, an id or in their order": (
        '{"problem": "What is ...?", "prediction": "... \\\\boxed{18}"}'
    ),
    "with the truth inside": '{"problem": "...", "solution": "... \\\\boxed{18}", "prediction": "... \\\\boxed{18}"}',
    "outputs_answers_MODEL.txt of the authors": (
        "0 TYPE: Algebra | LEVEL: 1 | OUTPUT: 18 | ANSWER: 18 | FNAME: test/algebra/1.json"
    ),
    "samples logged by lm-evaluation-harness": (
        '{"doc_id": 0, "doc": {"problem": "...", "solution": "..."}, "resps": [["..."]]}'
    ),
}
REFERENCES = {
    "the folder MATH/test of the authors, or rows of it": (
        '{"problem": "...", "level": "Level 1", "type": "Algebra", "solution": "... \\\\boxed{18}"}'
    ),
    "test.jsonl of MATH-500": (
        '{"problem": "...", "answer": "18", "subject": "Algebra", "level": 1, "unique_id": "test/algebra/1.json"}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
TRUTHS = keys.truths("solution", "answer", "ground_truth", "gold", "gt", "truth", "label", "target")
LINE = re.compile(r"^\d+ TYPE: (.*?) \| LEVEL: (.*?) \| OUTPUT: (.*?) \| ANSWER: (.*?) \| FNAME: .*?$", re.M | re.S)


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all problems, in each subject and level, and in each level of a subject."""
    found = Scored()
    done = _outputs(predictions) if references is None else None
    judged, loose = [], 0
    for task in tasks(predictions, references, TRUTHS, found) if done is None else done:
        said, truth = task.said or "", _truth(task)
        if mode == "official":
            loose += boxed(said) is None
            right = equal(official(said), truth)
        elif (own := lenient(said)) is None:
            found.unscored[task.id] = "no answer is marked as such"
            continue
        else:
            right = _same(own, truth)
        judged.append(Judged(right, _parts(task), task.id))
    if loose and done is None:
        found.notes.append(f"{loose:,} answers hold no \\boxed; as in the authors' script they are compared as a whole")
    found.add(accuracies(judged))
    return found


def official(said: str) -> str | None:
    r"""What is compared: what the last \boxed holds; without one all that was said; None of a box that is broken.

    >>> official(r"so $\boxed{\frac12}$ or $\boxed{3}$"), official("18"), official(r"\boxed 18")
    ('3', '18', None)
    """
    own = boxed(said)
    return said if own is None and "\\boxed" not in said and "\\fbox" not in said else inside(own)


def lenient(said: str) -> str | None:
    r"""What a person takes for the answer: the last box, what is called the answer, the last formula, or all if short.

    >>> lenient(r"The answer is \(x=2\)."), lenient("so $y=3$ holds"), lenient(r"\boxed 5"), lenient("it is not large")
    ('x=2', 'y=3', '5', None)
    """
    if (own := inside(boxed(said))) is not None:
        return own
    readings = (
        re.findall(r"\\boxed\s+([^\s$]+)", said),
        re.findall(r"(?i)\banswer(?:\s+is|\s*:)\s*(.+?)(?=\.\s|\.?\s*$|\n)", said),
        re.findall(r"\$+([^$]+)\$+", said),
        re.findall(r"\\[(\[](.+?)\\[)\]]", said, re.S),
        [said] if len(said.split()) <= 3 else [],
    )
    last = next((some[-1] for some in readings if some), "")
    return re.sub(r"\$|\*\*|\\[()\[\]]", "", last).strip().removesuffix(".") or None


def _same(said: str, truth: str) -> bool:
    """Whether two answers are spelled alike, or are the same number."""
    numbers = value(said), value(truth)
    return equal(said, truth) or (numbers[0] is not None and numbers[0] == numbers[1])


def _truth(task: Task) -> str:
    """The truth: what the solution's last box holds, or an answer that stands by itself."""
    for key in TRUTHS:
        if cell := text(task.row.get(key)):
            own = inside(boxed(cell))
            if own is not None or key != "solution":
                return cell if own is None else own
    raise BadData(f"problem {task.id}: its solution has no \\boxed{{}} to take the answer from")


def _parts(task: Task) -> tuple[str, ...]:
    """The problem's subject, its level, and both together, as far as the row says them."""
    subject = slug(text(task.row.get("type") or task.row.get("subject")))
    level = re.sub(r"\D", "", text(task.row.get("level")))
    parts = [subject] if subject else []
    parts += [f"level_{level}"] if level else []
    return (*parts, f"{subject}_level_{level}") if len(parts) == 2 else tuple(parts)


def _outputs(path: Path) -> list[Task] | None:
    """The answers of a file that the authors' script writes, whose lines hold all; None of any other file."""
    if path.suffix != ".txt":
        return None
    lines = LINE.findall(path.read_text(encoding="utf-8-sig", errors="replace"))
    rows = [dict(zip(("type", "level", "said", "answer"), line, strict=True)) for line in lines]
    return [Task(str(number), row["said"], row) for number, row in enumerate(rows)] if rows else None
