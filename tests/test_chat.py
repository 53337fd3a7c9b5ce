"""The conversation: its parts alone, and the whole in a pseudo-terminal, with a person's keys."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest
import tiny_media
import tiny_run
from rich.console import Console
from tiny_parts import Built

import isthmus
from isthmus.chat import LONGEST, Chat, continued, converse, once
from isthmus.errors import BadData, BadMedia
from isthmus.media.request import Request
from isthmus.model import compose, save_full
from isthmus.types import Image, Message, Series

PATIENCE = 90  # seconds for the child to load its libraries on a busy machine

CHILD = """
import fcntl, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C typed into the terminal reaches this process
sys.path += sys.argv[3:]
from pathlib import Path
import tiny_run
from rich.console import Console
from isthmus.chat import converse

model, processor = tiny_run.chatty(Path(sys.argv[1]))
model.register_forward_pre_hook(lambda *_: time.sleep(float(sys.argv[2])))  # there is time to stop an answer
converse(model, processor, [], Console())
print("the end")
"""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run.save(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def built(model_folder: Path) -> Built:
    return tiny_run.chatty(model_folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures, one of them with a space in its name, and a file that is none."""
    PIL.Image.new("RGB", (20, 16), "red").save(tmp_path / "red.png")
    PIL.Image.new("RGB", (20, 16), "blue").save(tmp_path / "sky blue.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "red.png").read_bytes()[:60])
    return tmp_path


class Terminal:
    """A child process in a terminal of its own."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        self.fd, theirs = pty.openpty()
        environment = os.environ | {"TERM": "dumb", "COLUMNS": "200", "TRANSFORMERS_VERBOSITY": "error"}
        self.child = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment, start_new_session=True
        )
        os.close(theirs)
        self.unread = ""

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def press(self, key: str, pattern: str) -> str:
        """Type `key` every two seconds until the terminal shows `pattern`.

        A prompt is shown a moment before keys are awaited, and a signal in between is noticed only with the next key.
        """
        for _ in range(PATIENCE // 2):
            self.type(key)
            if re.search(pattern, self._look(2)):
                break
        return self.until(pattern)

    def _look(self, seconds: float) -> str:
        """What is unread, after waiting a while for more."""
        time.sleep(seconds)
        while select.select([self.fd], [], [], 0)[0]:
            self.unread += os.read(self.fd, 65536).decode(errors="replace")
        return self.unread

    def until(self, pattern: str) -> str:
        """What the terminal shows up to `pattern`, which is awaited."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.unread)):
            left = deadline - time.monotonic()
            assert left > 0, f"waited {PATIENCE} s for {pattern!r}; the terminal shows {self.unread!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    piece = os.read(self.fd, 65536)
                except OSError:  # how Linux says that the child has closed the terminal
                    piece = b""
                assert piece, f"the child ended before {pattern!r}; the terminal shows {self.unread!r}"
                self.unread += piece.decode(errors="replace")
        shown, self.unread = self.unread[: found.end()], self.unread[found.end() :]
        return shown

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.fd)


@pytest.fixture
def terminal(model_folder: Path, pictures: Path) -> Iterator[Terminal]:
    here = Path(__file__).parent
    script = [sys.executable, "-c", CHILD, str(model_folder), "0.05", str(here), str(here / "model")]
    started = Terminal(script, pictures)
    yield started
    started.close()


