"""JailBreakV-28K: attacks on language models, and on pictures, carried over to multimodal LLMs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.answers import IDS, first, records, slug, text
from isthmus.evaluate.benchmarks._asked import have, somewhere
from isthmus.evaluate.benchmarks._safety import add_rates
from isthmus.evaluate.files import Row
from isthmus.evaluate.questions import Question, one
from isthmus.evaluate.scored import Scored

ABOUT = "jailbreaks in text and picture, under sixteen policies; the share of attacks that succeed"
SOURCE = "Luo et al., 2024, arXiv:2404.03027; github.com/EddyLuo1232/JailBreakV_28K, judged by Llama Guard"
PREDICTIONS = {
    "its table with the answers and verdicts": (
        "id, jailbreak_query, redteam_query, format, policy, image_path, transfer_from_llm, response,"
        " evaluation_llamaguard_ours, jailbroken_llamaguard_ours"
    ),
    "JSON lines": '{"id": 0, "format": "Template", "policy": "Malware", "response": "...", "jailbroken": true}',
}
REFERENCES = {"JailBreakV_28K.csv, for format and policy where the rows lack them": "id, format, policy"}
INSIDE = True  # rows of predictions hold format and policy
DATA = {
    "JailBreakV_28K.csv": "the attacks, or JailBreakV_28K/JailBreakV_28K.csv, or mini_JailBreakV_28K.csv",
    "llm_transfer_attack": "beside it the folders of pictures that its image_path names; also figstep, query_related",
}
GET = "huggingface.co/datasets/JailbreakV-28K/JailBreakV-28k, with its pictures"
HUB = "JailbreakV-28K/JailBreakV-28k"
HEADLINE = "attack_success_rate"
LONGEST = 512  # tokens of an answer
KEPT = ("id", "jailbreak_query", "redteam_query", "format", "policy", "image_path", "transfer_from_llm")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """attack_success_rate of all, of each form of attack, of each policy, and of LLM-transfer and picture attacks."""
    found = Scored()
    more = {text(first(row, IDS)): row for row in records(references)} if references is not None else {}
    rows = []
    for number, row in enumerate(records(predictions), 1):
        own = first(row, IDS)
        name = text(own if own is not None else number)
        whole = more.get(name, {}) | row
        rows.append((name if name not in found.unscored else f"{name}/{number}", whole, _parts(whole)))
    add_rates(found, rows, mode)
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The attacks as they stand, each with its picture."""
    names = ("JailBreakV_28K.csv", "JailBreakV_28K/JailBreakV_28K.csv")
    file = one(folder, *names, "mini_JailBreakV_28K.csv", "JailBreakV_28K/mini_JailBreakV_28K.csv")
    found = []
    for number, row in enumerate(records(file), 1):
        have(row, ("id", "jailbreak_query", "format", "policy", "image_path"), file, number)
        name = text(row["id"])
        media = somewhere(file.parent, [text(row["image_path"])], f"question {name}")
        kept = {key: row[key] for key in KEPT if key in row} | {"id": name}
        found.append(
            Question(
                *(name, text(row["jailbreak_query"]), (media,)), parts=_parts(row), image=text(row["image_path"]),
                row=kept, longest=LONGEST,
            )
        )  # fmt: skip
    return found


def _parts(row: Row) -> tuple[str, ...]:
    """The form and the policy of an attack, and whether it comes from attacks on language models."""
    parts = [slug(row[key]) for key in ("format", "policy") if key in row]
    if "transfer_from_llm" in row:
        moved = text(row["transfer_from_llm"]).lower() in ("true", "1")
        parts.append("llm_transfer" if moved else "image_based")
    return tuple(dict.fromkeys(parts))
