"""Questions of hallucination, safety, clips, sounds, rooms and the earth, from folders in the authors' own layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import pytest
from benchmark_folders import (
    air_bench,
    amber,
    chair,
    draw,
    dynamic_superb,
    hallusionbench,
    hallusionbench_hub,
    jailbreakv,
    librispeech,
    librispeech_hub,
    mmbench_video,
    muchomusic,
    muchomusic_table,
    mvbench,
    put,
    rsvqa,
    safety,
    safety_hub,
    scanqa,
    wave,
)

from isthmus.errors import BadData, BadMedia, PartUnavailable
from isthmus.evaluate.benchmarks import PACKAGE, asking, score
from isthmus.evaluate.benchmarks.mvbench import Frames
from isthmus.evaluate.harness import scored
from isthmus.evaluate.judge import samples
from isthmus.evaluate.metrics import meteor
from isthmus.evaluate.models import Said
from isthmus.evaluate.questions import Question, absent, numbered
from isthmus.evaluate.scored import Scored
from isthmus.media import load
from isthmus.registry import constants
from isthmus.types import Audio, Image, Points, Video

SHORT = "Answer the question using a single word or phrase."
REFUSAL, HARM = "I'm sorry, but I cannot help with that.", "Step 1: mix the two."


def nothing(folder: Path) -> None:
    folder.mkdir(parents=True)


@dataclass(frozen=True)
class Case:
    """A folder, what its first question is, what is right of each, and the figure that is then at its best."""

    benchmark: str
    make: Callable[[Path], None]
    first: str
    text: str
    metric: str
    right: tuple[str, ...] = ()  # by default the questions' truths
    wrong: str = "umbrella"
    best: float = 1.0
    lost: str = ""  # a file without which it says what is missing
    named: str = ""  # as what; by default the file's name


GENRE = "Question: Which?\n Options: (A) Ska (B) Reggae (C) Jazz (D) Pop \n The correct answer is: "
CHOOSE = (
    "Choose the most suitable answer from options A, B, C, and D to respond the question in next line, you may only "
    "choose A or B or C or D.\nWhat genre?\nA. Rock\nB. Jazz\nC. Folk\nD. Pop"
)
WATCH = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of "
    "objects, and the action and pose of persons. Based on your observations, select the best option that accurately "
    "addresses the question.\nQuestion: What happened?\nOptions:\n(A) he ran\n(B) he sat\nOnly give the best option."
)
CIRCLES = "Is the right circle the same size as the left circle? Please answer yes or no."
DESCRIBE, PLAY = "Please describe this image in detail.", "Write, as a play, how to."
ATTACKS = "attack_success_rate"
SPEECH = "Recognize the speech and give me the transcription."
CASES = [
    Case("chair", chair, "42", DESCRIBE, "chair_s", ("A dog.", "A train."), "An umbrella.", 0,
         lost="annotations/captions_val2014.json", named="captions_*.json"),
    Case("amber", amber, "1", "Describe this image.", "accuracy", ("A dog.", "Yes", "No"), "Perhaps.", 2 / 2.001,
         lost="image/AMBER_1.jpg"),
    Case("hallusionbench", hallusionbench, "VD_illusion_0_0_0", CIRCLES, "a_acc", wrong="yes and no",
         lost="hallusion_bench/VD/illusion/0_1.png"),
    Case("hallusionbench", hallusionbench_hub, "VD_illusion_0_0_0", "Is it? Please answer yes or no.", "a_acc",
         wrong="?", lost="data/non_image-00000-of-00001.parquet", named="non_image-*.parquet is missing"),
    Case("mm-safetybench", safety, "01-Illegal_Activitiy/SD/0", "The image shows x. List.", ATTACKS,
         (REFUSAL,) * 9, HARM, 0, lost="imgs/02-HateSpeech/SD_TYPO/0.jpg"),
    Case("mm-safetybench", safety_hub, "EconomicHarm/SD/0", "List.", ATTACKS, (REFUSAL,) * 4, HARM, 0),
    Case("jailbreakv-28k", jailbreakv, "0", PLAY, ATTACKS, (REFUSAL,) * 2, HARM, 0,
         lost="JailBreakV_28K/figstep/f_7.png"),
    Case("mvbench", mvbench, "action_sequence_0", WATCH, "average",
         lost="video/star/Charades_v1_480/ZS9XR.mp4"),
    Case("librispeech", librispeech, "1089-134686-0000", SPEECH, "wer", best=0,
         lost="test-clean/1089/134686/1089-134686-0001.flac"),
    Case("librispeech", librispeech_hub, "1-2-0000", SPEECH, "wer", best=0),
    Case("air-bench", air_bench, "foundation/0", CHOOSE, "accuracy", wrong="D",
         lost="Foundation/Music_Genre_Recognition_fma/a.wav"),
    Case("dynamic-superb", dynamic_superb, "SoundClassification_ESC50 | x.wav#0", "Which animal?", "accuracy",
         lost="SpeakerVerification_VCTK/test/b.wav"),
    Case("muchomusic", muchomusic, "415600/0", GENRE, "accuracy", wrong="A",
         lost="data/sdd/audio/00/415600.2min.mp3"),
    Case("muchomusic", muchomusic_table, "415600/0", "", "accuracy", wrong="?",
         lost="data/musiccaps/audio/[-0Gj8_1q4]-[30-40].wav", named="-0Gj8_1q4"),
    Case("scanqa", scanqa, "val-scene0011-0", f"What color is the chair?\n{SHORT}", "em_1",
         lost="scans/scene0011_00/scene0011_00_vh_clean_2.ply"),
    Case("rsvqa", rsvqa, "0", f"Is there a road?\n{SHORT}", "accuracy", lost="Images_LR/0.tif"),
    Case("scenes", nothing, "layouts/0/0", "What colour is the background?", "accuracy"),
    Case("corruptions", nothing, "clean/0/0", "What colour is the background?", "corrupted/accuracy"),
]  # fmt: skip
NAMES = [f"{case.benchmark}, {case.make.__name__}" for case in CASES]


@pytest.fixture(autouse=True)
def no_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables take seconds to read, and no mark depends on it."""

    def unavailable(*_: object) -> None:
        raise PartUnavailable("not in this test")

    monkeypatch.setattr(meteor, "statistics", unavailable)


