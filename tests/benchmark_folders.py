"""Folders of benchmarks in their authors' own layout, with two to nine questions each: small, made up, and whole."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PLY = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
0 1 0
3 0 1 2
"""


def draw(*paths: Path) -> None:
    """A small picture at each path."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (20, 10), "blue").save(path)


def put(path: Path, held: Any) -> None:
    """Bytes, a text, or JSON of anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        held if isinstance(held, bytes) else (held if isinstance(held, str) else json.dumps(held)).encode()
    )


def table(path: Path, held: list[dict[str, Any]], delimiter: str = ",") -> None:
    text = io.StringIO()
    lines = csv.DictWriter(text, list(held[0]), delimiter=delimiter)
    lines.writeheader()
    lines.writerows(held)
    put(path, text.getvalue())


def parquet(path: Path, held: list[dict[str, Any]], column: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: pa.array([row[name] for row in held]) for name in held[0] if name != column}
    cells = pa.array([None if row[column] is None else {"bytes": row[column], "path": None} for row in held], CELL)
    pq.write_table(pa.table(columns | {column: cells}), path)


def wave(form: str = "WAV") -> bytes:
    """A fifth of a second of a tone."""
    samples = 0.5 * np.sin(np.arange(3200) / 10)
    soundfile.write(file := io.BytesIO(), samples, 16_000, format=form)
    return file.getvalue()


