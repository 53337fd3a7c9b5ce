"""COCO Captions: what does the picture show? Each caption beside the five that people wrote of the same picture."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from isthmus.errors import BadData, PartUnavailable
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._asked import Answered, amount, have, hubs, lines, objects, put, shown, somewhere
from isthmus.evaluate.files import SHEETS, TABLES, columns, document, pick, rows, single
from isthmus.evaluate.metrics import bleu, cider, meteor, ptb, rouge
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Figure, Scored, mean, of_sums
from isthmus.types import Image

ABOUT = "captions of pictures, beside several that people wrote: BLEU, METEOR, ROUGE-L, CIDEr-D, SPICE"
SOURCE = "Chen et al., 2015, arXiv:1504.00325; github.com/tylin/coco-caption (CIDEr is CIDEr-D there)"
PREDICTIONS = {
    "COCO's list of results, or JSON lines": '[{"image_id": 404464, "caption": "black and white photo of a man"}]',
    "captions by picture": '{"404464": "black and white photo of a man"}',
    "with the references inside": '{"image_id": 1, "caption": "a dog runs", "references": ["a dog running", "a dog"]}',
}
REFERENCES = {
    "COCO's annotations": '{"images": [{"id": 404464}], "annotations": [{"image_id": 404464, "caption": "A man ..."}]}',
    "references by picture, or rows": '{"404464": ["A man standing.", "A photo of a man."]}',
    "Karpathy's dataset_coco.json": '{"images": [{"cocoid": 404464, "sentences": [{"raw": "A man standing."}]}]}',
}
INSIDE = True  # rows of predictions may hold the references
DATA = {
    "dataset_coco.json": "Karpathy's split, of which the test set is asked",
    "captions_val20*.json": "or captions_val2014.json, or captions_val2017.json, also in annotations/",
    "annotations": "their folder",
    "val2014": "the folder of pictures, or val2017",
    "data/*.parquet": "or, in place of all, rows with question_id, answer and image",
}
GET = "cocodataset.org (val2014.zip, annotations_trainval2014.zip); Karpathy's split: cs.stanford.edu/people/karpathy"
HUB = "lmms-lab/COCO-Caption"
HEADLINE = "cider"
PROMPT = (
    "Provide a one-sentence caption for the provided image."  # as lmms-eval asks; LLaVA-1.5 learnt it from TextCaps
)
IDS = ("image_id", "cocoid", "imgid", "img_id", "image", "question_id", "id", "index", "filename")
SAID = keys.said(
    *("prediction", "pred", "response", "generated_text", "generated_caption", "hypothesis", "hyp", "candidate"),
    *("model_output", "output", "caption", "text", "answer"),
)
INSIDE_TRUE = (
    *("references", "captions", "gts", "refs", "sentences", "reference", "gt", "answers"),
    *("annotation", "gt_captions", "ground_truth", "label", "labels", "target"),
)
TRUE = (*INSIDE_TRUE, "caption", "raw", "text", "answer")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """The figures over the pictures that have a caption; pictures of the references that have none are not scored."""
    found = Scored()
    said = captions(predictions)
    truths = of_pictures(references or predictions, TRUE if references else INSIDE_TRUE)
    if references is not None and not said.keys() & truths.keys():
        said, truths = _numbered(said), _numbered(truths)
    unknown = [name for name in said if not truths.get(name)]
    if unknown and (mode == "official" or len(unknown) == len(said)):
        some = ", ".join(unknown[:3])
        raise BadData(
            f"{predictions}: {len(unknown):,} of {len(said):,} pictures have no reference in"
            f" {references or predictions}, as {some}: are these files of the same split?"
            " The lenient mode leaves such pictures out"
        )
    found.unscored |= dict.fromkeys(unknown, "no reference")
    found.unscored |= {name: "the caption is no text" for name, text in said.items() if text is None}
    missing = [name for name in truths if name not in said]
    if missing and mode == "official":
        found.notes.append(f"{len(missing):,} pictures of the references have no caption and are not scored")
    elif missing:
        found.unscored |= dict.fromkeys(missing, "no prediction")
    names = [name for name in said if name not in found.unscored]
    if names:
        _add([str(said[name]) for name in names], [truths[name] for name in names], found)
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Each picture once, with a request that is in use: the authors ask in no words."""
    found = []
    for name, media, told in _held(folder):
        row = {"image_id": int(name), "references": told}
        longest = 64  # tokens
        found.append(Question(name, PROMPT, (media,), truth=told[0] if told else "", row=row, longest=longest))
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path:
    """The rows, and `captions_results.json`, the official results."""
    results = [{"image_id": own.row["image_id"], "caption": answer} for own, answer in answered]
    put(out / "captions_results.json", json.dumps(results, ensure_ascii=False) + "\n")
    return lines(out, answered)


