"""Perplexity of texts, from the log-likelihoods that a model gave them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._rows import text
from isthmus.evaluate.benchmarks._tasks import loaded
from isthmus.evaluate.files import Row
from isthmus.evaluate.metrics.perplexity import Counted, counted
from isthmus.evaluate.scored import Figure, Scored, of_sums

ABOUT = "perplexity by token, word and byte, and bits per byte, of log-likelihoods"
SOURCE = (
    "exp(-sum of log-likelihoods / units) over the corpus; words and bytes of the text as lm-evaluation-harness counts"
    " them (wikitext: word_perplexity, byte_perplexity, bits_per_byte)"
)
PREDICTIONS = {
    "rows with a sum": '{"text": "The tower is 324 metres tall.", "loglikelihood": -21.4, "tokens": 9}',
    "rows with one number a token": '{"text": "The tower", "logprobs": [-3.1, -5.2]}',
    "samples logged by lm-evaluation-harness": '{"doc_id": 0, "doc": {"page": "..."}, "resps": [[[-2091.5]]]}',
}
REFERENCES: dict[str, str] = {}
SUMS = ("loglikelihood", "log_likelihood", "logprob", "log_prob", "ll")
EACH = ("logprobs", "token_logprobs", "loglikelihoods", "log_probs")
TEXTS = ("text", "page", "document", "target", "reference")
TOKENS = ("tokens", "num_tokens", "n_tokens", "token_count")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Each figure whose units the rows tell: tokens, or the words and bytes of a text."""
    found = Scored()
    some: list[Counted] = []
    for number, row in enumerate(loaded(predictions), 1):
        one = _row(row, f"{predictions}, row {number}")
        if not math.isfinite(one.loglikelihood):
            found.unscored[str(row.get("doc_id", number - 1))] = "the log-likelihood is not finite"
        else:
            some.append(one)
    sums_KS = np.array([(one.loglikelihood, one.tokens or 0, one.words, one.bytes) for one in some], float).reshape(
        -1, 4
    )
    for place, name in enumerate(("perplexity", "word_perplexity", "byte_perplexity"), 1):
        if len(some) and (sums_KS[:, place] > 0).all():
            found.metrics[name] = _exp(sums_KS[:, [0, place]])
    if "byte_perplexity" in found.metrics:
        value, low, high, n = found.metrics["byte_perplexity"]
        found.metrics["bits_per_byte"] = Figure(math.log2(value), math.log2(low), math.log2(high), n)
    return found


def _exp(sums_K2: Any) -> Figure:
    return of_sums(lambda sums: np.exp(-sums[..., 0] / sums[..., 1]), sums_K2)


def _row(row: Row, where: str) -> Counted:
    """One text's log-likelihood and units. Raises `BadData` where a row has neither."""
    each = next((row[key] for key in EACH if isinstance(row.get(key), list)), None)
    whole = next((row[key] for key in (*SUMS, "filtered_resps", "resps") if row.get(key) is not None), None)
    if each is None and whole is None:
        known = ", ".join(key for key in row if key != "_file")
        raise BadData(f"{where}: no log-likelihood under {', '.join((*SUMS, *EACH))}. It has {known}")
    numbers = (
        [_number(one, where) for one in each if one is not None] if each is not None else []
    )  # the first may be null
    total = math.fsum(numbers) if each is not None else _number(whole, where)
    tokens = len(numbers) or next((int(row[key]) for key in TOKENS if isinstance(row.get(key), int | float)), None)
    own = next((text(row[key]) for key in TEXTS if text(row.get(key))), "")
    if own:
        return counted(own, total, tokens)
    words = row.get("word_perplexity")
    if isinstance(words, list) and len(words) == 2 and isinstance(row.get("byte_perplexity"), list):
        return Counted(total, int(words[1]), int(row["byte_perplexity"][1]), tokens)
    if not tokens:
        raise BadData(f"{where}: neither a text ({', '.join(TEXTS)}) nor a number of tokens ({', '.join(TOKENS)})")
    return Counted(total, 0, 0, tokens)


def _number(cell: Any, where: str) -> float:
    while isinstance(cell, list) and cell:
        cell = cell[0]
    try:
        return float(re.sub(r"[()]", "", cell).split(",")[0] if isinstance(cell, str) else cell)
    except (TypeError, ValueError) as error:
        raise BadData(f"{where}: {cell!r} is no log-likelihood") from error
