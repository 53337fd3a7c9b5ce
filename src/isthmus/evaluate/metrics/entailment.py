"""Entailment scores: does what was said follow from the references, by a classifier of entailment (NLI).

    entailment_score   the mean over references of P(entailment)
    weighted_score     F = mean_i w_i (P_i(entailment) + P_i(neutral)), a softmax over the three classes:
                       an answer that no reference contradicts
    LLM likelihood     P(yes) / (P(yes) + P(no)) of any causal LM that is asked whether it follows: a stand-in where no
                       such classifier is at hand, and always to be named as one

The figures are functions of probabilities; `Classifier` and `Likelihood` get those from a model in a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import PartUnavailable

CLASSES = ("entailment", "neutral", "contradiction")
QUESTION = (
    "Premise: {premise}\nHypothesis: {hypothesis}\nDoes the hypothesis follow from the premise? Answer yes or no."
)
BATCH = 16


class Probabilities(NamedTuple):
    """Of one pair: what the classifier makes of its three classes; they sum to 1."""

    entailment: float
    neutral: float
    contradiction: float


def entailment_score(references: Sequence[Probabilities]) -> float:
    """The mean over references of P(entailment).

    >>> entailment_score([Probabilities(0.75, 0.25, 0.0), Probabilities(0.25, 0.5, 0.25)])
    0.5
    """
    return sum(one.entailment for one in references) / len(references)


def weighted_score(references: Sequence[Probabilities], weights: Sequence[float] | None = None) -> float:
    """F = mean_i w_i (P_i(entailment) + P_i(neutral)); weights are 1 unless given.

    >>> weighted_score([Probabilities(0.75, 0.25, 0.0), Probabilities(0.25, 0.25, 0.5)])
    0.75
    >>> weighted_score([Probabilities(0.75, 0.25, 0.0), Probabilities(0.25, 0.25, 0.5)], [2, 0])
    1.0
    """
    shares = [1.0] * len(references) if weights is None else list(weights)
    pairs = zip(references, shares, strict=True)
    return sum(weight * (one.entailment + one.neutral) for one, weight in pairs) / len(references)


class Classifier:
    """A three-way classifier of a folder, in the form of `transformers`; its classes are found by their names.

    Raises `PartUnavailable` for a folder without one, or one whose classes are not named.
    """

    def __init__(self, folder: Path | str) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self.model: Any = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise PartUnavailable(f"{folder}: no classifier with its tokeniser here ({error})") from error
        self.places = places(self.model.config.id2label, str(folder))

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[Probabilities]:
        """Of each pair of a premise (a reference) and a hypothesis (what was said)."""
        import torch

        found: list[Probabilities] = []
        with torch.inference_mode():
            for start in range(0, len(pairs), BATCH):
                premises, hypotheses = zip(*pairs[start : start + BATCH], strict=True)
                inputs = self.tokenizer(
                    list(premises), list(hypotheses), padding=True, truncation=True, return_tensors="pt"
                )  # fmt: skip
                chances = self.model(**inputs).logits.float().softmax(-1).tolist()
                found += [Probabilities(*(chance[place] for place in self.places)) for chance in chances]
        return found


def places(names: dict[int, str], whose: str = "the classifier") -> tuple[int, int, int]:
    """At which places a classifier has entailment, neutral and contradiction, by the names of its classes.

    >>> places({0: "CONTRADICTION", 1: "Neutral", 2: "entailment"})
    (2, 1, 0)
    """
    known = {str(name).lower(): int(place) for place, name in names.items()}
    found = [[place for name, place in known.items() if name.startswith(label[:6])] for label in CLASSES]
    if len(known) != 3 or not all(len(some) == 1 for some in found):
        raise PartUnavailable(
            f"{whose} has the classes {', '.join(map(str, names.values()))}; entailment, neutral and contradiction are"
            " needed, under these names (id2label of its config.json)"
        )
    return found[0][0], found[1][0], found[2][0]


class Likelihood:
    """The stand-in: how likely a causal LM of a folder says yes when it is asked whether a hypothesis follows."""

    def __init__(self, folder: Path | str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self.model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise PartUnavailable(f"{folder}: no LLM with its tokeniser here ({error})") from error

    def yes(self, premise: str, hypothesis: str) -> float:
        """P(yes) / (P(yes) + P(no)), each of the whole word, after a question in no chat template."""
        import torch

        asked = self.tokenizer(QUESTION.format(premise=premise, hypothesis=hypothesis) + "\nAnswer:").input_ids
        with torch.inference_mode():
            answers = [self.tokenizer(answer, add_special_tokens=False).input_ids for answer in (" yes", " no")]
            logs = [self._log(asked, answer) for answer in answers]
        return float(torch.tensor(logs).softmax(0)[0])

    def _log(self, asked: list[int], answer: list[int]) -> float:
        """The log-likelihood of the answer's tokens."""
        import torch

        logits = self.model(torch.tensor([asked + answer])).logits[0].float().log_softmax(-1)
        return float(sum(logits[len(asked) - 1 + i, token] for i, token in enumerate(answer)))