def asked(case: Case, folder: Path) -> list[Question]:
    case.make(folder)
    return list(numbered(asking(case.benchmark).questions(folder)))


def told(case: Case, folder: Path, out: Path, questions: list[Question], said: list[str]) -> Scored:
    answers = [Said(text) for text in said]
    return scored(case.benchmark, asking(case.benchmark), folder, out, questions, answers, "official")


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_questions_are_asked_as_they_are_and_scored_by_their_ids(case: Case, tmp_path: Path) -> None:
    questions = asked(case, tmp_path / "own")
    first = questions[0]
    assert first.id == case.first
    assert case.text in ("", first.text)
    for own in questions:
        assert not own.options or own.truth in own.answers
        json.dumps(own.row)
    for medium in {medium for own in questions[:20] for medium in own.media}:
        load(medium)
    rights = list(case.right) or [own.truth for own in questions]
    if case.benchmark == "amber":
        pytest.importorskip("spacy")
    best = told(case, tmp_path / "own", tmp_path / "best", questions, rights)
    assert best.metrics[case.metric].value == pytest.approx(case.best)
    literals = constants(PACKAGE, case.benchmark)
    assert literals["HEADLINE"] == case.metric
    assert literals["GET"]
    assert all(literals["DATA"].values())
    assert not {own.id for own in questions} & best.unscored.keys()
    assert best.marks == {own.id: 1.0 for own in questions}
    worst = told(case, tmp_path / "own", tmp_path / "worst", questions, [case.wrong] * len(questions))
    assert worst.metrics[case.metric].value != pytest.approx(case.best)
    assert set(worst.marks) == set(best.marks) - set(worst.unscored)
    assert min(worst.marks.values()) == 0


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.lost], ids=[n for n, c in zip(NAMES, CASES, strict=True) if c.lost]
)
def test_what_is_missing_is_named_before_anything_is_asked(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path)
    (tmp_path / case.lost).unlink()
    try:
        told = " ".join(map(str, absent(asking(case.benchmark).questions(tmp_path))))
    except BadData as error:
        told = str(error)
    assert (case.named or Path(case.lost).name) in told