def test_a_conversation(terminal: Terminal) -> None:
    terminal.until("/quit ends.*\n> ")
    terminal.type("/image red.png\n")
    terminal.until("red.png goes with your next question\r\n> ")
    terminal.type("what is this ?\n")
    terminal.until("what is this \\?\r\n")
    assert len(terminal.until("\r\n> ")) > 10, "an answer is shown"

    terminal.type("/image nowhere.png\n")  # a bad picture in mid-conversation
    terminal.until("nowhere.png: no such file\r\n> ")
    terminal.type("/image broken.png\n")
    terminal.until("broken.png: (not an image|damaged).*\r\n> ")

    terminal.type("/image 'sky blue.png'\n")  # as a terminal pastes a dropped file
    terminal.until("sky blue.png goes with your next question\r\n> ")
    terminal.type("is it red ?\n")
    terminal.until("is it red \\?\r\n")
    time.sleep(0.5)
    asked = time.monotonic()
    terminal.type("\x03")  # Ctrl-C during an answer
    terminal.until("\\(stopped\\)\r\n> ")
    assert time.monotonic() - asked < LONGEST * 0.05, "it did not wait for the whole answer"

    terminal.press("\x03", "/quit ends the chat\r\n> ")  # Ctrl-C at the prompt
    terminal.type("/help\n")
    terminal.until("/new starts over.*\r\n> ")
    terminal.type("/new\n")
    terminal.until("a new conversation\r\n> ")
    terminal.type("and now ?\n")
    terminal.until("and now \\?\r\n")
    terminal.until("\r\n> ")
    terminal.type("/quit\n")
    terminal.until("the end")
    assert terminal.child.wait(PATIENCE) == 0


def test_the_end_of_input_ends_the_chat(terminal: Terminal) -> None:
    terminal.until("/quit ends.*\n> ")
    terminal.type("\x04")
    terminal.until("the end")
    assert terminal.child.wait(PATIENCE) == 0


def test_turns_and_pictures_stay_in_the_conversation(built: Built, pictures: Path) -> None:
    chat = Chat(*built)
    chat.show(pictures / "red.png")
    chat.show(pictures / "sky blue.png")
    first, _ = chat.ask("what are these ?")
    chat.ask("is it blue ?")
    assert [message.role for message in chat.said] == ["user", "assistant"] * 2
    assert [len(message.media) for message in chat.said] == [2, 0, 0, 0]
    assert chat.said[1] == Message("assistant", first)
    assert not chat.waiting


def test_what_is_streamed_is_the_answer(built: Built, pictures: Path) -> None:
    pieces: list[str] = []
    chat = Chat(*built)
    chat.show(pictures / "red.png")
    answer, tokens = chat.ask("what is this ?", pieces.append)
    assert "".join(pieces).strip() == answer
    assert len(pieces) > 1
    assert tokens == LONGEST


def test_a_stopped_answer_is_kept(built: Built) -> None:
    stop = threading.Event()
    chat = Chat(*built)
    answer, tokens = chat.ask("what is this ?", lambda piece: stop.set(), stop)
    assert tokens < LONGEST
    assert chat.said[-1] == Message("assistant", answer)


def test_a_bad_picture_changes_nothing(built: Built, pictures: Path) -> None:
    chat = Chat(*built)
    with pytest.raises(BadMedia, match=r"broken\.png"):
        chat.show(pictures / "broken.png")
    assert not chat.waiting
    assert not chat.said


def test_one_medium_too_many_is_refused_before_it_is_read(built: Built, pictures: Path) -> None:
    chat = Chat(*built)
    for _ in range(10):
        chat.show(pictures / "red.png")
    chat.ask("what is it ?")
    for _ in range(6):
        chat.show(pictures / "red.png")
    with pytest.raises(BadMedia, match=r"^17 media in one conversation; at most 16 are taken. Start a new one$"):
        chat.show("/no/such/file.png")
    assert len(chat.waiting) == 6


def test_a_picture_is_read_once(built: Built, pictures: Path) -> None:
    kept, changed = Chat(*built), Chat(*built)
    for chat in (kept, changed):
        chat.show(pictures / "red.png")
        chat.show(pictures / "sky blue.png")
    expected = [kept.ask("what are these ?"), kept.ask("is it blue ?")]
    (pictures / "red.png").unlink()
    first = changed.ask("what are these ?")
    PIL.Image.new("RGB", (20, 16), "green").save(pictures / "sky blue.png")
    assert [first, changed.ask("is it blue ?")] == expected


