"""A client of chat servers: bounded attempts, clear reasons, no key anywhere."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from pathlib import Path

import PIL.Image
import pytest
import tiny_run
from chat_server import completion, served
from rich.console import Console

from isthmus.bulk.pool import Pool
from isthmus.errors import BadRecipe, Interrupted, IsthmusError
from isthmus.evaluate import endpoint
from isthmus.evaluate.endpoint import LONGEST_WAIT, Endpoint, Reply, Unanswered, _seconds
from isthmus.evaluate.harness import How, evaluate
from isthmus.evaluate.models import Said
from isthmus.evaluate.models.served import Served
from isthmus.evaluate.questions import Question
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


@pytest.fixture
def pope(tmp_path: Path) -> Path:
    """POPE's folder: twelve questions, about a picture each."""
    folder = tmp_path / "pope"
    folder.mkdir()
    tiny_run.pictures(folder / "val2014")
    rows = [
        {"question_id": i, "image": f"{c}.png", "text": f"Is it {c}?", "label": "yes"}
        for i, c in enumerate(tiny_run.COLOURS)
    ]
    (folder / "coco_pope_random.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_server_is_asked_a_benchmark_and_again_what_it_failed_at(pope: Path, tmp_path: Path) -> None:
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


def test_what_a_server_answered_before_a_kill_is_not_asked_again(
    pope: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, how = Console(quiet=True), How(shard=10)
    with served(lambda content: "Yes") as server:
        name = f"{server.url}#tiny"
        evaluate(name, ["pope"], tmp_path / "whole", Pool(), how, data=pope, console=quiet)
        stream = Served.stream

        def killed(self: Served, questions: Sequence[Question]) -> Iterator[tuple[int, Said]]:
            for count, said in enumerate(stream(self, questions)):
                if count == 5:
                    raise KeyboardInterrupt
                yield said

        monkeypatch.setattr(Served, "stream", killed)
        out = tmp_path / "out"
        with pytest.raises(Interrupted):
            evaluate(name, ["pope"], out, Pool(), how, data=pope, console=quiet)
        with (out / "pope" / "shards" / "00000.replies").open("a") as file:
            file.write('{"id": "torn off in the mid')  # what kill -9 leaves
        monkeypatch.setattr(Served, "stream", stream)
    with served(lambda content: "Yes") as again:
        name = f"{again.url}#tiny"
        for path in (out / "run.json", out / "pope" / "shards" / "run.json"):  # the same server at another port
            path.write_text(path.read_text().replace(server.url, again.url))
        evaluate(name, ["pope"], out, Pool(), how, data=pope, resume=True, console=quiet)
        assert len(again.asked) == 12 - 5
    assert not [*out.rglob("*.replies")]
    for file in ("samples.jsonl", "predictions.jsonl", "shards/00000.jsonl"):
        assert (out / "pope" / file).read_bytes() == (tmp_path / "whole" / "pope" / file).read_bytes()


def test_a_dead_server_ends_the_run_with_its_address(
    pope: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LONGEST_WAIT", 0.0)
    quiet = Console(quiet=True)
    with pytest.raises(IsthmusError, match=r"127\.0\.0\.1:9/v1 answered none of the last 8 questions \(no connection"):
        evaluate("http://127.0.0.1:9/v1#m", ["pope"], tmp_path / "out", Pool(), How(), data=pope, console=quiet)


def test_a_server_that_hangs_is_tried_less_often() -> None:
    with served(lambda content: "Yes", faults=1.0, ways=("hang",)) as server:
        own = Endpoint(server.url, "tiny", timeout=0.1, sleep=lambda seconds: None)
        with pytest.raises(Unanswered, match=r"no reply within 0\.1 s, 3 times"):
            own.reply([Message("user", "?")], longest=4)
        own.close()


def test_answers_that_were_cut_off_are_told(pope: Path, tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    with served(lambda content: completion("Let me think", finish_reason="length")) as server:
        evaluate(f"{server.url}#tiny", ["pope"], tmp_path / "out", Pool(), How(), data=pope, console=quiet)
    told = json.loads((tmp_path / "out" / "results.json").read_text())["benchmarks"]["pope"]
    assert "12 answers were cut off at the most tokens that the benchmark gives them" in told["notes"]
    assert "12 answers say neither yes nor no; the official rule takes them as yes" in " ".join(told["notes"])
    assert json.loads((tmp_path / "out" / "pope" / "samples.jsonl").read_text().split("\n")[0])["cut"] is True
