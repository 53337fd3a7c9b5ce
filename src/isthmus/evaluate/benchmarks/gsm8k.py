"""GSM8K: word problems of grade school, whose answer is one number."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._numbers import final
from isthmus.evaluate.benchmarks._tasks import Task, loaded, tasks, truth_of
from isthmus.evaluate.files import Row
from isthmus.evaluate.scored import Figure, Scored, proportion

ABOUT = "word problems of grade school: is the final number right?"
SOURCE = (
    "Cobbe et al., 2021, arXiv:2110.14168; github.com/openai/grade-school-math (accuracy: the number behind '#### ');"
    " strict_match and flexible_extract as lm-evaluation-harness, task gsm8k"
)
PREDICTIONS = {
    "rows, with the references' question, an id or in their order": (
        '{"question": "Weng earns ...", "prediction": "... #### 10"}'
    ),
    "with the truth inside": '{"question": "Weng earns ...", "answer": "... #### 10", "prediction": "... #### 10"}',
    "samples logged by lm-evaluation-harness": (
        '{"doc_id": 0, "doc": {"question": "...", "answer": "#### 10"}, "resps": [["#### 10"]]}'
    ),
    "example_model_solutions.jsonl, of several models": (
        '{"question": "...", "ground_truth": "A: 10", "175b_verification": {"solution": "A: 10", "is_correct": true}}'
    ),
}
REFERENCES = {"test.jsonl of the authors": '{"question": "Weng earns $12 an hour ...", "answer": "... #### 10"}'}
INSIDE = True  # rows of predictions may hold the truth
TRUTHS = keys.truths("ground_truth", "gold", "truth", "gt", "reference", "label", "answer", "target")
INVALID = "[invalid]"
MARKED = re.compile(r"#### (\-?[0-9.,]+)")
ANY = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = (",", r"\$", r"(?s).*#### ", r"\.$")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """The three readings of the field; in lenient mode one, which compares numbers as numbers."""
    found = Scored()
    rows = loaded(predictions)
    models = [key for key, cell in rows[0].items() if isinstance(cell, dict) and "solution" in cell] if rows else []
    if models and references is None:
        for model in models:
            own = [_solution(str(number), row, model) for number, row in enumerate(rows)]
            found.add(_figures(own, mode, found), model)
        return found
    found.add(_figures(tasks(predictions, references, TRUTHS, found), mode, found))
    return found


def _solution(name: str, row: Row, model: str) -> Task:
    """A row of several models' solutions, for one; there the answer stands behind `A: `, which was `#### ` later."""
    said, truth = row[model]["solution"], row["ground_truth"]
    return Task(name, re.sub(r"(?m)^A: ", "#### ", said), row | {"ground_truth": re.sub(r"(?m)^A: ", "#### ", truth)})


def marked(text: str) -> str:
    """The authors' reading: the first number behind `#### `, without commas.

    >>> marked("5 * 200 = 1,000 #### 1,000"), marked("So it is 1,000."), marked("#### 10.")
    ('1000', '[invalid]', '10.')
    """
    found = MARKED.search(text)
    return found[1].replace(",", "") if found else INVALID


def strict(text: str) -> str:
    """The harness's strict-match: what the authors read, the commas still in it."""
    found = MARKED.search(text)
    return found[1].strip() if found else INVALID


def flexible(text: str) -> str:
    """The harness's flexible-extract: the last that looks like a number.

    >>> flexible("It costs $1,050. Thanks."), flexible("none")
    ('$1,050.', '[invalid]')
    """
    found = ANY.findall(text)
    return next((part for part in found[-1] if part), INVALID).strip() if found else INVALID


def plain(text: str) -> str:
    """What the harness compares: no comma, no dollar signs, nothing up to the last `#### `, no full stop at the end."""
    for pattern in IGNORED:
        text = re.sub(pattern, "", text)
    return text.lower()


def _figures(some: list[Task], mode: str, found: Scored) -> dict[str, Figure]:
    if mode == "lenient":
        return {"accuracy": proportion(_lenient(some, found))}
    truths = [truth_of(task, TRUTHS) for task in some]
    gold = [strict(truth) if MARKED.search(truth) else truth.strip() for truth in truths]
    said = [task.said or "" for task in some]
    right = [marked(text) == truth.replace(",", "") for text, truth in zip(said, gold, strict=True)]
    if count := sum(marked(text) == INVALID for text in said):
        found.notes.append(f"{count:,} answers hold no '#### ' with a number; the official rule counts them wrong")
    figures = {"accuracy": proportion(right)}
    for name, reading in (("strict_match", strict), ("flexible_extract", flexible)):
        pairs = zip(said, gold, strict=True)
        figures[name] = proportion([plain(reading(text)) == plain(truth) for text, truth in pairs])
    return figures


def _lenient(some: list[Task], found: Scored) -> list[bool]:
    right = []
    for task in some:
        number = final(task.said or "")
        if number is None:
            found.unscored[task.id] = "no number in the answer"
        else:
            right.append(number == final(truth_of(task, TRUTHS)))
    return right