def test_ctrl_c_while_a_picture_is_read_does_not_end_the_chat(
    built: Built, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(request: Request, image: Image) -> None:
        raise KeyboardInterrupt

    typed = iter(["/image red.png", "/new", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    monkeypatch.setattr(Request, "load", pressed)
    converse(*built, [], Console())
    assert not list(typed)
    assert "/quit ends the chat" in capsys.readouterr().out


def test_a_conversation_that_is_too_long_says_so(built: Built) -> None:
    with pytest.raises(BadData, match=r"the LLM reads 256\. Start a new one"):
        Chat(*built).ask("what is it ? " * 100)


@pytest.fixture(scope="module")
def feels(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A model of series, whose slots grow with their length."""
    folder = tmp_path_factory.mktemp("series")
    save_full(*compose(**{"image": None} | tiny_media.facts(folder, "series")["model"]), folder / "model")
    return tiny_run.chatty(folder / "model")


def steps(path: Path, count: int) -> Series:
    """A series of so many steps."""
    path.write_text("x,y,z\n" + "1,2,3\n4,5,6\n" * (count // 2))
    return Series(path)


def test_a_medium_that_is_too_long_is_refused_and_the_conversation_goes_on(feels: Built, tmp_path: Path) -> None:
    chat = Chat(*feels)
    for said in (False, True):
        with pytest.raises(
            BadMedia, match=r"long\.csv: [\d,]+ tokens for the LLM, which reads 256; .* Show less"
        ) as error:
            chat.show(steps(tmp_path / "long.csv", 2000))
        assert ("or start a new conversation" in str(error.value)) == said
        assert not chat.waiting
        chat.show(steps(tmp_path / "short.csv", 20))
        chat.ask("is it red ?")
    assert [len(message.media) for message in chat.said] == [1, 0, 1, 0]


def test_media_beside_which_a_question_does_not_fit_are_put_aside(built: Built, pictures: Path) -> None:
    chat = Chat(*built)
    for _ in range(16):
        chat.show(pictures / "red.png")
    question = "what is it ? " * 30
    with pytest.raises(BadData, match=r"red\.png: with this question .* reads 256\. What was shown is put aside"):
        chat.ask(question)
    assert (chat.waiting, chat.said, chat.room) == ([], [], Chat(*built).room)
    chat.ask(question)
    assert not chat.said[0].media


def test_a_question_that_is_too_long_alone_leaves_the_media_waiting(built: Built, pictures: Path) -> None:
    chat = Chat(*built)
    chat.show(pictures / "red.png")
    with pytest.raises(BadData, match="ask something shorter"):
        chat.ask("what is it ? " * 100)
    chat.ask("what is it ?")
    assert len(chat.said[0].media) == 1


def test_json_is_one_object(built: Built, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once(*built, [str(pictures / "red.png")], "what is this ?", True, Console())
    reply = json.loads(capsys.readouterr().out)
    assert reply.keys() == {"answer", "tokens", "seconds"}
    assert reply["answer"] == isthmus.ask(*built, "what is this ?", Image(pictures / "red.png"))
    assert reply["tokens"] == LONGEST


def test_a_text_is_continued(built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    continued(*built, "the ball is", True, Console())
    reply = json.loads(capsys.readouterr().out)
    assert reply.keys() == {"continuation", "tokens", "perplexity", "seconds"}
    assert reply["tokens"] == LONGEST
    typed = iter(["/continue the ball is", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    converse(*built, [], Console(width=200))
    shown = capsys.readouterr().out
    assert f"perplexity of the text that was given: {reply['perplexity']:,.1f}" in shown


def test_an_answer_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from isthmus.chat import _printer

    _printer(Console())("red\x1b[2J\x07 [bold]ball[/]\n")
    assert capsys.readouterr().out == "red[2J [bold]ball[/]\n"
