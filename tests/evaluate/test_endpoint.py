"""A client of chat servers: bounded attempts, clear reasons, no key anywhere."""

from __future__ import annotations

import base64
import io
import json
import time
from email.utils import formatdate
from pathlib import Path

import PIL.Image
import pytest
import tiny_run
from chat_server import served
from rich.console import Console

from isthmus.bulk.pool import Pool
from isthmus.errors import BadRecipe, IsthmusError
from isthmus.evaluate.endpoint import LONGEST_WAIT, Endpoint, Reply, Unanswered, _seconds
from isthmus.evaluate.harness import How, evaluate
from isthmus.types import Audio, Image, Message, Video


def test_retry_after_is_heeded_and_bounded() -> None:
    waited: list[float] = []
    calls = iter([(429, {"Retry-After": "7"}), (503, {"Retry-After": "99999"}), (200, {})])
    with served(lambda content: "yes") as server:
        endpoint = Endpoint(server.url, "tiny", sleep=waited.append)
        own = endpoint._asked

        def asked(method: str, path: str, body: object) -> object:
            from isthmus.evaluate.endpoint import _Later

            status, headers = next(calls)
            if status != 200:
                raise _Later(f"status {status}", _seconds(headers["Retry-After"]))
            return own(method, path, body)

        endpoint._asked = asked  # type: ignore[method-assign]
        assert endpoint.reply([Message("user", "?")], longest=4) == Reply("yes", "tiny")
        endpoint.close()
    assert waited == [7, LONGEST_WAIT]
    assert _seconds(formatdate(time.time() + 30)) == pytest.approx(30, abs=2)


def test_media_go_as_parts_before_the_text() -> None:
    gif = io.BytesIO()
    frames = [PIL.Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:], duration=100)
    wav = Path(__file__).parent / "nothing"
    assert not wav.exists()
    sound = io.BytesIO()
    import numpy as np
    import soundfile

    soundfile.write(sound, np.zeros(1600), 16000, format="WAV")
    png = io.BytesIO()
    frames[0].save(png, "PNG")
    media = (Image(png.getvalue()), Audio(sound.getvalue()), Video(gif.getvalue(), frames=2))
    with served(lambda content: "yes") as server:
        endpoint = Endpoint(server.url)
        assert endpoint.reply([Message("user", "What?", media)], longest=4).text == "yes"
        endpoint.close()
        content = server.asked[0]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "input_audio", "image_url", "image_url", "text"]
    url = content[0]["image_url"]["url"]
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert picture.getpixel((0, 0)) == (255, 0, 0)
    assert server.asked[0]["model"] == "tiny", "its only one"
    assert (server.asked[0]["max_tokens"], server.asked[0]["temperature"]) == (4, 0)


def test_a_key_is_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with served(lambda content: (400, {"error": "you sent sk-very-secret"})) as server:
        endpoint = Endpoint(server.url, "tiny")
        with pytest.raises(Unanswered, match=r"status 400: .*you sent \*\*\*") as error:
            endpoint.reply([Message("user", "?")], longest=4)
        assert not error.value.again
        assert "secret" not in repr(endpoint)
        endpoint.close()
    with served(lambda content: (401, {})) as server:
        endpoint = Endpoint(server.url, "tiny")
        with pytest.raises(IsthmusError, match=r"refuses the key in OPENAI_API_KEY \(status 401\)"):
            endpoint.reply([Message("user", "?")], longest=4)
        endpoint.close()


def test_a_server_that_is_not_there() -> None:
    endpoint = Endpoint("http://127.0.0.1:9/v1", attempts=2, sleep=lambda seconds: None)
    with pytest.raises(IsthmusError, match=r"its models cannot be listed \(no connection .*2 times\)"):
        endpoint.named_model()
    endpoint.close()


def test_a_server_is_asked_a_benchmark_and_again_what_it_failed_at(tmp_path: Path) -> None:
    folder = tmp_path / "pope"
    folder.mkdir()
    tiny_run.pictures(folder / "val2014")
    rows = [
        {"question_id": i, "image": f"{c}.png", "text": f"Is it {c}?", "label": "yes"}
        for i, c in enumerate(tiny_run.COLOURS)
    ]
    (folder / "coco_pope_random.json").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def says(content: list[dict[str, str]]) -> object:
        return (400, {"error": "too long"}) if "pink" in content[-1]["text"] else "Yes"

    quiet = Console(quiet=True)
    with served(says) as server:
        name, out = f"{server.url}#tiny", tmp_path / "out"
        evaluate(name, ["pope"], out, Pool(), How(shard=4), data=tmp_path, tolerate=0.2, console=quiet)
        figures = json.loads((out / "results.json").read_text())["benchmarks"]["pope"]
        assert figures["metrics"]["accuracy"]["value"] == 1
        assert figures["metrics"]["accuracy"]["n"] == 11
        assert list(figures["unscored"]["reasons"]) == ['status 400: {"error": "too long"}']
        with pytest.raises(BadRecipe, match="a server tells no likelihoods"):
            evaluate(name, ["pope"], tmp_path / "o", Pool(), How(way="likelihood"), data=tmp_path, console=quiet)
        shard = out / "pope" / "shards" / "00001.jsonl"
        lines = [json.loads(line) for line in shard.read_text().splitlines()]
        broken = [line | {"answer": None, "failed": "status 500, 6 times", "again": True} for line in lines]
        shard.write_text("".join(json.dumps(line) + "\n" for line in broken))
        before = len(server.asked)
        evaluate(name, ["pope"], out, Pool(), How(shard=4), data=tmp_path, tolerate=0.2, resume=True, console=quiet)
        assert len(server.asked) - before == 4
        assert json.loads((out / "results.json").read_text())["benchmarks"]["pope"] == figures