def _held(folder: Path) -> Iterator[tuple[str, Image, list[str]]]:
    """The number of each picture, the picture, and what people wrote."""
    karpathy = folder / "dataset_coco.json"
    files = [*folder.glob("captions_val20*.json"), *folder.glob("annotations/captions_val20*.json")]
    if karpathy.is_file():
        for number, row in enumerate(objects(karpathy, "images"), 1):
            have(row, ("split", "filename"), karpathy, number, ("sentences",))
            name = str(int(amount(row, "cocoid", f"{karpathy}, row {number}")))
            if row["split"] == "test":
                names = [f"{own}/{row['filename']}" for own in (row.get("filepath", "val2014"), "val2014", "images")]
                told = [text for text in _texts(row["sentences"], f"{karpathy}, row {number}") if text is not None]
                yield name, somewhere(folder, names, f"picture {name}"), told
    elif files:
        file = sorted(files)[0]
        told_ = of_pictures(file, TRUE)
        for number, row in enumerate(objects(file, "images"), 1):
            have(row, ("id", "file_name"), file, number)
            amount(row, "id", f"{file}, row {number}")
            names = [f"{own}/{row['file_name']}" for own in (file.stem.removeprefix("captions_"), "images")]
            if str(row["id"]) not in told_:
                raise BadData(f"{file}: no caption of picture {row['id']}")
            yield str(row["id"]), somewhere(folder, names, f"picture {row['id']}"), told_[str(row["id"])]
    else:
        for number, row in enumerate(hubs(folder, "val", "validation"), 1):
            have(row, ("question_id", "image"), folder, number, ("answer",))
            name = next(iter(_numbered({str(row["question_id"]): 0})))
            yield name, shown(row["image"], folder, f"picture {name}"), list(row["answer"])


def _add(said: Sequence[str], truths: Sequence[Sequence[str]], found: Scored) -> None:
    """Every figure, of captions and of the references of each."""
    candidates = ptb.tokenise(said)
    references = [ptb.tokenise(several) for several in truths]
    sums = bleu.statistics(candidates, references)
    for n in range(1, bleu.ORDERS + 1):
        found.metrics[f"bleu_{n}"] = of_sums(functools.partial(bleu.bleu, n=n), sums)
    _try("meteor", lambda: of_sums(meteor.meteor_of, meteor.statistics(candidates, references)), found)
    found.metrics["rouge_l"] = mean(rouge.rouge_l(candidates, references))
    found.metrics["cider"] = mean(cider.cider_d(candidates, references))
    if len(candidates) == 1:
        found.notes.append("the CIDEr of one picture is 0: n-grams weigh by how few of the other pictures have them")
    _try("spice", lambda: mean(_spice(candidates, references)), found)


def _spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    from isthmus.evaluate.metrics.spice import spice

    return spice(candidates, references)


def _try(name: str, figure: Callable[[], Figure], found: Scored) -> None:
    """Add a figure that needs data or a library; where these are missing, a note says so, and there is no figure."""
    try:
        found.metrics[name] = figure()
    except (PartUnavailable, ImportError) as error:
        found.notes.append(f"{name} is left out, and is no 0: {error}")