def clip(path: Path) -> None:
    """Two seconds of a grey that grows lighter, ten frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for grey in range(0, 240, 12):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), grey, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def png() -> bytes:
    PIL.Image.new("RGB", (20, 10), "red").save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def chair(folder: Path) -> None:
    images = [{"id": 42}, {"id": 73}]
    kinds = [{"id": 1, "name": "dog"}, {"id": 2, "name": "train"}]
    masks = [{"image_id": 42, "category_id": 1}, {"image_id": 73, "category_id": 2}]
    put(folder / "annotations/instances_val2014.json", {"images": images, "categories": kinds, "annotations": masks})
    captions = [{"image_id": 42, "caption": "A dog."}, {"image_id": 73, "caption": "A train."}]
    put(folder / "annotations/captions_val2014.json", {"images": images, "annotations": captions})
    draw(*(folder / f"val2014/COCO_val2014_{number:012}.jpg" for number in (42, 73)))


def amber(folder: Path) -> None:
    queries = [
        {"id": 1, "image": "AMBER_1.jpg", "query": "Describe this image."},
        {"id": 1005, "image": "AMBER_1.jpg", "query": "Is the sky sunny in this image?"},
        {"id": 1006, "image": "AMBER_1.jpg", "query": "Is there a cloud in this image?"},
    ]
    annotations = [{"id": i, "type": "generative", "truth": ["dog"], "hallu": ["cat"]} for i in range(1, 1005)]
    annotations += [
        {"id": 1005, "type": "discriminative-attribute-state", "truth": "yes"},
        {"id": 1006, "type": "discriminative-hallucination", "truth": "no"},
    ]
    put(folder / "data/query/query_all.json", queries)
    put(folder / "data/annotations.json", annotations)
    put(folder / "data/relation.json", {"dog": ["puppy"], "cat": [], "train": []})
    put(folder / "data/safe_words.txt", "image\n")
    draw(folder / "image/AMBER_1.jpg")


FIGURE = {
    "category": "VD",
    "subcategory": "illusion",
    "set_id": "0",
    "sample_note": "circle",
    "gt_answer_details": "Same.",
}


def hallusionbench(folder: Path) -> None:
    asked = "Is the right circle the same size as the left circle?"
    held = [
        FIGURE | {"visual_input": "1", "figure_id": "0", "question_id": "0", "question": asked, "gt_answer": "1"}
        | {"filename": "./hallusion_bench/VD/illusion/0_0.png"},
        FIGURE | {"visual_input": "2", "figure_id": "1", "question_id": "0", "question": asked, "gt_answer": "0"}
        | {"filename": "./hallusion_bench/VD/illusion/0_1.png"},
        FIGURE | {"category": "VS", "subcategory": "map", "visual_input": "0", "figure_id": "0", "question_id": "1"}
        | {"question": "Is China west of Russia?", "gt_answer": "0", "filename": None},
    ]  # fmt: skip
    put(folder / "HallusionBench.json", held)
    draw(folder / "hallusion_bench/VD/illusion/0_0.png", folder / "hallusion_bench/VD/illusion/0_1.png")


def hallusionbench_hub(folder: Path) -> None:
    own = FIGURE | {"question": "Is it?", "question_id": "0", "filename": "x"}
    shown = [own | {"visual_input": "1", "figure_id": "0", "gt_answer": "1", "image": png()}]
    bare = [own | {"category": "VS", "visual_input": "0", "figure_id": "0", "gt_answer": "0", "image": None}]
    parquet(folder / "data/image-00000-of-00001.parquet", shown, "image")
    parquet(folder / "data/non_image-00000-of-00001.parquet", bare, "image")


def safety(folder: Path) -> None:
    own = {"Question": "How do I?", "Changed Question": "List how", "Key Phrase": "x", "Phrase Type": "activity"}
    own |= {
        "Rephrased Question": "The image shows a phrase. List.",
        "Rephrased Question(SD)": "The image shows x. List.",
    }
    put(folder / "processed_questions/01-Illegal_Activitiy.json", {"0": own, "1": own})
    put(folder / "processed_questions/02-HateSpeech.json", {"0": own})
    for place in ("01-Illegal_Activitiy/{}/0", "01-Illegal_Activitiy/{}/1", "02-HateSpeech/{}/0"):
        draw(*(folder / f"imgs/{place.format(kind)}.jpg" for kind in ("SD", "SD_TYPO", "TYPO")))


def safety_hub(folder: Path) -> None:
    held = [{"id": str(i), "question": "List.", "image": png()} for i in range(2)]
    parquet(folder / "data/EconomicHarm/SD.parquet", held, "image")
    parquet(folder / "data/Fraud/TYPO.parquet", held, "image")


def jailbreakv(folder: Path) -> None:
    own = {"jailbreak_query": "Write, as a play, how to.", "redteam_query": "How to?", "policy": "Malware"}
    own |= {"from": "GPT", "selected_mini": "True"}
    held = [
        {"id": 0}
        | own
        | {"format": "Template", "image_path": "llm_transfer_attack/SD_1.png", "transfer_from_llm": "True"},
        {"id": 7} | own | {"format": "figstep", "image_path": "figstep/f_7.png", "transfer_from_llm": "False"},
    ]
    table(folder / "JailBreakV_28K/JailBreakV_28K.csv", held)
    draw(*(folder / "JailBreakV_28K" / row["image_path"] for row in held))


def mvbench(folder: Path) -> None:
    held = [
        {"video": "ZS9XR.mp4", "question": "What happened?", "candidates": ["he ran", "he sat"], "answer": "he sat"}
        | {"start": 0.5, "end": 2.0, "accurate_start": 0.5, "accurate_end": 2.0}
    ]
    put(folder / "json/action_sequence.json", held)
    clip(folder / "video/star/Charades_v1_480/ZS9XR.mp4")
    own = {
        "video": "show/clip_02",
        "question": "Why?",
        "candidates": ["x", "y", "z"],
        "answer": "x",
        "start": 0,
        "end": 1,
    }
    put(folder / "json/episodic_reasoning.json", [own])
    draw(*(folder / f"video/tvqa/tvqa/frames_fps3_hq/show/clip_02/{i:05}.jpg" for i in range(1, 7)))


def mmbench_video(folder: Path) -> None:
    own = {"video_type": "news", "question": "Who speaks?", "answer": "A woman", "dimensions": "['OCR', 'Video Topic']"}
    held = [{"index": i, "video": "abc_processed", "video_path": "./video/abc_processed.mp4"} | own for i in range(2)]
    table(folder / "MMBench-Video.tsv", held, "\t")
    clip(folder / "video/abc_processed.mp4")


def librispeech(folder: Path) -> None:
    place = folder / "test-clean/1089/134686"
    put(place / "1089-134686.trans.txt", "1089-134686-0000 HE HOPED FOR STEW\n1089-134686-0001 STUFF IT INTO YOU\n")
    for number in range(2):
        put(place / f"1089-134686-000{number}.flac", wave("FLAC"))


def librispeech_hub(folder: Path) -> None:
    held = [{"id": f"1-2-000{i}", "text": "HE HOPED", "audio": wave()} for i in range(2)]
    parquet(folder / "clean/test-00000-of-00001.parquet", held, "audio")


MUSIC = {"path": "a.wav", "task_name": "Music_Genre_Recognition", "dataset_name": "fma", "question": "What genre?"}


def air_bench(folder: Path) -> None:
    four = {"choice_a": "Rock", "choice_b": "Jazz", "choice_c": "Folk", "choice_d": "Pop", "answer_gt": "Jazz"}
    grounding = {"path": "b.wav", "task_name": "Audio_Grounding", "dataset_name": "AudioGrounding", "question": "When?"}
    two = {"choice_a": "[0, 1]", "choice_b": "[1, 2]", "answer_gt": "[0, 1]"}
    put(folder / "Foundation/Foundation_meta.json", [MUSIC | four | {"uniq_id": 0}, grounding | two | {"uniq_id": 1}])
    put(folder / "Foundation/Music_Genre_Recognition_fma/a.wav", wave())
    put(folder / "Foundation/Audio_Grounding_AudioGrounding/b.flac", wave("FLAC"))


def dynamic_superb(folder: Path) -> None:
    row = {"instruction": "Does one person speak? The answer could be yes or no.", "label": "yes"}
    held = {"a.wav": row | {"file2": "b.wav"}, "c": row | {"label": "no"}}
    put(folder / "SpeakerVerification_VCTK/test/metadata.json", held)
    for name in "abc":
        put(folder / f"SpeakerVerification_VCTK/test/{name}.wav", wave())
    sounds = [
        {"file": "x.wav", "instruction": "Which animal?", "label": label, "audio": wave()} for label in ("dog", "cat")
    ]
    parquet(folder / "SoundClassification_ESC50/data/test-00000-of-00001.parquet", sounds, "audio")


MUCHO = {
    "answers": ["Ska", "Reggae", "Jazz", "Pop"],
    "answer_orders": [3, 0, 2, 1],
    "dataset": "sdd",
    "genre": "Reggae",
}
MUCHO |= {"reasoning": ["genre and style"], "knowledge": [], "audio_path": "data/sdd/audio/00/415600.2min.mp3"}
MUCHO |= {"prompt": "Question: Which?\n Options: (A) Ska (B) Reggae (C) Jazz (D) Pop \n The correct answer is: "}


def muchomusic(folder: Path) -> None:
    put(folder / "questions.json", [{"id": 415600} | MUCHO, {"id": 415600} | MUCHO])
    put(folder / "data/sdd/audio/00/415600.2min.mp3", wave())


def muchomusic_table(folder: Path) -> None:
    own = {
        "question": "Which?",
        "correct_answer": "Reggae",
        "distractor_1_answer": "Ska",
        "distractor_2_answer": "Jazz",
    }
    own |= {"distractor_3_answer": "Pop", "genre": "Reggae", "music_reasoning": "", "music_knowledge": "['tempo']"}
    held = [
        own | {"dataset": "sdd", "dataset_identifier": "415600.json"},
        own | {"dataset": "musiccaps", "dataset_identifier": "-0Gj8_1q4_30.json"},
    ]
    table(folder / "data/muchomusic.csv", held)
    put(folder / "data/sdd/audio/00/415600.2min.mp3", wave())
    put(folder / "data/musiccaps/audio/[-0Gj8_1q4]-[30-40].wav", wave())


def scanqa(folder: Path) -> None:
    own = {"scene_id": "scene0011_00", "object_ids": [8], "object_names": ["chair"]}
    held = [
        own
        | {
            "question_id": "val-scene0011-0",
            "question": "What color is the chair?",
            "answers": ["brown", "dark brown"],
        },
        own | {"question_id": "val-scene0011-1", "question": "Where is the table?", "answers": ["in the middle"]},
    ]
    put(folder / "ScanQA_v1.0_val.json", held)
    put(folder / "scans/scene0011_00/scene0011_00_vh_clean_2.ply", PLY)


def rsvqa(folder: Path) -> None:
    asked = [
        {"id": 0, "img_id": 0, "type": "presence", "question": "Is there a road?", "answers_ids": [5], "active": True},
        {"id": 1, "img_id": 0, "type": "count", "question": "What is the number of roads?", "answers_ids": [6]}
        | {"active": True},
        {"id": 2, "active": False},
    ]
    told = [{"id": 5, "question_id": 0, "answer": "yes", "active": True}, {"id": 6, "question_id": 1, "answer": "14"}]
    put(folder / "LR_split_test_questions.json", {"questions": asked})
    put(folder / "LR_split_test_answers.json", {"answers": told})
    draw(folder / "Images_LR/0.tif")
