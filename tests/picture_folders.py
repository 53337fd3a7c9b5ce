"""Folders of benchmarks of pictures in their authors' own layout or the hub's, and what is asked first in each."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

LETTER = "Answer with the option's letter from the given choices directly."
SHORT = "Answer the question using a single word or phrase."
PICTURES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (20, 10), colour).save(file, "PNG")
    return file.getvalue()


def draw(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (20, 10), "blue").save(path, "PNG")


def put(path: Path, held: Any) -> None:
    """JSON, or JSON lines of a list where the name ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    several = path.suffix == ".jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in held) if several else json.dumps(held), encoding="utf-8")


def table(path: Path, held: list[dict[str, Any]]) -> None:
    lines = ["\t".join(held[0]), *("\t".join(str(cell) for cell in row.values()) for row in held)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def parquet(path: Path, held: list[dict[str, Any]]) -> None:
    """A file as `datasets` writes it, with two rows in a group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {}
    for key in held[0]:
        cells = [row[key] for row in held]
        if key.startswith("image") and any(isinstance(cell, dict) for cell in cells):
            columns[key] = pa.array(cells, PICTURES)
        elif key == "image" and any(isinstance(cell, list) for cell in cells):
            columns[key] = pa.array(cells, pa.list_(PICTURES))
        else:
            columns[key] = pa.array(cells)
    pq.write_table(pa.table(columns), path, row_group_size=2)


def held(colour: str = "red") -> dict[str, Any]:
    return {"bytes": png(colour), "path": None}


def mmbench(folder: Path) -> None:
    PIL.Image.new("RGB", (20, 10)).save(file := io.BytesIO(), "BMP")
    image = base64.b64encode(file.getvalue()).decode()
    more = {"hint": "nan", "C": "", "D": "", "category": "object_localization", "l2-category": "finegrained_perception"}
    table(folder / "MMBench_TEST_EN.tsv", [{"index": 1, "question": "no", "A": "x", "B": "y", "image": image} | more])
    own: list[dict[str, Any]] = [
        {"index": 7, "question": "Which?", "A": "a dog", "B": "a cat", "answer": "B", "image": image} | more,
        {"index": 8, "question": "What?", "A": "no", "B": "yes", "answer": "A", "image": 7} | more | {"hint": "Look."},
        {"index": 1_000_007, "question": "Which?", "A": "a cat", "B": "a dog", "answer": "A", "image": 7} | more,
    ]
    table(folder / "MMBench_DEV_EN.tsv", own)


def mmbench_hub(folder: Path) -> None:
    own = {"question": "Which?", "hint": "nan", "A": "a dog", "B": "a cat", "C": "nan", "D": "nan", "answer": "B"}
    for language, question in (("en", "Which?"), ("cn", "哪个?")):
        asked = own | {"question": question, "category": "ocr", "L2-category": "perception", "image": held()}
        path = folder / language / "dev-00000-of-00001.parquet"
        parquet(path, [{"index": i} | asked for i in range(3)])


def mmstar(folder: Path) -> None:
    more = {"category": "coarse perception", "l2_category": "image emotion", "image": png()}
    asked = {"question": "Which...?\nOptions: A: red, B: blue, C: green, D: no", "answer": "A"}
    parquet(folder / "mmstar.parquet", [{"index": i} | asked | more for i in range(3)])


def ai2d(folder: Path) -> None:
    asked = {"question": "What is C?", "options": ["leaf", "root", "stem", "seed"], "answer": "1", "image": held()}
    parquet(folder / "data" / "test-00000-of-00001.parquet", [asked, asked | {"answer": "3"}])


def seed_bench(folder: Path) -> None:
    choices = {f"choice_{letter}": f"option {letter}" for letter in "abcd"}
    asked = choices | {"question": "How many?", "answer": "A", "data_type": "image", "question_type_id": 5}
    video = choices | {"question": "What is done?", "answer": "B", "data_type": "video"}
    own = [
        asked | {"question_id": "101669", "data_id": "1454426_2591111986"},
        asked | {"question_id": "101670", "data_id": "1454426_2591111986", "answer": "D", "question_type_id": 1},
        video | {"question_id": "v1738", "data_id": "94328.webm", "question_type_id": 10},
        video | {"question_id": "v4397", "data_id": "P06/cam01/x.avi", "question_type_id": 12, "segment": [15, 60]},
    ]
    put(folder / "SEED-Bench.json", {"question_type": {"Instances Counting": 5}, "questions": own})
    draw(folder / "SEED-Bench-image" / "1454426_2591111986")
    draw(*(folder / "v1_video" / "task10" / "ssv2_8_frame" / "v1738" / f"{i}.png" for i in range(8)))
    path = folder / "videos" / "P06" / "cam01" / "x.avi"
    path.parent.mkdir(parents=True)
    frames = [PIL.Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "green")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=2000)


def seed_hub(folder: Path) -> None:
    choices = {f"choice_{letter}": f"option {letter}" for letter in "abcd"}
    asked = choices | {"question": "How many?", "answer": "A", "segment": None}
    own = [
        asked | {"question_id": "1", "data_id": "x", "data_type": "image", "question_type_id": 5, "image": [held()]},
        asked | {"question_id": "v2", "data_id": "y", "data_type": "video", "question_type_id": 10}
        | {"image": [held("red"), held("blue")]},
    ]  # fmt: skip
    parquet(folder / "data" / "test-00000-of-00001.parquet", own)


def mme(folder: Path) -> None:
    both = "Is it art? Please answer yes or no.\tYes\nIs it a dog? Please answer yes or no.\tNo\n"
    (folder / "artwork" / "questions_answers_YN").mkdir(parents=True)
    (folder / "artwork" / "questions_answers_YN" / "10002.txt").write_text(both)
    draw(folder / "artwork" / "images" / "10002.jpg")
    draw(folder / "existence" / "000000006040.png")
    (folder / "existence" / "000000006040.txt").write_text(both)
    (folder / "readme.txt").write_text("Please cite us.")


def mme_hub(folder: Path) -> None:
    own = {"question_id": "OCR/0001.png", "category": "OCR", "image": held()}
    asked = [("Is it 1? Please answer yes or no.", "Yes"), ("Is it 2? Please answer yes or no.", "No")]
    held_ = [own | {"question": question, "answer": answer} for question, answer in asked]
    parquet(folder / "data" / "test-00000-of-00001.parquet", held_)


def mmmu(folder: Path) -> None:
    own = {"question_type": "multiple-choice", "image_1": held(), "image_2": held("blue"), "image_3": None}
    asked = {
        "question": "Which of <image 1> and <image 2>?",
        "options": "['<image 1>', 'the ''second''']",
        "answer": "B",
    }
    number = {"id": "validation_Music_2", "question": "How much?", "options": "[]", "answer": "['3', '3 N']"}
    row = {"id": "validation_Music_1"} | asked | own
    parquet(folder / "Music" / "validation-00000-of-00001.parquet", [row, row | number | {"question_type": "open"}])
    parquet(folder / "Math" / "validation-00000-of-00001.parquet", [row | {"id": "validation_Math_1"}])
    parquet(folder / "Math" / "test-00000-of-00001.parquet", [row | {"id": "test_Math_1", "answer": "?"}])


def mmmu_pro(folder: Path) -> None:
    own = {"id": "test_History_1", "options": "['yes', 'no <image 2>']", "answer": "B", "subject": "History"}
    asked = {"question": "Is <image 1> so?", "image_1": held(), "image_2": held("blue")}
    parquet(folder / "standard (10 options)" / "test-00000-of-00001.parquet", [own | asked])
    parquet(folder / "vision" / "test-00000-of-00001.parquet", [own | {"image": held()}])


def vqa(folder: Path, version: str = "v2_") -> None:
    asked = [{"question_id": 458752 + i, "image_id": 458752, "question": f"How many {i}?"} for i in range(2)]
    people = [{"answer": "2", "answer_id": i, "answer_confidence": "yes"} for i in range(9)]
    people.append({"answer": "4", "answer_id": 10, "answer_confidence": "maybe"})
    told: dict[str, Any] = {
        "question_type": "how many" if version else "four",
        "answer_type": "number",
        "answers": people,
    }
    told |= {"multiple_choice_answer": "2", "image_id": 458752}
    put(folder / f"{version}OpenEnded_mscoco_val2014_questions.json", {"data_subtype": "val2014", "questions": asked})
    every = [told | {"question_id": row["question_id"]} for row in asked]
    put(folder / f"{version}mscoco_val2014_annotations.json", {"annotations": every})
    draw(folder / "val2014" / "COCO_val2014_000000458752.jpg")


def vqa_hub(folder: Path) -> None:
    own = {"image_id": 9, "question": "How many?", "answer_type": "number", "question_type": "how", "image": held()}
    people = [{"answer": "two", "answer_confidence": "yes", "answer_id": i} for i in range(10)]
    held_ = [own | {"question_id": i, "answers": people} for i in range(3)]
    parquet(folder / "data" / "validation-00000-of-00001.parquet", held_)


def ok_vqa(folder: Path) -> None:
    vqa(folder, "")


def textvqa(folder: Path) -> None:
    own = {"image_id": "003a8ae2ef43b901", "question": "What is the brand?", "answers": ["dakota"] * 10}
    put(folder / "TextVQA_0.5.1_val.json", {"dataset_name": "TextVQA", "data": [own | {"question_id": 34602}]})
    draw(folder / "train_images" / "003a8ae2ef43b901.jpg")


def vizwiz(folder: Path) -> None:
    people = [{"answer": "basil", "answer_confidence": "yes"}] * 10
    own = {"question": "What is this?", "answers": people, "answer_type": "other", "answerable": 0}
    names = [f"VizWiz_val_{i:08}.jpg" for i in range(2)]
    put(folder / "Annotations" / "val.json", [own | {"image": name} for name in names])
    draw(*(folder / "val" / name for name in names))


def vizwiz_hub(folder: Path) -> None:
    own = {"question": "What?", "answers": ["basil"] * 10, "category": "other", "image": held()}
    held_ = [own | {"question_id": f"VizWiz_val_{i:08}.jpg"} for i in range(2)]
    parquet(folder / "data" / "val-00000-of-00001.parquet", held_)


def scienceqa(folder: Path) -> None:
    own = {"question": "Which?", "choices": ["yes", "no", "both"], "answer": 1, "hint": "", "image": None}
    own |= {"subject": "natural science", "grade": "grade2", "split": "test"}
    problems = {
        "4": own | {"image": "image.png"},
        "5": own | {"hint": "Look at it.", "answer": 0},
        "6": own | {"image": "image.png", "split": "train"},
        "11": own | {"image": "image.png", "answer": 2, "grade": "grade8"},
    }
    put(folder / "problems.json", problems)
    put(folder / "pid_splits.json", {"train": ["6"], "test": ["4", "5", "11"]})
    draw(folder / "images" / "test" / "4" / "image.png", folder / "images" / "test" / "11" / "image.png")


def scienceqa_hub(folder: Path) -> None:
    own = {"question": "Which?", "choices": ["yes", "no"], "answer": 1, "hint": "", "subject": "social science"}
    held_ = [own | {"grade": "grade2", "image": image} for image in (held(), None)]
    parquet(folder / "ScienceQA-FULL" / "test-00000-of-00001.parquet", held_)
    parquet(folder / "ScienceQA-IMG" / "test-00000-of-00001.parquet", held_[:1])


def chartqa(folder: Path) -> None:
    own = {"imgname": "41699051005347.png", "query": "How many are shown?", "label": "14"}
    for split in ("human", "augmented"):
        put(folder / "ChartQA Dataset" / "test" / f"test_{split}.json", [own, own | {"label": "Yes"}])
    draw(folder / "ChartQA Dataset" / "test" / "png" / "41699051005347.png")


def chartqa_hub(folder: Path) -> None:
    own = {"question": "How many?", "answer": "14", "image": held()}
    held_ = [own | {"type": f"{split}_test"} for split in ("human", "augmented")]
    parquet(folder / "data" / "test-00000-of-00001.parquet", held_)


def docvqa(folder: Path) -> None:
    own: dict[str, Any] = {
        "question": "What is it?",
        "question_types": ["form", "layout"],
        "image": "documents/xnbl0037_1.png",
    }
    own |= {"docId": 14465, "answers": ["0.28", ".28"], "data_split": "val"}
    put(folder / "val_v1.0_withQT.json", {"dataset_split": "val", "data": [own | {"questionId": i} for i in (1, 2)]})
    draw(folder / "spdocvqa_images" / "xnbl0037_1.png")


def infographicvqa(folder: Path) -> None:
    own = {"questionId": 98313, "question": "What share?", "image_local_name": "20471.jpeg", "answers": ["86%"]}
    own |= {"answer_type": ["image span"], "evidence": ["Figure"], "operation/reasoning": []}
    put(folder / "infographicVQA_val_v1.0_withQT.json", {"data": [own]})
    draw(folder / "infographicsvqa_images" / "20471.jpeg")


def docvqa_hub(folder: Path) -> None:
    own = {"question": "What?", "question_types": ["form"], "image": held(), "docId": 1, "answers": ["0.28"]}
    parquet(folder / "DocVQA" / "validation-00000-of-00001.parquet", [own | {"questionId": str(i)} for i in range(2)])
    other = {"questionId": "9", "question": "Other?", "image": held(), "answers": ["1"]}
    parquet(folder / "InfographicVQA" / "validation-00000-of-00001.parquet", [other])


def coco(folder: Path) -> None:
    names = [f"COCO_val2014_{i:012}.jpg" for i in (391895, 60623)]
    images = [{"id": 391895, "file_name": names[0]}, {"id": 60623, "file_name": names[1]}]
    told = [{"image_id": 391895, "id": 1, "caption": "A man rides a bike along a road."}]
    told.append({"image_id": 60623, "id": 2, "caption": "A girl eats a cake near a window."})
    put(folder / "annotations" / "captions_val2014.json", {"images": images, "annotations": told})
    draw(*(folder / "val2014" / name for name in names))


def karpathy(folder: Path) -> None:
    names = [f"COCO_val2014_{i:012}.jpg" for i in (391895, 60623, 5)]
    texts = ["A man rides a bike along a road.", "A girl eats a cake near a window.", "no"]
    own = [
        {"cocoid": int(name[13:25]), "filename": name, "filepath": "val2014", "sentences": [{"raw": told}]}
        | {"split": "test" if told != "no" else "restval"}
        for name, told in zip(names, texts, strict=True)
    ]
    put(folder / "dataset_coco.json", {"images": own, "dataset": "coco"})
    draw(*(folder / "val2014" / name for name in names[:2]))


def gqa(folder: Path) -> None:
    own = {"imageId": "n161313", "question": "Is it overcast?", "answer": "no", "isBalanced": True, "entailed": []}
    own |= {"types": {"structural": "verify", "semantic": "global"}, "groups": {"global": None}}
    other = own | {"answer": "a dog", "types": {"structural": "query", "semantic": "obj"}}
    put(folder / "testdev_balanced_questions.json", {"201307251": own, "201307252": other})
    draw(folder / "images" / "n161313.jpg")


def gqa_hub(folder: Path) -> None:
    own = {"imageId": "n1", "question": "Is it overcast?", "answer": "no", "isBalanced": True}
    own |= {"types": {"structural": "verify", "semantic": "global"}}
    path = folder / "testdev_balanced_instructions" / "testdev-00000-of-00001.parquet"
    parquet(path, [own | {"id": str(i)} for i in range(2)])
    parquet(folder / "testdev_balanced_images" / "testdev-00000-of-00001.parquet", [{"id": "n1", "image": held()}])


def refcoco(folder: Path) -> None:
    own = {"image": "data/train2014/1.jpg", "sent": "left man", "bbox": [2, 1, 10, 6], "height": 10, "width": 20}
    for split in ("testA", "val"):
        put(folder / f"refcoco_{split}.jsonl", [own, own | {"bbox": [0, 0, 20, 10]}])
    draw(folder / "train2014" / "1.jpg")


@dataclass(frozen=True)
class Case:
    """A folder's layout, and what is to be asked first: how many questions there are, its text, truth and media."""

    name: str
    build: Callable[[Path], None]
    count: int
    first: str
    truth: str
    media: int = 1
    headline: float = 1.0
    parts: tuple[str, ...] = ()


CASES = [
    Case("mmbench", mmbench, 2, f"Which?\nA. a dog\nB. a cat\n{LETTER}", "B", parts=("finegrained_perception",)),
    Case("mmbench", mmbench_hub, 3, f"Which?\nA. a dog\nB. a cat\n{LETTER}", "B", parts=("perception", "ocr")),
    Case("mmstar", mmstar, 3, f"Which...?\nOptions: A: red, B: blue, C: green, D: no\n{LETTER}", "A"),
    Case("ai2d", ai2d, 2, f"What is C?\nA. leaf\nB. root\nC. stem\nD. seed\n{LETTER}", "B"),
    Case(
        *("seed-bench", seed_bench, 4), f"How many?\nA. option a\nB. option b\nC. option c\nD. option d\n{LETTER}", "A",
        parts=("image", "instances_counting"),
    ),
    Case("seed-bench", seed_hub, 2, f"How many?\nA. option a\nB. option b\nC. option c\nD. option d\n{LETTER}", "A"),
    Case("mme", mme, 4, "Is it art? Please answer yes or no.", "Yes", headline=400, parts=("perception", "artwork")),
    Case("mme", mme_hub, 2, "Is it 1? Please answer yes or no.", "Yes", headline=200, parts=("perception", "ocr")),
    Case(
        *("mmmu", mmmu, 3, f"Which of <image 1> and <image 2>?\n(A) <image 1>\n(B) the second\n\n{LETTER}", "B", 2),
        parts=("science", "math"),
    ),
    Case(
        *("mmmu-pro", mmmu_pro, 2),
        "Is [image] so?\nA. yes\nB. no [image]\nAnswer with the option letter from the given choices directly.", "B", 2,
        parts=("standard", "history"),
    ),
    Case("vqav2", vqa, 2, f"How many 0?\n{SHORT}", "2", parts=("number", "how_many")),
    Case("vqav2", vqa_hub, 3, f"How many?\n{SHORT}", "two"),
    Case("ok-vqa", ok_vqa, 2, f"How many 0?\n{SHORT}", "2", parts=("sports_and_recreation",)),
    Case("textvqa", textvqa, 1, f"What is the brand?\n{SHORT}", "dakota"),
    Case(
        *("vizwiz", vizwiz, 2), "What is this?\nWhen the provided information is insufficient, respond with "
        f"'Unanswerable'.\n{SHORT}", "basil", parts=("other",),
    ),
    Case(
        *("vizwiz", vizwiz_hub, 2), "What?\nWhen the provided information is insufficient, respond with "
        f"'Unanswerable'.\n{SHORT}", "basil", parts=("other",),
    ),
    Case("scienceqa", scienceqa, 3, f"Which?\nA. yes\nB. no\nC. both\n{LETTER}", "B", parts=("img", "nat", "g1-6")),
    Case("scienceqa", scienceqa_hub, 2, f"Which?\nA. yes\nB. no\n{LETTER}", "B", parts=("img", "soc")),
    Case("chartqa", chartqa, 4, f"How many are shown?\n{SHORT}", "14", parts=("human",)),
    Case("chartqa", chartqa_hub, 2, f"How many?\n{SHORT}", "14", parts=("human",)),
    Case("docvqa", docvqa, 2, f"What is it?\n{SHORT}", "0.28", parts=("form", "layout")),
    Case("docvqa", docvqa_hub, 2, f"What?\n{SHORT}", "0.28", parts=("form",)),
    Case("infographicvqa", infographicvqa, 1, f"What share?\n{SHORT}", "86%", parts=("image_span", "figure")),
    Case("infographicvqa", docvqa_hub, 1, f"Other?\n{SHORT}", "1"),
    Case("gqa", gqa, 2, f"Is it overcast?\n{SHORT}", "no", parts=("binary", "structural/verify")),
    Case("gqa", gqa_hub, 2, f"Is it overcast?\n{SHORT}", "no", parts=("binary",)),
    Case(
        *("refcoco", refcoco, 4),
        "Please provide the bounding box coordinate of the region this sentence describes: left man.",
        "[0.100, 0.100, 0.500, 0.600]", parts=("refcoco_testA",),
    ),
]  # fmt: skip
