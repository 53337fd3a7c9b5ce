"""Files of samples in the field's formats: read once, then one by one from disk; bad rows are left out and listed."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image as Picture

from isthmus import media
from isthmus.data.index import Index, files, load
from isthmus.errors import BadData
from isthmus.types import Audio, Image, Sample, Slice, Video

SHADES = (10, 90, 170, 250)


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Picture.new("RGB", (4, 3), (shade, shade, shade)).save(out, "PNG")
    return out.getvalue()


def shade(sample: Sample, place: int = 0) -> int:
    medium = sample.media[place]
    assert isinstance(medium, Image)
    return int(media.load(medium).getpixel((0, 0))[0])  # type: ignore[index]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with four pictures of one shade each."""
    (folder := tmp_path / "set").mkdir()
    for number, value in enumerate(SHADES):
        (folder / f"{number}.png").write_bytes(png(value))
    return folder


def read(path: Path | str, tolerate: float = 0.0, **options: Any) -> Index:
    found = load(str(path), "train", tolerate=tolerate, **options)
    assert isinstance(found, Index)
    return found


def llava(folder: Path) -> Path:
    said = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A square."},
        {"from": "human", "value": "Which shade?"},
        {"from": "gpt", "value": "Dark."},
    ]
    rows = [{"id": f"row{i}", "image": f"{i}.png", "conversations": said} for i in range(3)]
    two = [{"from": "human", "value": "Compare <image> and <image>."}, {"from": "gpt", "value": "The second is light."}]
    rows.append({"id": "two", "image": ["0.png", "3.png"], "conversations": two})
    rows.append({"id": "text", "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]})
    (path := folder / "llava.json").write_text(json.dumps(rows, indent=1))
    return path


def test_llava_json(here: Path) -> None:
    found = read(llava(here))
    assert [sample.id for sample in found] == ["row0", "row1", "row2", "two", "text"]
    assert [shade(found[i]) for i in range(3)] == list(SHADES[:3])
    assert found[0].chained
    assert [(turn.question, turn.answer) for turn in found[0].turns] == [
        ("What is it?", "A square."),
        ("Which shade?", "Dark."),
    ]
    assert [shade(found[3], i) for i in range(2)] == [SHADES[0], SHADES[3]]
    assert found[3].turns[0].question == "Compare\nand\n."
    assert found[4].media == ()
    assert not read(here / "llava.json", chained=False)[0].chained


def test_sharegpt_jsonl(here: Path) -> None:
    (here / "a.wav").write_bytes(b"")
    (here / "b.mp4").write_bytes(b"")
    parts = [{"type": "text", "text": "Look: "}, {"type": "image"}]
    rows: list[dict[str, Any]] = [
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "<image>What?"},
                {"from": "gpt", "value": "This."},
                {"from": "human", "value": "And <audio>\nthis?"},
                {"from": "gpt", "value": "That."},
            ],
            "images": ["1.png"],
            "audios": ["a.wav"],
        },
        {
            "messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "Seen."}],
            "images": ["2.png"],
        },
        {
            "messages": [{"role": "user", "content": "Watch."}, {"role": "assistant", "content": "Yes."}],
            "video": "b.mp4",
        },
    ]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, second, third = read(here / "rows.jsonl")
    assert first.system == "Be brief."
    assert [type(medium) for medium in first.media] == [Image, Audio]
    assert [turn.shows for turn in first.turns] == [0, 1]
    assert [turn.question for turn in first.turns] == ["What?", "And\nthis?"]
    assert (second.turns[0].question, shade(second)) == ("Look:", SHADES[2])
    assert isinstance(third.media[0], Video)


