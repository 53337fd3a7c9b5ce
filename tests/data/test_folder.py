"""A user's folder of captioned images: three ways to write captions, and everything that may be wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from isthmus.data import folder as module
from isthmus.data.sources import load_split, parts
from isthmus.errors import BadData, BadMedia, BadRecipe

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A folder of `count` pictures, captioned in metadata.jsonl with `extra` rows, in metadata.csv, or beside."""

    def build(form: str = "jsonl", count: int = 30, extra: tuple[dict[str, object], ...] = ()) -> Path:
        folder = tmp_path / f"pictures-{form}"
        (folder / "sub").mkdir(parents=True)
        names = [f"sub/{i}.png" if i % 2 else f"{i}.PNG" for i in range(count)]
        for i, name in enumerate(names):
            PIL.Image.new("RGB", (5, 4), (i, 0, 0)).save(folder / name)
            if form == "beside":
                (folder / name).with_suffix(".txt").write_text(f"thing {i}\n")
        rows = [{"file_name": name, "text": f"thing {i}"} for i, name in enumerate(names)]
        if form == "jsonl":
            (folder / "metadata.jsonl").write_text("\n\n".join(json.dumps(row) for row in [*rows, *extra]))
        if form == "csv":
            lines = [f'{row["file_name"]},"{row["text"]}"' for row in rows]
            (folder / "metadata.csv").write_text("\n".join(["file_name,text", *lines]), encoding="utf-8-sig")
        return folder

    return build


@pytest.mark.parametrize("form", ["jsonl", "csv", "beside"])
def test_splits_are_disjoint_and_stable(make: Make, form: str) -> None:
    folder = make(form)
    train, test = (load_split(str(folder), split, None, {}) for split in ("train", "test"))
    ids = [{sample.id for sample in samples} for samples in (train, test)]
    assert (len(ids[0]), len(ids[1])) == (27, 3)
    assert not ids[0] & ids[1]
    assert load_split(str(folder), "train", None, {}) == train
    assert load_split(str(folder), "train", 5, {}, seed=1) == load_split(str(folder), "train", 5, {}, seed=1)
    assert {turn.answer for sample in train + test for turn in sample.turns} == {f"thing {i}" for i in range(30)}


def test_several_captions_of_an_image_are_several_turns(make: Make) -> None:
    again = ({"file_name": "./sub/../0.PNG", "text": "another  name\nof it"}, {"file_name": "0.PNG", "text": "thing 0"})
    folder = make(extra=again)
    assert module.read_captions(folder)["0.PNG"] == ["thing 0", "another name of it"]
    samples = load_split(str(folder), "train", None, {}) + load_split(str(folder), "test", None, {})
    assert len(samples) == 30


def test_a_held_out_image_is_asked_for_one_caption(make: Make) -> None:
    folder = make(extra=tuple({"file_name": f"{i}.PNG", "text": f"round {i}"} for i in range(0, 30, 2)))
    train, test = (load_split(str(folder), split, None, {}) for split in ("train", "test"))
    assert {len(sample.turns) for sample in test} == {1}, "one answer can equal but one of them"
    assert {len(sample.turns) for sample in train} == {1, 2}


def test_a_folder_that_is_called_like_a_data_set(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make().rename(tmp_path / "easy-vqa")
    monkeypatch.chdir(tmp_path)
    assert parts("easy-vqa") == ("easy-vqa",)
    assert len(load_split("./easy-vqa", "train", None, {})) == 27


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_quoted_caption_may_have_several_lines(make: Make, newline: str) -> None:
    folder = make("csv")
    rows = ["file_name,text", '0.PNG,"a small\u2028thing', 'on two lines"', 'sub/1.png,"a ""big"" thing, with a comma"']
    (folder / "metadata.csv").write_bytes(newline.join(rows).encode())
    assert module.read_captions(folder) == {
        "0.PNG": ["a small thing on two lines"],
        "sub/1.png": ['a "big" thing, with a comma'],
    }


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_json_lines_end_at_line_feeds_only(make: Make, newline: str) -> None:
    folder = make()
    texts = ["one\u2028thing", "one\x85thing"]
    rows = [json.dumps({"file_name": "0.PNG", "text": text}, ensure_ascii=False) for text in texts]
    (folder / "metadata.jsonl").write_bytes(newline.join(rows).encode())
    assert module.read_captions(folder) == {"0.PNG": ["one thing"]}


@pytest.mark.parametrize(
    "name", ["../outside.png", "/etc/passwd", "sub/../../outside.png", "file:///etc/passwd", "link.png"]
)
def test_what_lies_outside_is_refused(make: Make, tmp_path: Path, name: str) -> None:
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    folder = make(extra=({"file_name": name, "text": "a secret"},))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises((BadData, BadMedia), match=r"points outside the folder|no such file"):
        load_split(str(folder), "train", None, {})


def test_a_caption_or_folder_that_is_a_link_to_the_outside_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = make("beside")
    (folder / "0.txt").unlink()
    (folder / "0.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(BadData, match=r"'0\.txt' points outside"):
        load_split(str(folder), "train", None, {})


def test_a_missing_image_is_named(make: Make) -> None:
    folder = make()
    (folder / "sub/7.png").unlink()
    with pytest.raises(BadMedia, match=r"sub/7\.png: no such file, though"):
        load_split(str(folder), "train", None, {})


def test_a_damaged_image_is_named_even_when_held_out(make: Make) -> None:
    folder = make()
    held = load_split(str(folder), "test", None, {})[0].media[0].source
    data = Path(str(held)).read_bytes()
    Path(str(held)).write_bytes(data[: len(data) // 2])
    with pytest.raises(BadMedia, match=Path(str(held)).name):
        load_split(str(folder), "train", None, {})


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ('{"file_name": "0.PNG"}', "line 1: needs file_name and a text"),
        ('\n{"file_name": "0.PNG", "text": " "}', "line 2: needs file_name and a text"),
        ('{"file_name": 3, "text": "x"}', "line 1: needs file_name"),
        ("[1]", "line 1: needs an object"),
        ("{", "line 1: not JSON"),
        ("[" * 100_000, "line 1: not JSON"),
        ('{"file_name": "a\\u0000b", "text": "x"}', "not the name of a file|no such file"),
        ('{"file_name": "' + "a" * 5000 + '", "text": "x"}', "not the name of a file|no such file"),
        ("", "no captions"),
    ],
)
def test_bad_metadata(make: Make, rows: str, says: str) -> None:
    folder = make()
    (folder / "metadata.jsonl").write_text(rows)
    with pytest.raises((BadData, BadMedia), match=says):
        load_split(str(folder), "train", None, {})


def test_text_that_is_not_utf8(make: Make) -> None:
    folder = make("beside")
    (folder / "0.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadData, match=r"0\.txt: not UTF-8"):
        load_split(str(folder), "train", None, {})


def test_too_few_and_none(make: Make, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="9 captioned media; 10 at least"):
        load_split(str(make(count=9)), "train", None, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match=r"no captions\. Write metadata\.jsonl"):
        load_split(str(tmp_path / "empty"), "train", None, {})
    with pytest.raises(BadRecipe, match="has no options"):
        load_split(str(tmp_path / "empty"), "train", None, {"concepts": 3})
