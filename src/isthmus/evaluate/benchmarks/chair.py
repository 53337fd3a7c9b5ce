"""CHAIR: of the things that a caption mentions, how many are not in the picture? On COCO's 80 kinds of object.

A picture's things are those of its masks and those that its reference captions mention; words stand for kinds by a list
of synonyms (`chair_words.json`: the table of the authors' synonyms.txt, BSD-2-Clause, without entries that their code
can never reach).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._asked import Answered
from isthmus.evaluate.benchmarks._asked_media import told
from isthmus.evaluate.benchmarks._coco import annotation_files, objects_by_image
from isthmus.evaluate.files import Row, document, folder, pick
from isthmus.evaluate.metrics.punkt import tokens
from isthmus.evaluate.metrics.singular import singular
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Figure, Scored, mean, of_sums, over, proportion
from isthmus.types import Image

ABOUT = "object hallucination: which things that a caption mentions are not in the picture?"
SOURCE = "Rohrbach et al., 2018, arXiv:1809.02156; github.com/LisaAnne/Hallucination; recall: github.com/Maxlinn"
PREDICTIONS = {
    "captions": '{"image_id": 391895, "caption": "A man riding a motor bike on a dirt road."}',
    "as COCO's evaluation code writes them": '{"imgToEval": {"391895": {"image_id": 391895, "caption": "A man ..."}}}',
    "with the objects inside, as CHAIR's own code writes them": (
        '{"sentences": [{"image_id": 391895, "caption": "A man ...", "mscoco_gt_words": ["person", "motorcycle"]}]}'
    ),
}
REFERENCES = {
    "the folder of COCO's annotations (instances_*.json and captions_*.json)": "annotations/",
    "objects of each picture": '{"391895": ["person", "motorcycle"]}',
}
INSIDE = True  # rows of predictions may hold the objects of their picture
DATA = {
    "val2014": "the folder of COCO's pictures, or of some of them; papers ask about 500 (--limit 500)",
    "annotations": "instances_val2014.json and captions_val2014.json",
}
GET = "val2014.zip and annotations_trainval2014.zip of cocodataset.org"
HEADLINE = "chair_s"
ASK = "Please describe this image in detail."  # as OPERA and later papers ask (Huang et al., 2023, arXiv:2311.17911)
LONGEST = 512  # tokens of a description, as there
IDS = ("image_id", "image", "img_id", "imgid", "image_name", "file_name", "question_id", "id", "index")
SAID = ("caption", *keys.said("text", "answer", "response", "prediction", "output", "description"))
OBJECTS = ("mscoco_gt_words", "gt_objects", "objects", "truth")

DOUBLE = """
    air plane, baseball bat, baseball glove, cell phone, fire hydrant, hair drier, home plate, hot dog,
    laptop computer, mobile phone, motor bike, motor cycle, parking meter, potted plant, sports ball, stop light,
    stop sign, street light, suit case, teddy bear, tennis racket, traffic light, traffic signal, train track,
    wine glass
"""
ANIMALS = "bird cat dog horse sheep cow elephant bear zebra giraffe animal cub"
DOUBLES = (
    {word.strip(): word.strip() for word in DOUBLE.split(",")}
    | {f"{age} {animal}": animal for age in ("baby", "adult") for animal in ANIMALS.split()}  # a baby bird is no person
    | {"passenger jet": "jet", "passenger train": "train"}
    | {"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"}  # "glas": see `singular`
)


class Read(NamedTuple):
    """One caption: its words, the kinds it mentions in order, those of them that are not there, those that are."""

    image: str
    words: int
    mentioned: list[str]
    wrong: int
    there: set[str]


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """CHAIR of sentences and of instances, recall, and how long captions are and how much they mention."""
    found = Scored()
    captions = _captions(predictions)
    if references is None:
        truths = _inside(captions, predictions)
    else:
        truths = objects_by_image(references, {image for image, _, _ in captions}, objects)
    if captions and not any(image in truths for image, _, _ in captions):
        raise BadData(
            f"none of the pictures of {predictions} (the first is {captions[0][0]}) is among those of {references}: are"
            " these files of the same split?"
        )
    read, empty, unknown = [], 0, 0
    several = len({image for image, _, _ in captions}) < len(captions)
    for number, (image, text, _) in enumerate(captions, 1):
        name = f"row {number}, {image}" if several else image
        if not isinstance(text, str):
            found.unscored[name] = "no caption"
        elif mode == "lenient" and not text.strip():
            found.unscored[name] = "an empty caption"
        elif mode == "lenient" and image not in truths:
            found.unscored[name] = "the picture is not among the references"
        else:
            empty, unknown = empty + (not text.strip()), unknown + (image not in truths)
            read.append(_read(image, text, truths.get(image, set())))
            found.marks[name] = float(not read[-1].wrong)
    found.add(_figures(read, truths))
    if empty:
        found.notes.append(f"{empty:,} captions are empty; they count as captions that mention nothing wrong")
    if unknown:
        found.notes.append(
            f"{unknown:,} captions are of pictures that the references do not have; all that they mention counts as"
            " not there, as in the official code"
        )
    return found


def questions(folder: Path) -> Sequence[Question]:
    """A description of each picture."""
    truths(folder)
    pictures = sorted((folder / "val2014").glob("*.jpg"))
    if not pictures:
        raise BadData(f"{folder / 'val2014'}: no pictures *.jpg in this folder")
    names = [(number_of(path.name), path) for path in pictures]
    return [
        Question(
            name,
            ASK,
            (Image(path),),
            image=path.name,
            row={"image_id": int(name) if name.isdecimal() else name},
            longest=LONGEST,
        )
        for name, path in names
    ]


def write(folder: Path, out: Path, answered: Answered) -> Path:
    """Captions, one a line."""
    return told(out, answered, "caption")


def truths(folder: Path) -> Path:
    """The folder of COCO's annotations. Raises `BadData` where it is not there, or lacks masks or captions."""
    annotation_files(folder)
    return folder