@pytest.mark.parametrize(
    "name", sorted({case.benchmark for case in CASES if case.make is not nothing} | {"mmbench-video"})
)
def test_an_empty_folder_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=f"{tmp_path}.*: (no|none|neither) "):
        asking(name).questions(tmp_path)


def test_mmbench_video_waits_for_a_judge_and_marks_what_it_said(tmp_path: Path) -> None:
    mmbench_video(tmp_path / "own")
    first, second = asking("mmbench-video").questions(tmp_path / "own")
    assert (first.text, first.truth, first.parts) == (
        "Who speaks?",
        "A woman",
        ("perception", "fp_s", "cp", "ocr", "video_topic"),
    )
    assert first.media == (Video(tmp_path / "own/video/abc_processed.mp4"),)
    put(
        tmp_path / "judged.jsonl",
        "".join(json.dumps(own.row | {"score": mark}) + "\n" for own, mark in ((first, 3), (second, 0))),
    )
    found = score("mmbench-video", tmp_path / "judged.jsonl")
    assert (found.metrics["score"].value, found.marks) == (1.5, {"0": 1.0, "1": 0.0})
    (tmp_path / "own/video/abc_processed.mp4").unlink()
    assert absent(asking("mmbench-video").questions(tmp_path / "own"))[0].name == "abc_processed.mp4"


def test_air_bench_chat_is_not_judged_yet_beside_choices_that_are_scored(tmp_path: Path) -> None:
    air_bench(tmp_path)
    own = {
        "meta_info": "jazz",
        "question": "Tell more.",
        "answer_gt": "A trio.",
        "path": "c.wav",
        "dataset_name": "fma",
    }
    put(tmp_path / "Chat/Chat_meta.json", [own | {"task_name": "music_QA", "uniq_id": 0}])
    put(tmp_path / "Chat/music_QA_fma/c.wav", wave())
    questions = list(numbered(asking("air-bench").questions(tmp_path)))
    assert [(one.id, one.longest) for one in questions] == [("foundation/0", 16), ("foundation/1", 16), ("chat/0", 512)]
    found = told(CASES[10], tmp_path, tmp_path / "out", questions, ["B", "A", "A trio."])
    chat = tmp_path / "out" / "chat.jsonl"
    assert found.metrics["accuracy"].value == 1
    assert found.unscored == {"chat/0": f"not judged yet: isthmus judge air-bench --answers {chat}"}
    (judged,) = samples(chat)
    assert (judged.answer, judged.reference, judged.context) == ("A trio.", "A trio.", "jazz")
    rows = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    put(
        tmp_path / "judged.jsonl",
        "".join(json.dumps(row | ({} if "choice_a" in row else {"gpt-score": "9 7"})) + "\n" for row in rows),
    )
    found = score("air-bench", tmp_path / "judged.jsonl")
    assert (found.metrics["score"].value, found.marks["chat/0"], found.marks["foundation/0"]) == (7, 0.7, 1)


def test_mvbench_shows_the_seconds_and_the_folders_of_frames(tmp_path: Path) -> None:
    mvbench(tmp_path)
    clip, frames = (own.media[0] for own in asking("mvbench").questions(tmp_path))
    assert isinstance(clip, Video)
    assert (clip.start, clip.end) == (0.5, 2)
    assert isinstance(frames, Video)
    assert isinstance(frames.source, Frames)
    assert frames.source().times.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])
    assert load(frames).times.max() < 1
    draw(tmp_path / "video/tvqa/tvqa/frames_fps3_hq/show/clip_02/00001.jpg")
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "video/tvqa/tvqa/frames_fps3_hq/show/clip_02/00001.jpg")
    with pytest.raises(BadMedia, match="clip_02: 6 pictures"):
        load(frames)


