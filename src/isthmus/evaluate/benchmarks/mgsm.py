"""MGSM: GSM8K's problems in eleven languages."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._numbers import final
from isthmus.evaluate.benchmarks._rows import Judged, accuracies, text
from isthmus.evaluate.benchmarks._tasks import Task, tasks, truth_of
from isthmus.evaluate.scored import Scored

ABOUT = "word problems of grade school in eleven languages: is the final number right?"
SOURCE = "Shi et al., 2022, arXiv:2210.03057; read as github.com/openai/simple-evals does, mgsm_eval.py"
PREDICTIONS = {
    "rows that say their language": '{"lang": "de", "inputs": "Ein Haus ...", "prediction": "Antwort: 18"}',
    "with the truth inside": '{"lang": "de", "targets": "18", "prediction": "Antwort: 18"}',
    "a folder of files, one for each language": "mgsm_de.jsonl: {...}",
}
REFERENCES = {
    "mgsm_XX.tsv, or a folder of them": "Ein Haus ...\t18",
    "rows": '{"lang": "de", "inputs": "...", "targets": "18"}',
}
INSIDE = True  # rows of predictions may hold the truth
TRUTHS = keys.truths("targets", "target", "answer_number", "ground_truth", "gold", "truth", "label", "answer")
WORDS = {
    "bn": "উত্তর", "de": "Antwort", "en": "Answer", "es": "Respuesta", "fr": "Réponse", "ja": "答え", "ru": "Ответ",
    "sw": "Jibu", "te": "సమాధానం", "th": "คำตอบ", "zh": "答案",
}  # fmt: skip
LATIN = ("de", "en", "es", "fr", "sw")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all languages, over those in Latin and in other scripts, and in each."""
    found = Scored()
    judged, silent = [], 0
    for task in tasks(predictions, references, TRUTHS, found, columns=("inputs", "targets")):
        language, said = _language(task), task.said or ""
        truth = truth_of(task, TRUTHS).strip()
        if mode == "official":
            right = equal(truth, number(said, WORDS[language]))
            silent += not number(said, WORDS[language])
        elif (own := final(said)) is None:
            found.unscored[task.id] = "no number in the answer"
            continue
        else:
            right = own == final(truth)
        judged.append(Judged(right, ("group_latin" if language in LATIN else "group_non_latin", language), task.id))
    if silent:
        found.notes.append(f"{silent:,} answers hold no number behind 'Answer' in their language; they count as wrong")
    found.add(accuracies(judged))
    return found


def number(said: str, word: str) -> str:
    """The last number behind the last `word`; empty without one.

    >>> number("3 x 6 = 18. Answer: 1,018.", "Answer"), number("Answer: 18 of 20", "Answer"), number("18", "Answer")
    ('1018', '20', '')
    """
    if word not in said:
        return ""
    found = re.findall(r"\d+\.?\d*", said.split(word)[-1].strip().replace(",", ""))
    return found[-1].rstrip(".") if found else ""


def equal(truth: str, said: str) -> bool:
    """Whether a number is the truth, as text, without the zeros behind its point.

    >>> equal("18", "18.00"), equal("1,018", "1018"), equal("20", "18")
    (True, True, False)
    """
    if "." in said:
        said = said.rstrip("0").rstrip(".")
    return truth.replace(",", "") == said.replace(",", "")


def _language(task: Task) -> str:
    """What the row says of its language, or its file's name."""
    own = text(next((task.row[key] for key in ("lang", "language") if task.row.get(key)), "")).lower()
    named = re.search(r"(?:^|[_/.-])(" + "|".join(WORDS) + r")(?=[_/.-])", str(task.row.get("_file", "")))
    language = own or (named[1] if named else "")
    if language not in WORDS:
        raise BadData(
            f"question {task.id}: of which language? A key `lang` or the file's name says one of {', '.join(WORDS)};"
            f" here it is {language or 'none'}"
        )
    return language