def captions(path: Path) -> dict[str, str | None]:
    """The caption of each picture; None where there is no text."""
    found: dict[str, str | None] = {}
    for name, values in of_pictures(path, SAID, whole=True).items():
        if len(values) != 1:
            raise BadData(f"{path}: the picture {name} has {len(values)} captions; one of each picture is scored")
        found[name] = values[0]
    if not found:
        raise BadData(f"{path}: there is no caption in this file")
    return found


def of_pictures(path: Path, keys: Sequence[str], whole: bool = False) -> dict[str, list[Any]]:
    """The texts of each picture, of any of the forms; `whole` keeps those that are no text, as None."""
    found: dict[str, list[Any]] = {}
    for number, (name, value) in enumerate(_pairs(path, keys), 1):
        texts = _texts(value if whole else _listed(value), f"{path}, row {number}")
        found.setdefault(name, []).extend(texts if whole else [text for text in texts if text is not None])
    return found


def _pairs(path: Path, keys: Sequence[str]) -> list[tuple[str, Any]]:
    """A picture's id and what is said of it, in the order of the file."""
    if path.suffix.lower() not in (*SHEETS, *TABLES):
        held = document(path)
        if isinstance(held, Mapping) and (columns(held) or single(held)):
            return _of_rows(rows(path), path, keys)
        if isinstance(held, Mapping) and "annotations" in held:
            return _of_rows(held["annotations"], path, keys)
        if isinstance(held, Mapping) and isinstance(held.get("images"), list):
            return _of_rows(held["images"], path, keys)
        if isinstance(held, Mapping) and not (set(IDS) & held.keys() and set(keys) & held.keys()):
            lists = [value for value in held.values() if isinstance(value, list)]
            if not (len(held) == 1 and lists and lists[0] and isinstance(lists[0][0], Mapping)):
                if keys is INSIDE_TRUE:
                    raise BadData(f"{path}: captions by picture hold no references: give these with --references")
                return [(str(name), value) for name, value in held.items()]
    return _of_rows(rows(path), path, keys)


def _of_rows(some: Any, path: Path, keys: Sequence[str]) -> list[tuple[str, Any]]:
    if not isinstance(some, list) or not all(isinstance(row, Mapping) for row in some):
        raise BadData(f"{path}: expected rows, each an object with a picture's id and a caption")
    lower = [{str(key).lower(): value for key, value in row.items()} for row in some]
    whole = all({*SAID} & row.keys() and {*INSIDE_TRUE} & row.keys() for row in lower)
    named = not whole or any(key in row for row in lower for key in IDS)  # whole rows without ids go by their place
    more = ("answer", "caption")  # these are references in a row that has a prediction as well
    return [
        (
            str(pick(row if named else {"index": n}, IDS, path, n)),
            pick(row, (*keys, *more) if "prediction" in row else keys, path, n),
        )
        for n, row in enumerate(lower, 1)
    ]


def _listed(value: Any) -> Any:
    """References in a cell of a table, which can be a list that is written out."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        with suppress(ValueError, SyntaxError):
            return ast.literal_eval(value)
    return value


def _texts(value: Any, where: str) -> list[str | None]:
    """The texts in a value: it, its list, or what its objects call `caption` or `raw`."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("caption", "raw", "text") if key in value), None)
    if isinstance(value, (list, tuple)):
        return [text for one in value for text in _texts(one, where)]
    if value is None or value != value:  # a cell that is empty, or not a number
        return [None]
    if not isinstance(value, (str, int, float)):
        raise BadData(f"{where}: a caption is a text, not {type(value).__name__}")
    return [str(value)]


def _numbered(some: Mapping[str, Any]) -> dict[str, Any]:
    """The same by the number at the end of the name, as 391895 of COCO_val2014_000000391895.jpg."""
    found: dict[str, Any] = {}
    for name, value in some.items():
        number = re.search(r"(\d+)(?:\.\w+)?$", name)
        found[str(int(number[1])) if number else name] = value
    return found if len(found) == len(some) else dict(some)