def test_webdataset(here: Path, tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(here / f"{shard:03}.tar", "w") as tar:
            for number in range(2):
                name = f"{shard}{number}"
                members = {"png": png(SHADES[2 * shard + number]), "txt": f"shade {name}".encode()}
                if number:
                    members = {"png": members["png"], "json": json.dumps({"caption": f"shade {name}"}).encode()}
                for ending, data in members.items():
                    own = tarfile.TarInfo(f"set/{name}.{ending}")
                    own.size = len(data)
                    tar.addfile(own, io.BytesIO(data))
    for name in (f"{here}/{{000..001}}.tar", f"{here}/*.tar"):
        found = read(name, ask="Which shade?")
        assert [shade(sample) for sample in found] == list(SHADES)
        assert [sample.turns[0].answer for sample in found] == ["shade 00", "shade 01", "shade 10", "shade 11"]
        assert found[0].turns[0].question == "Which shade?"
        assert isinstance(found[0].media[0].source, Slice)


def test_parquet_with_pictures_in_it(here: Path) -> None:
    rows = {
        "images": [[{"bytes": png(value), "path": None}] for value in SHADES],
        "texts": [[{"user": "What?", "assistant": "A."}, {"user": "Where?", "assistant": "Here."}]] * 4,
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), here / "rows.parquet", row_group_size=2)
    found = read(here / "rows.parquet")
    assert [shade(sample) for sample in found] == list(SHADES)
    assert len(found[0].turns) == 2
    assert not found[0].chained


def test_a_table_of_captions(here: Path) -> None:
    with (here / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "text"], ["0.png", "dark,\nvery"], ["3.png", "light"]])
    found = read(here / "captions.csv")
    assert [sample.turns[0].answer for sample in found] == ["dark,\nvery", "light"]
    with (here / "own.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["img", "words"], ["0.png", "dark"]])
    assert shade(read(here / "own.tsv", columns={"image": "img", "text": "words"})[0]) == SHADES[0]


def test_a_set_of_hugging_face_is_streamed(here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "question": datasets.Value("string")})
    features["answer"] = datasets.Value("string")
    rows = [{"image": {"bytes": png(v), "path": None}, "question": "Shade?", "answer": str(v)} for v in SHADES]
    (folder := tmp_path / "hub" / "shades").mkdir(parents=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "train-0.parquet")
    found = read(f"hf:{folder}")
    assert [(shade(sample), sample.turns[0].answer) for sample in found] == [(v, str(v)) for v in SHADES]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "outside": ({"image": "../x.png", "text": "a"}, "points outside the folder"),
    "absolute": ({"image": "/etc/passwd", "text": "a"}, "absolute path"),
    "address": ({"image": "file:///etc/passwd", "text": "a"}, "is an address"),
    "missing": ({"image": "no.png", "text": "a"}, "no such file"),
    "no text": ({"image": "0.png", "label": 3}, "no text to learn from among its columns image, label"),
    "no answer": ({"image": "0.png", "question": "a", "answer": " "}, "has no answer"),
    "a mark too many": (
        {
            "image": "0.png",
            "conversations": [{"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "a"}],
        },
        "2 marks of media, and its columns 1 media",
    ),
    "a medium too many": (
        {
            "images": ["0.png", "1.png"],
            "messages": [{"role": "user", "content": "<image>a"}, {"role": "assistant", "content": "b"}],
        },
        "2 media, and its text marks 1",
    ),
    "speaker": ({"conversations": [{"from": "robot", "value": "a"}]}, "speaker 'robot'"),
    "order": ({"messages": [{"role": "user", "content": "a"}]}, "take turns"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_left_out_and_listed(name: str, here: Path) -> None:
    row, reason = BAD[name]
    good = [{"image": "0.png", "text": "dark"}] * 3
    path = here / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [*good, row])) + "\nnot json\n")
    found = read(path, tolerate=0.5)
    assert (len(found), found.bad) == (3, 2)
    assert len({sample.id for sample in found}) == 3
    listed = [json.loads(line) for line in (found.folder / "bad.jsonl").read_text().splitlines()]
    assert [one["where"] for one in listed] == [f"{path}, line 4", f"{path}, line 5"]
    assert reason in listed[0]["reason"]
    with pytest.raises(BadData, match=r"2 of 5 rows cannot be used, 1\.0% are tolerated .*line 4: "):
        read(path, tolerate=0.01)


