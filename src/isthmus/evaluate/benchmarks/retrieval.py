"""Retrieval of captions for pictures and pictures for captions, from a matrix of similarities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import BadData
from isthmus.evaluate.files import document
from isthmus.evaluate.metrics.retrieval import FIRST, average_precisions, captions_of, places
from isthmus.evaluate.scored import Figure, Scored, mean, of_sums, over, proportion

ABOUT = "recall at 1, 5 and 10, median rank and mAP, both ways, of a matrix of similarities"
SOURCE = "Hodosh et al., JAIR 47, 2013; Faghri et al., 2018, arXiv:1707.05612 (rsum, five captions a picture)"
PREDICTIONS = {
    "an .npz with the array similarity [pictures, captions]": "np.savez('s.npz', similarity=s, image_of_caption=owner)",
    "an .npy of it, or JSON": '{"similarity": [[0.31, 0.12], [0.08, 0.27]], "image_of_caption": [0, 1]}',
}
REFERENCES = {
    "which picture each caption is of; by default as many in order for each": (
        '{"image_of_caption": [0, 0, 0, 0, 0, 1]}'
    ),
}
INSIDE = True  # the file of similarities may hold it
MATRICES = ("similarity", "similarities", "sims", "scores", "arr_0")
OWNERS = ("image_of_caption", "owner", "owners", "img_of_txt", "txt2img", "caption_to_image")
Floats = npt.NDArray[np.float64]


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """The figures of both directions and the sum of the six recalls in per cent; both modes are the same."""
    held = _held(predictions)
    matrix = next((held[key] for key in MATRICES if key in held), None)
    if matrix is None:
        raise BadData(f"{predictions}: no matrix under {', '.join(MATRICES)}. It has {', '.join(held) or 'nothing'}")
    try:
        similarity_IC = np.asarray(matrix, float)
    except (TypeError, ValueError) as error:
        raise BadData(
            f"{predictions}: the matrix of similarities is not all numbers, or its rows differ in length"
        ) from error
    if similarity_IC.ndim != 2 or not similarity_IC.size or np.isnan(similarity_IC).any():
        raise BadData(
            f"{predictions}: a matrix of pictures x captions without NaN is needed, not {similarity_IC.shape}"
        )
    told = held if references is None else _held(references)
    owners = _owners(
        next((told[key] for key in OWNERS if key in told), None), similarity_IC.shape, references or predictions
    )
    relevant_IC = captions_of(owners, len(similarity_IC))
    found = Scored()
    both = {"image_to_text": (similarity_IC, relevant_IC), "text_to_image": (similarity_IC.T, relevant_IC.T)}
    for way, (similarity, relevant) in both.items():
        clusters = owners if way == "text_to_image" else list(range(len(similarity)))
        own = _figures(similarity, relevant, [str(one) for one in clusters])
        found.add(own, way)
    found.metrics["rsum"] = _rsum(both, owners)
    return found


def _rsum(both: Mapping[str, tuple[Floats, Any]], owners: Sequence[int]) -> Figure:
    """The sum of the six recalls in percent; pictures are drawn with their captions."""
    rows, images = [], []
    for side, (similarity_QN, relevant_QN) in enumerate(both.values()):
        for query, place in enumerate(places(similarity_QN, relevant_QN)):
            row = np.zeros((2, len(FIRST) + 1))
            row[side] = [*(place <= k for k in FIRST), 1]
            rows.append(row.ravel())
            images.append(owners[query] if side else query)

    def statistic(sums: Floats) -> Floats:
        each = sums.reshape(*sums.shape[:-1], 2, len(FIRST) + 1)
        return np.asarray(100 * over(each[..., :-1], each[..., -1:]).sum((-1, -2)))

    return of_sums(statistic, np.array(rows), images)


def _figures(similarity_QN: Floats, relevant_QN: Any, clusters: list[str]) -> dict[str, Figure]:
    places_Q = places(similarity_QN, relevant_QN)
    figures = {f"r@{k}": proportion((places_Q <= k).tolist(), clusters) for k in FIRST}
    figures["median_rank"] = _median(places_Q)
    figures["mean_rank"] = mean(places_Q.tolist(), clusters)
    figures["map"] = mean(average_precisions(similarity_QN, relevant_QN).tolist(), clusters)
    return figures


def _median(places_Q: Any) -> Figure:
    """The median place, rounded down, drawn anew by query: a draw says how often each query is in it."""
    order = np.argsort(places_Q, kind="stable")

    def statistic(sums: Floats) -> Floats:
        counts = sums[..., order].cumsum(-1)
        half = counts[..., -1:] / 2
        low, high = ((counts >= half).argmax(-1), (counts > half).argmax(-1))
        found: Floats = np.floor((places_Q[order][low] + places_Q[order][high]) / 2)
        return found

    if len(places_Q) > 5000:  # counts of each query would not fit
        return Figure(float(np.floor(np.median(places_Q))), float("nan"), float("nan"), len(places_Q))
    return of_sums(statistic, np.eye(len(places_Q)))


def _held(path: Path) -> dict[str, Any]:
    """What a file holds, by name."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        if path.suffix == ".npy":
            return {MATRICES[0]: np.load(path, allow_pickle=False)}
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: not an array that numpy can read without pickle ({error})") from error
    found = document(path)
    if isinstance(found, list):
        return {MATRICES[0] if found and isinstance(found[0], list) else OWNERS[0]: found}
    if not isinstance(found, dict):
        raise BadData(f"{path}: an object with a matrix is needed")
    return found


def _owners(told: Any, shape: tuple[int, ...], path: Path) -> list[int]:
    """Which picture each caption is of: as told, or as many captions for each picture, in order."""
    images, captions = shape
    if told is None:
        if captions % images:
            raise BadData(
                f"{path}: {captions:,} captions of {images:,} pictures are not as many for each; say which picture each"
                f" caption is of, under {OWNERS[0]}"
            )
        return [place // (captions // images) for place in range(captions)]
    try:
        owners = [int(one) for one in told]
    except (TypeError, ValueError) as error:
        raise BadData(f"{path}: {OWNERS[0]} is a list with a picture's place, from 0, for each caption") from error
    if len(owners) != captions or set(owners) != set(range(images)):
        raise BadData(
            f"{path}: {OWNERS[0]} must name for each of {captions:,} captions one of all {images:,} pictures, from 0"
        )
    return owners
