"""Asking a model every question of a benchmark, with its own medium and with another one's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import send_to_device
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus.data.packing import Row, alone, collate, pack, packs
from isthmus.data.seen import Seen
from isthmus.errors import BadRecipe
from isthmus.evaluate.scoring import Answer
from isthmus.model.reuse import shared
from isthmus.train.features import features
from isthmus.train.mixture import kinds, load_split
from isthmus.train.recipe import Check
from isthmus.train.setup import Run
from isthmus.types import IGNORE_INDEX, Sample, Turn, noun

BATCH = 32  # questions generated at once
ROWS = 8  # samples, with all their questions, looked at in one pass
LONGEST = 24  # tokens of an answer
Shown = dict[tuple[str, str], Sample]  # by benchmark and id: sets with different options repeat ids


def ask_all(run: Run, checks: dict[str, Check], seed: int = 0) -> tuple[list[Answer], Shown]:
    """Every answer of every benchmark, and what it was shown, for the report's pictures.

    Raises `BadRecipe`, before anything is asked, for a benchmark of a kind of media that the model does not take.
    """
    answers: list[Answer] = []
    shown: Shown = {}
    drawn = {
        name: load_split(check.data, check.split, check.count, check.options, seed + 1)
        for name, check in checks.items()
    }
    takes = dict.fromkeys(run.processor.placeholders)
    for name, samples in drawn.items():
        if more := sorted(kinds(samples) - takes.keys()):
            raise BadRecipe(
                f"{name} shows {', '.join(more)}, and this model takes {', '.join(takes) or 'no media'}. Ask others"
            )
    for name, check in checks.items():
        samples = drawn[name]
        answers += ask(run, name, samples, check.kinds, seed, check.swapped)
        shown |= {(name, sample.id): sample for sample in samples}
    return answers, shown


def nouns(shown: Shown) -> dict[str, str]:
    """What each benchmark showed, in a word."""
    kinds: dict[str, list[str]] = {}
    for (benchmark, _), sample in shown.items():
        kinds.setdefault(benchmark, []).extend(medium.kind for medium in sample.media)
    return {benchmark: noun(some) for benchmark, some in kinds.items()}


def ask(
    run: Run,
    benchmark: str,
    samples: Sequence[Sample],
    kinds: Sequence[str] | None,
    seed: int,
    swapped: int | None = None,
) -> list[Answer]:
    """Greedy answers to the samples' turns (of some kinds only, if given).

    The questions of `swapped` samples (all, if None) are asked twice: with their media, and with those of another
    sample of the same kinds, which shows how much could be answered without looking.
    """
    asked = [alone(s)[0] if s.chained else s for s in samples]  # of a conversation, its first question
    asked = [replace(s, turns=tuple(t for t in s.turns if not kinds or t.kind in kinds)) for s in asked]
    asked = [sample for sample in asked if sample.turns]
    if not asked:
        raise BadRecipe(f"{benchmark}: no question of the kinds {', '.join(kinds or ())} in its samples")
    seen = features(run, asked, benchmark)
    said = _answers(run, asked, seen, benchmark)
    rng = random.Random(f"{seed}/{benchmark}")
    shows = [i for i, sample in enumerate(asked) if sample.media]
    again = sorted(rng.sample(shows, min(len(shows), swapped or len(shows))))
    blind: dict[tuple[str, Turn], str] = {}
    if others := _others(asked, again, rng):
        some = [asked[i] for i in others]
        turns = [(sample.id, turn) for sample in some for turn in sample.turns]
        blind = dict(zip(turns, _answers(run, some, seen[others.values()], "swapped"), strict=True))
    return [
        Answer(sample.id, benchmark, turn.kind, turn.question, turn.answer, own, blind.get((sample.id, turn)))
        for (sample, turn), own in zip(((s, t) for s in asked for t in s.turns), said, strict=True)
    ]


def another(count: int, rng: random.Random) -> list[int]:
    """A permutation that leaves nothing in its place.

    >>> all(a != b for a, b in enumerate(another(5, random.Random(0))))
    True
    """
    order = rng.sample(range(count), count)
    swapped = [0] * count
    for here, there in zip(order, order[1:] + order[:1], strict=True):
        swapped[here] = there
    return swapped


def _others(asked: Sequence[Sample], again: Sequence[int], rng: random.Random) -> dict[int, int]:
    """For each of the samples `again`, another one of them with media of the same kinds; none where it is alone."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for place in again:
        alike.setdefault(tuple(medium.kind for medium in asked[place].media), []).append(place)
    groups = [group for group in alike.values() if len(group) > 1]
    found = {one: group[i] for group in groups for one, i in zip(group, another(len(group), rng), strict=True)}
    return dict(sorted(found.items()))