def objects(text: str) -> list[str]:
    """The kinds of object that a caption mentions, in order, each as often as it is mentioned.

    >>> objects("Two men beside a toilet seat, a bus and wine glasses")  # doctest: +SKIP
    ['person', 'toilet', 'wine glass']
    """
    return _mentions(text)[1]


def _mentions(text: str) -> tuple[int, list[str]]:
    """How many words a text has, double words as one, and the kinds of object among them."""
    single = [singular(word) for word in tokens(text.lower())]
    words, place = [], 0
    while place < len(single):
        double = " ".join(single[place : place + 2])
        words.append(DOUBLES.get(double, single[place]))
        place += 2 if double in DOUBLES else 1
    count = len(words)
    if "toilet" in words:
        words = [word for word in words if word != "seat"]  # else a toilet's seat would be a chair
    kinds = _kinds()
    return count, [kinds[word] for word in words if word in kinds]


@functools.cache
def _kinds() -> dict[str, str]:
    """The kind of each word that stands for one."""
    table = json.loads(Path(__file__).with_name("chair_words.json").read_text(encoding="utf-8"))
    return {word: kind for kind, words in table.items() for word in (kind, *words)}


def _read(image: str, text: str, truth: set[str]) -> Read:
    words, mentioned = _mentions(text)
    return Read(image, words, mentioned, sum(one not in truth for one in mentioned), set(mentioned) & truth)


def _figures(read: list[Read], truths: Mapping[str, set[str]]) -> dict[str, Figure]:
    images = [one.image for one in read]
    mentions = [[one.wrong, len(one.mentioned)] for one in read]
    recalled = [[len(one.there), len(truths.get(one.image, ()))] for one in read]
    return {
        "chair_s": proportion((one.wrong > 0 for one in read), images),
        "chair_i": _share(mentions, images),
        "recall": _share(recalled, images),
        "words_per_caption": mean((one.words for one in read), images),
        "objects_per_caption": mean((len(one.mentioned) for one in read), images),
    }


def _share(pairs: list[list[int]], images: list[str]) -> Figure:
    """A share of counts [part, whole]; of nothing there is none."""
    whole = sum(pair[1] for pair in pairs)
    if not whole:
        return Figure(float("nan"), float("nan"), float("nan"), 0)
    return of_sums(lambda sums: over(sums[..., 0], sums[..., 1]), pairs, images, n=whole)


def _captions(path: Path) -> list[tuple[str, Any, Row]]:
    """Each caption with its picture's number, in the file's order; one picture may have several."""
    some = _rows(path)
    key = next((key for key in SAID if any(key in row for row in some)), None)
    found = []
    for number, row in enumerate(some, 1):
        image = number_of(pick(row, IDS, path, number))
        text = pick(row, SAID, path, number) if key is None else row.get(key)  # an empty cell of a sheet has no key
        found.append((image, text, row))
    return found


def _rows(path: Path) -> list[Row]:
    if path.is_dir() or path.suffix.lower() not in (".json", ".jsonl", ""):
        return folder(path)
    found = document(path)
    if isinstance(found, Mapping) and isinstance(found.get("imgToEval"), Mapping):
        return [{"image_id": name, **row} for name, row in found["imgToEval"].items() if isinstance(row, Mapping)]
    texts = isinstance(found, Mapping) and all(isinstance(text, str) for text in found.values())
    if found and texts and not set(SAID) & found.keys():
        return [{"image_id": name, "caption": text} for name, text in found.items()]
    return folder(path)


def number_of(name: Any) -> str:
    """A picture's number, of a number or of COCO's name for its file.

    >>> number_of("COCO_val2014_000000391895.jpg"), number_of(42), number_of("000000000042"), number_of("cat.png")
    ('391895', '42', '42', 'cat.png')
    """
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    found = re.search(r"(?:^|[_/\\])0*(\d+)(?:\.\w+)?$", str(name))
    return found[1] if found else str(name)


def _inside(captions: Iterable[tuple[str, Any, Row]], path: Path) -> dict[str, set[str]]:
    """The objects of each picture, from the rows that hold its captions."""
    found: dict[str, set[str]] = {}
    for number, (image, _, row) in enumerate(captions, 1):
        told = pick(row, OBJECTS, path, number)
        if not isinstance(told, list):
            raise BadData(f"{path}, row {number}: the objects of a picture are a list, and these are {told!r}")
        found.setdefault(image, set()).update(map(str, told))
    return found