def broken_tar(here: Path, change: Callable[[tarfile.TarFile], None], cut: int | None = None) -> Path:
    with tarfile.open(here / "broken.tar", "w") as tar:
        for name, data in {"a.png": png(1), "a.txt": b"one", "b.png": png(2) * 9, "b.txt": b"two"}.items():
            own = tarfile.TarInfo(name)
            own.size = len(data)
            tar.addfile(own, io.BytesIO(data))
        change(tar)
    if cut:
        (here / "broken.tar").write_bytes((here / "broken.tar").read_bytes()[:cut])
    return here / "broken.tar"


def link(tar: tarfile.TarFile) -> None:
    for name in ("c.png", "c.txt"):
        own = tarfile.TarInfo(name)
        own.type, own.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(own)


def double(tar: tarfile.TarFile) -> None:
    for name in ("d.txt", "d.txt"):
        own = tarfile.TarInfo(name)
        own.size = 1
        tar.addfile(own, io.BytesIO(b"x"))


@pytest.mark.parametrize(
    ("change", "cut", "good", "reason"),
    [
        (link, None, 2, "link or device"),
        (double, None, 2, "stands in it twice"),
        (lambda tar: None, 3000, 1, "unexpected end of data"),
    ],
)
def test_a_broken_shard(
    change: Callable[[tarfile.TarFile], None], cut: int | None, good: int, reason: str, here: Path
) -> None:
    found = read(broken_tar(here, change, cut), tolerate=0.9)
    assert len(found) == good
    assert reason in (found.folder / "bad.jsonl").read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"id": 1}', "not a JSON array"),
        ("a.json", b'[{"image": "0.png", "text": "a"}, {"im', "after entry 1, not JSON"),
        ("a.csv", b"image,text\n0.png,\xff\n", "not a UTF-8 table"),
        ("a.parquet", b"PAR1 no", "not Parquet"),
        ("a.tar", b"no tar at all", "not a tar file"),
    ],
)
def test_a_file_that_breaks_off(name: str, content: bytes, message: str, here: Path) -> None:
    (here / name).write_bytes(content)
    with pytest.raises(BadData, match=message):
        read(here / name)


def test_a_file_that_changed_is_read_anew(here: Path) -> None:
    path = here / "rows.jsonl"
    path.write_text(json.dumps({"image": "0.png", "text": "dark"}))
    first = read(path)
    assert read(path).folder == first.folder
    path.write_text(json.dumps({"image": "0.png", "text": "not dark"}))
    assert read(path)[0].turns[0].answer == "not dark"
    assert read(path).digest != first.digest


def test_it_is_never_held_whole(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """15 MB of conversations take a few MB to read, in any order."""
    said = [{"from": "human", "value": "<image>" + "why " * 600}, {"from": "gpt", "value": "so " * 800}]
    with (here / "long.json").open("w") as file:
        rows = (json.dumps({"id": i, "image": f"{i % 4}.png", "conversations": said}) for i in range(3_000))
        file.write("[" + next(rows))
        file.writelines(f",\n{row}" for row in rows)
        file.write("]")
    assert (size := (here / "long.json").stat().st_size) > 14e6
    tracemalloc.start()
    found = read(here / "long.json")
    assert {len(found[i].turns) for i in range(0, 3_000, 7)} == {1}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 5


def test_what_is_held_out_is_not_trained_on(here: Path) -> None:
    rows = [{"id": f"s{i}", "image": "0.png", "text": "dark"} for i in range(300)]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train, test = (load(str(here / "rows.jsonl"), split, held_out=0.2) for split in ("train", "test"))
    names = [{sample.id for sample in some} for some in (train, test)]
    assert names[0] | names[1] == {f"s{i}" for i in range(300)}
    assert not names[0] & names[1]
    assert 40 < len(test) < 80
    few = [load(str(here / "rows.jsonl"), "train", 7, seed, held_out=0.2) for seed in (0, 0, 1)]
    assert [len(some) for some in few] == [7, 7, 7]
    assert [s.id for s in few[0]] == [s.id for s in few[1]] != [s.id for s in few[2]]


def test_names_that_mean_no_file(tmp_path: Path) -> None:
    assert files("easy-vqa") == files(str(tmp_path)) == files(str(tmp_path / "*.tar")) == []