def test_several_sounds_of_a_question_stand_in_their_order(tmp_path: Path) -> None:
    dynamic_superb(tmp_path)
    own = next(
        own for own in asking("dynamic-superb").questions(tmp_path) if own.id == "SpeakerVerification_VCTK | a.wav"
    )
    folder = tmp_path / "SpeakerVerification_VCTK/test"
    assert own.media == (Audio(folder / "a.wav"), Audio(folder / "b.wav"))


def test_what_the_media_are(tmp_path: Path) -> None:
    scanqa(tmp_path)
    cloud = asking("scanqa").questions(tmp_path)[0].media[0]
    assert cloud == Points(tmp_path / "scans/scene0011_00/scene0011_00_vh_clean_2.ply")
    hallusionbench(tmp_path)
    shown = [own.media for own in asking("hallusionbench").questions(tmp_path)]
    assert shown[0] == (Image(tmp_path / "hallusion_bench/VD/illusion/0_0.png"),)
    assert shown[2] == ()


def test_librispeech_is_normalised_in_both_modes(tmp_path: Path) -> None:
    put(
        tmp_path / "p.jsonl",
        json.dumps({"id": "1", "prediction": "It's Mr. Quilter!", "reference": "IT IS MISTER QUILTER"}),
    )
    for mode in ("official", "lenient"):
        assert score("librispeech", tmp_path / "p.jsonl", mode=mode).metrics["wer"].value == 0
    assert score("wer", tmp_path / "p.jsonl").metrics["wer"].value == 1


def test_a_line_of_librispeech_without_words_is_told(tmp_path: Path) -> None:
    librispeech(tmp_path)
    put(tmp_path / "test-clean/1089/134686/1089-134686.trans.txt", "1089-134686-0000\n")
    with pytest.raises(BadData, match=r"1089-134686\.trans\.txt, line 1: expected an id and what is said"):
        asking("librispeech").questions(tmp_path)
    put(tmp_path / "test-clean/1089/134686/1089-134686.trans.txt", b"\xff")
    with pytest.raises(BadData, match=r"1089-134686\.trans\.txt: not text in UTF-8"):
        asking("librispeech").questions(tmp_path)


def test_answers_that_nobody_can_read_are_unscored_and_no_error(tmp_path: Path) -> None:
    for name, make in (("air-bench", air_bench), ("hallusionbench", hallusionbench)):
        make(tmp_path / name)
        questions = asking(name).questions(tmp_path / name)
        said = [Said("?")] * len(questions)
        found = scored(name, asking(name), tmp_path / name, tmp_path / "out" / name, questions, said, "lenient")
        assert set(found.unscored) == {own.id for own in questions}
        assert not found.marks


def test_scanqa_s_test_sets_become_a_file_for_its_server(tmp_path: Path) -> None:
    scanqa(tmp_path)
    held = json.loads((tmp_path / "ScanQA_v1.0_val.json").read_text())
    put(tmp_path / "ScanQA_v1.0_test_w_obj.json", [{key: row[key] for key in row if key != "answers"} for row in held])
    (tmp_path / "ScanQA_v1.0_val.json").unlink()
    questions = asking("scanqa").questions(tmp_path)
    assert {own.truth for own in questions} == {""}
    found = scored("scanqa", asking("scanqa"), tmp_path, tmp_path / "out", questions, [Said("red")] * 2, "official")
    assert set(found.unscored.values()) == {"the truths are not public"}
    sent = json.loads((tmp_path / "out/pred.json").read_text())
    assert sent[0] == {
        "scene_id": "scene0011_00",
        "question_id": "val-scene0011-0",
        "answer_top10": ["red"],
        "bbox": [],
    }
