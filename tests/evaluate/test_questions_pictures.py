"""Questions about pictures from folders in the authors' own layout: asked as they are, and scored by their own ids."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from picture_folders import (
    CASES,
    LETTER,
    SHORT,
    Case,
    coco,
    docvqa,
    draw,
    gqa,
    held,
    karpathy,
    mmbench,
    mme,
    mmmu,
    parquet,
    put,
    scienceqa,
    seed_bench,
    textvqa,
    vizwiz,
    vqa,
    vqa_hub,
)

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import PACKAGE, asking, coco_captions, score
from isthmus.evaluate.benchmarks._asked import Cell
from isthmus.evaluate.files import rows
from isthmus.evaluate.harness import scored
from isthmus.evaluate.judge import samples
from isthmus.evaluate.models import Said
from isthmus.evaluate.questions import Question, absent, numbered, place
from isthmus.evaluate.scored import Scored
from isthmus.media import load
from isthmus.registry import constants
from isthmus.types import Image

EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.build.__name__}")


def asked(case: Case, folder: Path) -> list[Question]:
    case.build(folder)
    return list(numbered(asking(case.name).questions(folder)))


def run(name: str, folder: Path, questions: list[Question], answers: list[str], mode: str = "official") -> Scored:
    said = [Said(answer) for answer in answers]
    return scored(name, asking(name), folder, folder.parent / "out", questions, said, mode)


def wrong(own: Question) -> str:
    return next((answer for answer in own.answers if answer != own.truth), "something else entirely")


@EACH
def test_questions_are_asked_in_the_authors_words(case: Case, tmp_path: Path) -> None:
    questions = asked(case, tmp_path / case.name)
    first = questions[0]
    assert (len(questions), first.text, first.truth, len(first.media)) == (
        case.count,
        case.first,
        case.truth,
        case.media,
    )
    assert set(case.parts) <= set(first.parts)
    for own in questions:
        assert all(load(medium).size == (20, 10) for medium in own.media if isinstance(medium, Image))
        assert "_" not in {key[0] for key in own.row}, "only what the benchmark's own rows have"
        json.dumps(own.row)


@EACH
@pytest.mark.parametrize("mode", ["official", "lenient"])
def test_right_answers_score_all_and_wrong_ones_nothing(case: Case, mode: str, tmp_path: Path) -> None:
    questions = asked(case, tmp_path / case.name)
    module = asking(case.name)
    right = run(case.name, tmp_path / case.name, questions, [own.truth for own in questions], mode)
    assert right.marks == {own.id: pytest.approx(1) for own in questions}
    assert right.metrics[module.HEADLINE].value == pytest.approx(case.headline)
    assert not right.unscored
    bad = run(case.name, tmp_path / case.name, questions, [wrong(own) for own in questions], mode)
    assert {*bad.marks, *bad.unscored} == {own.id for own in questions}, (
        "each is told of by the id that it was asked under"
    )
    assert all(mark < 0.5 for mark in bad.marks.values())
    assert not bad.marks or bad.metrics[module.HEADLINE].value < case.headline / 2


@EACH
def test_what_was_not_answered_is_unscored_and_the_others_count(case: Case, tmp_path: Path) -> None:
    questions = asked(case, tmp_path / case.name)
    if len(questions) == 1:
        pytest.skip("one question")
    said = [Said(None, "the server hung"), *(Said(own.truth) for own in questions[1:])]
    out = tmp_path / "out"
    found = scored(case.name, asking(case.name), tmp_path / case.name, out, questions, said, "official")
    assert found.unscored[questions[0].id] == "the server hung"
    assert questions[0].id not in found.marks
    assert {*found.marks, *found.unscored} == {own.id for own in questions}


@EACH
def test_a_folder_without_its_pictures_or_files_is_named(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / case.name
    case.build(folder)
    images = [file for file in folder.rglob("*") if file.is_file() and file.read_bytes()[:4] == b"\x89PNG"]
    for file in images:
        file.unlink()
    if images:
        told = " ".join(map(str, absent(asking(case.name).questions(folder))))
        assert any(file.stem in told for file in images)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="empty"):
        asking(case.name).questions(tmp_path / "empty")
    for file in folder.rglob("*"):
        if file.suffix in (".parquet", ".json", ".jsonl", ".tsv"):
            file.write_text("[1, 2", encoding="utf-8")
    if case.build is not mme:
        with pytest.raises(BadData, match=case.name):
            asking(case.name).questions(folder)


@EACH
def test_a_folder_of_any_name_is_known_by_its_files(case: Case, tmp_path: Path) -> None:
    case.build(tmp_path / "downloads")
    assert place(case.name, tmp_path / "downloads") == tmp_path / "downloads"
    own = constants(PACKAGE, case.name)
    with pytest.raises(BadData, match=f"(?s)no folder .*{re.escape(next(iter(own['DATA'])))}.*{re.escape(own['GET'])}"):
        place(case.name, tmp_path)


def test_captions_are_compared_with_all_that_people_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_captions, "_try", lambda *_: None)  # METEOR and SPICE take their time, and have own tests
    for build in (coco, karpathy):
        folder = tmp_path / build.__name__
        build(folder)
        questions = list(numbered(asking("coco-captions").questions(folder)))
        assert [own.id for own in questions] == ["391895", "60623"]
        assert questions[0].text == "Provide a one-sentence caption for the provided image."
        right = run("coco-captions", folder, questions, [own.truth for own in questions])
        bad = run("coco-captions", folder, questions, ["no idea"] * 2)
        assert right.metrics["bleu_4"].value == pytest.approx(1)
        assert right.metrics["cider"].value > bad.metrics["cider"].value == 0
        assert json.loads((tmp_path / "out" / "captions_results.json").read_text())[0] == {
            "image_id": 391895, "caption": "no idea",
        }  # fmt: skip


@pytest.mark.parametrize("layout", ["json", "hub"])
def test_mm_vet_writes_answers_by_id_for_a_judge(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "mm-vet"
    own = {"question": "What is x?", "answer": "-1<AND>-5"}
    if layout == "json":
        put(folder / "mm-vet.json", {"v1_0": own | {"imagename": "v1_0.png", "capability": ["ocr", "math"]}})
        draw(folder / "images" / "v1_0.png")
    else:
        row = own | {"question_id": "v1_0", "image": held(), "image_source": "x", "capability": "ocr,math"}
        parquet(folder / "data" / "test-00000-of-00001.parquet", [row])
    questions = list(numbered(asking("mm-vet").questions(folder)))
    assert (questions[0].text, questions[0].parts) == ("What is x?", ("ocr", "math"))
    found = run("mm-vet", folder, questions, ["x is = 3"])
    assert found.unscored == {
        "v1_0": f"not judged yet: isthmus judge mm-vet --answers {tmp_path / 'out' / 'predictions.jsonl'}"
    }
    assert json.loads((tmp_path / "out" / "mm-vet.json").read_text()) == {"v1_0": "x is = 3"}
    (judged,) = samples(tmp_path / "out" / "predictions.jsonl")
    assert (judged.answer, judged.reference) == ("x is = 3", "-1<AND>-5")
    put(tmp_path / "grades.json", {"v1_0": {"content": ["0.5", "0.7"], "score": [0.5, 0.7]}})
    assert score("mm-vet", tmp_path / "grades.json").marks == {"v1_0": pytest.approx(0.6)}


def test_llava_bench_writes_answers_as_llava_does(tmp_path: Path) -> None:
    folder = tmp_path / "llava-bench"
    own = {"question_id": 0, "image": "001.jpg", "text": "What is the name?", "category": "conv"}
    put(folder / "questions.jsonl", [own])
    put(folder / "answers_gpt4.jsonl", [{"question_id": 0, "text": "Diamond Head", "answer_id": "x"}])
    put(folder / "context.jsonl", [{"id": "001", "image": "001.jpg", "caption": "A crater."}])
    draw(folder / "images" / "001.jpg")
    questions = list(numbered(asking("llava-bench").questions(folder)))
    assert (questions[0].truth, questions[0].parts, questions[0].id) == ("Diamond Head", ("conv",), "0")
    assert "not judged" in run("llava-bench", folder, questions, ["Fuji"]).unscored["0"]
    told = rows(tmp_path / "out" / "predictions.jsonl")[0]
    assert {"question_id": 0, "prompt": "What is the name?", "text": "Fuji"}.items() <= told.items()
    (judged,) = samples(tmp_path / "out" / "predictions.jsonl")
    assert (judged.answer, judged.reference, judged.context) == ("Fuji", "Diamond Head", "A crater.")
    put(tmp_path / "reviews.jsonl", [own | {"content": "8 4\nno", "tuple": [8.0, 4.0]}])
    assert score("llava-bench", tmp_path / "reviews.jsonl").marks == {"0": pytest.approx(0.4)}


def test_mmbench_writes_the_servers_sheet_whatever_was_said(tmp_path: Path) -> None:
    folder = tmp_path / "mmbench"
    mmbench(folder)
    questions = list(asking("mmbench").questions(folder))
    assert questions[1].text.startswith("Look.\nWhat?\nA. no")
    assert questions[0].media == questions[1].media, "the second is the first's picture, by its index"
    run("mmbench", folder, questions, ["=B", "A\x00\ud800"])
    sheet = rows(tmp_path / "out" / "mmbench.xlsx")
    assert [(row["index"], row["prediction"][0]) for row in sheet] == [("7", "="), ("8", "A")]
    assert [own.rotated(1).truth for own in questions] == ["A", "B"]
    (folder / "MMBench_DEV_EN.tsv").unlink()
    hidden = list(asking("mmbench").questions(folder))
    assert run("mmbench", folder, hidden, ["A"]).unscored == {"1": "the truths are not public"}


@pytest.mark.parametrize(
    ("name", "build", "hide", "file", "line"),
    [
        ("vqav2", vqa, lambda f: _test_dev(f), "answers_upload.json", {"question_id": 1, "answer": "x"}),
        ("textvqa", textvqa, lambda f: _test_text(f), "answers_upload.json", {"question_id": 5, "answer": "x"}),
        ("vizwiz", vizwiz, lambda f: _test_wiz(f), "answers_upload.json", {"image": "a.jpg", "answer": "x"}),
        ("docvqa", docvqa, lambda f: _test_doc(f), "answers_upload.json", {"questionId": 4, "answer": "x"}),
        ("mmmu", mmmu, lambda f: [file.unlink() for file in f.rglob("val*")], "mmmu.json", {"test_Math_1": "x"}),
    ],
)
def test_what_has_no_public_truth_is_written_for_the_server(
    name: str, build: Callable[[Path], None], hide: Callable[[Path], None], file: str, line: Any, tmp_path: Path
) -> None:
    folder = tmp_path / name
    build(folder)
    hide(folder)
    questions = list(numbered(asking(name).questions(folder)))
    assert [own.truth for own in questions] == [""]
    assert run(name, folder, questions, ["x"]).unscored == {questions[0].id: "the truths are not public"}
    told = json.loads((tmp_path / "out" / file).read_text())
    assert told == (line if isinstance(told, dict) else [line])


def _test_dev(folder: Path) -> None:
    (folder / "v2_OpenEnded_mscoco_val2014_questions.json").unlink()
    own = [{"question_id": 1, "image_id": 2, "question": "Who?"}]
    put(folder / "v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": own})
    draw(folder / "test2015" / "COCO_test2015_000000000002.jpg")


def _test_text(folder: Path) -> None:
    (folder / "TextVQA_0.5.1_val.json").unlink()
    put(folder / "TextVQA_0.5.1_test.json", {"data": [{"question_id": 5, "image_id": "a", "question": "Who?"}]})
    draw(folder / "test_images" / "a.jpg")


def _test_wiz(folder: Path) -> None:
    (folder / "Annotations" / "val.json").unlink()
    put(folder / "Annotations" / "test.json", [{"image": "a.jpg", "question": "Who?"}])
    draw(folder / "test" / "a.jpg")


def _test_doc(folder: Path) -> None:
    (folder / "val_v1.0_withQT.json").unlink()
    put(folder / "test_v1.0.json", {"data": [{"questionId": 4, "question": "Who?", "image": "documents/a.png"}]})
    draw(folder / "documents" / "a.png")


def test_seed_bench_shows_frames_videos_or_leaves_videos_out(tmp_path: Path) -> None:
    folder = tmp_path / "seed-bench"
    seed_bench(folder)
    questions = {own.id: own for own in asking("seed-bench").questions(folder)}
    assert [len(own.media) for own in questions.values()] == [1, 1, 8, 1]
    clip: Any = questions["v4397"].media[0]
    assert (clip.frames, clip.start, clip.end) == (8, 1.0, 4.0), "Breakfast's segments are frames, 15 a second"
    assert len(load(clip).frames) > 0
    (folder / "v1_video").rename(folder / "v1")
    assert [path.name for path in absent(asking("seed-bench").questions(folder))] == ["94328.webm"]
    (folder / "videos").rename(folder / "v2")
    assert [own.id for own in asking("seed-bench").questions(folder)] == ["101669", "101670"]


def test_textvqa_takes_llavas_prompts_with_what_an_ocr_read(tmp_path: Path) -> None:
    folder = tmp_path / "textvqa"
    textvqa(folder)
    prompt = f"what is the brand?\nReference OCR token: Dakota, 5\n{SHORT}"
    row = {"question_id": "003a8ae2ef43b901", "image": "003a8ae2ef43b901.jpg", "text": prompt, "category": "default"}
    put(folder / "llava_textvqa_val_v051_ocr.jsonl", [row])
    assert [own.text for own in asking("textvqa").questions(folder)] == [prompt]


def test_a_picture_in_parquet_is_read_when_it_is_looked_at(tmp_path: Path) -> None:
    vqa_hub(tmp_path)
    questions = asking("vqav2").questions(tmp_path)
    assert len({own.media for own in questions}) == 1, "three questions about one picture share it"
    cell: Any = questions[0].media[0].source
    assert isinstance(cell, Cell)
    assert cell().getpixel((0, 0)) == (255, 0, 0)


def test_mmmu_names_the_picture_that_a_text_speaks_of(tmp_path: Path) -> None:
    mmmu(tmp_path)
    path = tmp_path / "Math" / "validation-00000-of-00001.parquet"
    row = pq.ParquetFile(path).read().to_pylist()[0]
    parquet(path, [row | {"image_2": None}])
    with pytest.raises(BadData, match="validation_Math_1: no picture image_2"):
        asking("mmmu").questions(tmp_path)


def test_scienceqa_gives_the_hint_and_asks_without_a_picture_where_there_is_none(tmp_path: Path) -> None:
    scienceqa(tmp_path)
    own = {one.id: one for one in asking("scienceqa").questions(tmp_path)}
    assert [*own] == ["4", "5", "11"], "the test set, not 6"
    assert own["5"].text == f"Context: Look at it.\nWhich?\nA. yes\nB. no\nC. both\n{LETTER}"
    assert (own["5"].media, own["5"].parts) == ((), ("nat", "txt", "g1-6"))
    assert own["11"].image != own["4"].image, "though both pictures are called image.png"


def test_gqa_reads_a_runs_answers_as_it_reads_llavas(tmp_path: Path) -> None:
    folder = tmp_path / "gqa"
    gqa(folder)
    questions = list(asking("gqa").questions(folder))
    assert run("gqa", folder, questions, ["No.", "A dog"]).metrics["accuracy"].value == 1