@torch.inference_mode()
def _answers(run: Run, asked: Sequence[Sample], seen: Seen, note: str) -> list[str]:
    """The greedy answer to every turn, in order.

    Decoding greedily gives the true answer exactly when each of its tokens is the likeliest after those before it,
    which one pass over a medium and all its questions tells (see `data.packing`); only other answers are generated,
    those of one kind together, because a batch takes as long as its longest answer, and of these those about one
    sample, whose media are then read once.
    """
    turns = [(place, turn) for place, sample in enumerate(asked) for turn in sample.turns]
    columns = (TextColumn("{task.description:>20}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), refresh_per_second=2) as bar:
        task = bar.add_task(note, total=len(turns))
        right: list[bool] = []
        for start in range(0, len(asked), ROWS):
            if not packs(run.model):
                right = [False] * len(turns)  # all are generated
                break
            several = range(start, min(start + ROWS, len(asked)))
            rows = [pack(asked[place], run.processor.template, seen.media(place)) for place in several]
            right += (some := _likeliest(run, rows, seen[several]))
            bar.update(task, advance=sum(some))
        said = [turn.answer for _, turn in turns]
        wrong = [place for place, agrees in enumerate(right) if not agrees]
        wrong.sort(key=lambda place: (turns[place][1].kind, turns[place][0]))
        for batch in (wrong[i : i + BATCH] for i in range(0, len(wrong), BATCH)):
            questions = [turns[place][1].question for place in batch]
            places = [turns[place][0] for place in batch]
            texts = answer_batch(run, questions, seen[places], [asked[place].system for place in places])
            for place, text in zip(batch, texts, strict=True):
                said[place] = text
            bar.update(task, advance=len(batch))
    return said


def _likeliest(run: Run, rows: Sequence[Row], shown: Seen) -> list[bool]:
    """For each turn of the rows, whether its answer is what greedy decoding gives.

    As in the loss, the head runs only at the positions before supervised tokens; S is their number.
    """
    batch = collate(rows, pad=0)
    labels_BT = batch["labels"][:, 1:]
    seen = {key: batch[key] for key in ("input_ids", "attention_mask", "position_ids")}
    hidden_BTD = run.model.hidden(**seen, **shown.inputs())
    keep = labels_BT != IGNORE_INDEX
    agrees_S = run.model.get_output_embeddings()(hidden_BTD[:, :-1][keep]).argmax(-1) == labels_BT[keep]
    lengths = [len(run.processor.template.answer(turn.answer)) for row in rows for turn in row.sample.turns]
    return [bool(own.all()) for own in agrees_S.split(lengths)]


def answer_batch(
    run: Run, questions: Sequence[str], seen: Seen, systems: Sequence[str] = (), longest: int = LONGEST
) -> list[str]:
    """Greedy answers to one question about what each sample shows, after its system message, if there is one.

    What several of them begin with (system message and media) is read once, where nothing in that depends on the
    question.
    """
    template, model = run.processor.template, run.model
    begun = [template.begin(seen.slots(i), own) for i, own in enumerate(systems or [""] * len(questions))]
    ends = [template.question(text, space) for (_, space), text in zip(begun, questions, strict=True)]
    alike: dict[Any, int] = {}  # what a text begins with, and its number
    index = [alike.setdefault((*own, str(seen.rows[i])), len(alike)) for i, (own, _) in enumerate(begun)]
    if len(alike) < len(questions) and all(own for own, _ in begun) and packs(model):
        first = [index.index(number) for number in range(len(alike))]
        ids, mask = _padded([begun[i][0] for i in first])
        begins = send_to_device((ids, mask, torch.tensor(index), seen[first].inputs()), model.device)
        more = shared(model, *begins)
        own_ids, own_mask = _padded(ends)
        ids, mask = torch.cat([ids[index], own_ids], 1), torch.cat([mask[index], own_mask], 1)
    else:
        ids, mask = _padded([own + end for (own, _), end in zip(begun, ends, strict=True)])
        asked = ((kind, question) for i, question in enumerate(questions) for kind, _ in seen.slots(i))
        more = seen.inputs() | run.processor.texts(asked)
    inputs = send_to_device({"input_ids": ids, "attention_mask": mask} | more, model.device)
    out: Any = model.generate(**inputs, max_new_tokens=longest, do_sample=False)
    start = 1 if model.config.is_encoder_decoder else ids.shape[1]
    return [run.processor.decode(row[start:]) for row in out]


def _padded(rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded on the left, and 0 where they are: `input_ids` and `attention_mask` [B, T]."""
    fill = [max(map(len, rows)) - len(row) for row in rows]
    ids = torch.tensor([[0] * n + row for n, row in zip(fill, rows, strict=True)])
    return ids, torch.tensor([[0] * n + [1] * len(row) for n, row in zip(fill, rows, strict=True)])
