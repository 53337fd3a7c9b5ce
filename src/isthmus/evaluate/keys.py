"""The keys under which files have answers and truths: a benchmark's own go first, then what others call the same.

A key that can mean something else in another file, as `text`, which may be the question, goes last of the answers'.
"""

from __future__ import annotations

from collections.abc import Iterable

SAID = (
    *("prediction", "predictions", "pred", "predicted", "predict", "predicted_answer", "pred_answer", "pred_text"),
    *("response", "responses", "output", "outputs", "generated_text", "generation", "completion", "model_answer"),
    *("model_output", "model_response", "model_prediction", "filtered_resps", "resps"),
)
TRUTHS = (
    *("ground_truth", "groundtruth", "ground_truths", "gt", "gt_answers", "gt_answer", "gt_ans", "answer_gt"),
    *("truth", "gold", "gold_answer", "correct_answer", "true_answer", "target", "targets", "reference", "references"),
    *("label", "labels"),
)
LATE = ("text", "answer", "caption", "description")


def said(*own: str) -> tuple[str, ...]:
    """Keys of answers: a benchmark's own, what others call them, and last those of its own that may be no answer's.

    >>> said("response", "text")[:3], said("response", "text")[-1]
    (('response', 'prediction', 'predictions'), 'text')
    """
    first = [key for key in own if key not in LATE]
    return (*first, *(key for key in SAID if key not in own), *(key for key in own if key in LATE))


def some(names: Iterable[str]) -> str:
    """The first of many keys, for a message.

    >>> some(SAID)
    'prediction, predictions, pred, predicted, predict, predicted_answer, ...'
    """
    held = list(names)
    return ", ".join(held if len(held) <= 8 else [*held[:6], "..."])


def truths(*own: str) -> tuple[str, ...]:
    """Keys of truths: a benchmark's own, then what others call them.

    >>> truths("answer", "gt")[:3]
    ('answer', 'gt', 'ground_truth')
    """
    return (*own, *(key for key in TRUTHS if key not in own))
