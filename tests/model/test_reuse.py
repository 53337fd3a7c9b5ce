"""What was encoded and read is not encoded and read again, and answers are those of a model that remembers nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from tiny_parts import DECODERS, Built, noise, tokenizer
from tiny_senses import medium, sense

from isthmus.chat import Chat
from isthmus.errors import BadData
from isthmus.model import compose
from isthmus.model.composed import family
from isthmus.model.reuse import Asked, Reuse
from isthmus.registry import names
from isthmus.types import Image, Message

NAMES = names("isthmus.connectors")
HOW: dict[str, Any] = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
A, B, C = (noise(name) for name in "abc")
SYSTEM = Message("system", "answer please")


def user(text: str, *media: Any) -> Message:
    return Message("user", text, media)


def opened(built: Built) -> Built:
    """With a connector whose every weight does something that shows in the answers."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in built[0].connectors.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return built


class Answer:
    """The tokens of an answer, and the logits [steps, V] that they were chosen by."""

    def __init__(self, say: Callable[..., Any]) -> None:
        logits: list[torch.Tensor] = []
        self.ids: list[int] = say(logits_processor=[lambda _, scores: logits.append(scores.clone()) or scores], **HOW)
        self.logits = torch.cat(logits)

    def equals(self, other: Answer) -> bool:
        return self.ids == other.ids and torch.allclose(self.logits, other.logits, atol=1e-3, rtol=1e-3)


def reused(reuse: Reuse, talk: Sequence[Message]) -> Answer:
    """The answer, with what was kept."""
    return Answer(lambda **how: reuse.generate(reuse.ask(talk), **how))


def plain(built: Built, talk: Sequence[Message]) -> Answer:
    """The answer when everything is encoded and read anew."""
    model, processor = built
    batch = processor.encode([talk])
    start = 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
    return Answer(lambda **how: model.generate(**batch, **how)[0, start:].tolist())


class Watch:
    """How many pieces the encoders saw, and how many tokens the LLM read at once, in the order of its passes."""

    def __init__(self, model: Any) -> None:
        self.encoded, self.read = 0, list[int]()
        for encoder in model.encoders.values():
            encoder.register_forward_pre_hook(self._encodes, with_kwargs=True)
        model.llm.register_forward_pre_hook(self._reads, with_kwargs=True)

    def _encodes(self, module: Any, args: Any, kwargs: Any) -> None:
        self.encoded += len(next(v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)))

    def _reads(self, module: Any, args: Any, kwargs: Any) -> None:
        x = kwargs.get("inputs_embeds")
        ids = kwargs.get("input_ids", kwargs.get("decoder_input_ids"))
        self.read.append(ids.shape[1] if x is None else x.shape[1])

    def take(self) -> tuple[int, int]:
        """Pieces encoded since it was last asked, and tokens read in the first pass since then."""
        found = self.encoded, self.read[0]
        self.encoded, self.read = 0, []
        return found


def conversation(reuse: Reuse, built: Built) -> Iterator[tuple[list[Message], Answer]]:
    """A conversation of three turns with pictures between them, then others that begin like it and part from it."""
    said = [SYSTEM, user("what is it ?", A)]
    for following in (user("is it red ?"), user("left or the one in green ?", B, C), None):
        answer = reused(reuse, said)
        yield said, answer
        said = [*said, Message("assistant", built[1].decode(answer.ids) or "no"), *([following] if following else [])]
    for talk in (
        [SYSTEM, user("yes or no ?", A)],
        [SYSTEM, user("yes or no ?", B)],
        [SYSTEM, user("yes or no ?", B, A)],
        [SYSTEM, user("one or two ?", B, A, B)],
        [user("yes or no ?")],
        [user("yes or no ?")],
    ):
        yield talk, reused(reuse, talk)


@pytest.mark.parametrize("llm", [*DECODERS, "t5"])
@pytest.mark.parametrize("connector", NAMES)
def test_answers_are_those_of_a_model_that_remembers_nothing(
    build: Callable[..., Built], llm: str, connector: str
) -> None:
    built = opened(build(llm, connector=connector))
    answers = []
    for talk, answer in conversation(Reuse(*built), built):
        assert answer.equals(plain(built, talk)), talk
        answers.append(answer)
    for one, other in itertools.pairwise(answers[:-1]):
        assert not one.equals(other), "of two different texts"
    assert not torch.allclose(answers[3].logits[0], answers[4].logits[0], atol=1e-2), "of two pictures"


@pytest.mark.parametrize(
    "options",
    [
        {"connector": "qformer", "instruction": True, "hidden": 16},
        {"connector": "gated-cross-attention", "memory": "qformer", "inside": {"instruction": True, "hidden": 16}},
        {"connector": "gated-cross-attention", "together": True, "every": 1},
        {"connector": "gated-cross-attention", "everywhere": True, "every": 1},
        {"connector": "gated-cross-attention", "memory": "features", "tokens": None, "every": 1},
        {"connector": "visual-expert", "ends": False},
        *({"connector": name, "tiles": 4} for name in NAMES),
    ],
    ids=str,
)
def test_so_are_those_of_connectors_with_options(build: Callable[..., Built], options: dict[str, Any]) -> None:
    built = opened(build(**options))
    for talk, answer in conversation(Reuse(*built), built):
        assert answer.equals(plain(built, talk)), talk


@pytest.mark.parametrize("connector", NAMES)
def test_media_of_several_kinds_and_lengths(folders: dict[str, str], connector: str, tmp_path: Path) -> None:
    few = {"tokens": 4} | ({"hidden": 16, "heads": 2} if connector == "qformer" else {})
    own = few if connector in ("qformer", "resampler") else {}
    senses = {kind: sense(name, tmp_path, connector, **own) for kind, name in (("image", "vit"), ("audio", "whisper"))}
    built = opened(compose(folders["llama"], **senses))
    reuse, watch = Reuse(*built), Watch(built[0])
    sounds = [medium("whisper", seed, long) for seed, long in ((0, 1.0), (1, 0.5), (2, 2.5))]
    said = [user("what is it ?", A, sounds[0])]
    for more in (user("and ?", sounds[1]), user("is it ?", sounds[2], A), user("no ?", sounds[0], B)):
        answer = reused(reuse, said)
        assert watch.take()[0] <= 3, "of the last turn's media, the new ones"
        assert answer.equals(plain(built, said))
        watch.take()
        said += [Message("assistant", "no"), more]
    other = [user("what is it ?", A, sounds[1]), Message("assistant", "no"), user("is it ?", sounds[0])]
    assert reused(reuse, other).equals(plain(built, other))


@pytest.mark.parametrize("connector", NAMES)
def test_nothing_is_encoded_or_read_twice(build: Callable[..., Built], connector: str) -> None:
    built = opened(build(connector=connector))
    reuse, watch = Reuse(*built), Watch(built[0])
    first = reuse.ask([SYSTEM, user("what is it ?", A)])
    reuse.generate(first, **HOW)
    assert watch.take() == (1, len(first.ids))
    second = reuse.ask([SYSTEM, user("what is it ?", A), Message("assistant", "no"), user("is it red ?", B)])
    reuse.generate(second, **HOW)
    encoded, read = watch.take()
    assert encoded == 1
    assert read <= len(second.ids) - len(first.ids)
    other = reuse.ask([SYSTEM, user("yes or no ?", A)])
    reuse.generate(other, **HOW)
    shared = next(i for i, (a, b) in enumerate(zip(first.ids, other.ids, strict=False)) if a != b)
    assert watch.take() == (0, len(other.ids) - shared)
    assert built[0].config.placeholders["image"] in other.ids[:shared], "the picture was not read again"
    reuse.generate(other, **HOW)
    assert watch.take() == (0, 1), "the last token gives the first logits, so it is always read"


def test_another_picture_of_the_same_size_is_another_text(built: Built, tmp_path: Path) -> None:
    opened(built)
    reuse, watch, answers = Reuse(*built), Watch(built[0]), []
    for name in "ab":
        noise(name).source().save(tmp_path / "same.png")  # type: ignore[operator]
        answers.append(reused(reuse, [user("what is it ?", Image(tmp_path / "same.png"))]))
        encoded, read = watch.take()
        assert encoded == 1
        assert read > built[0].connectors["image"].num_tokens
        assert answers[-1].equals(plain(built, [user("what is it ?", noise(name))]))
        watch.take()
    assert not answers[0].equals(answers[1])


def test_a_chat_reads_what_is_new(built: Built) -> None:
    chat, watch = Chat(*built), Watch(built[0])
    chat.show(A)
    chat.ask("what colour is the ball left of a cube ?")
    first = watch.take()
    asked = chat.reuse.ask([*chat.said, user("is it ?")])
    chat.ask("is it ?")
    encoded, read = watch.take()
    assert (first[0], encoded) == (1, 0)
    assert read <= len(asked.ids) - first[1]


def test_what_is_kept_is_bounded_and_the_oldest_goes(built: Built) -> None:
    reuse, watch = Reuse(*built), Watch(built[0])
    for picture in (A, B, C):
        reuse.generate(reuse.ask([user("what ?", picture)]), **HOW)
    one = reuse.media.bytes // 3
    assert watch.take()[0] == 3
    reuse = Reuse(*built, room=2 * one)
    for picture, encoded in ((A, 1), (B, 1), (A, 0), (C, 1), (A, 0), (B, 1)):
        reuse.generate(reuse.ask([user("what ?", picture)]), **HOW)
        assert watch.take()[0] == encoded, "of two that are kept, the one not used for longest goes"
        assert reuse.media.bytes <= 2 * one
    assert len(reuse.media) == 2
    small = Reuse(*built, room=one - 1)
    talk = [user("what ?", A, B)]
    assert reused(small, talk).equals(plain(built, talk))
    assert (len(small.media), small.media.bytes) == (0, 0)


@pytest.mark.parametrize("how", ["stopped", "error"])
@pytest.mark.parametrize("connector", ["mlp", "gated-cross-attention"])
def test_what_ends_early_leaves_it_right(build: Callable[..., Built], connector: str, how: str) -> None:
    built = opened(build(connector=connector))
    reuse, passes = Reuse(*built), [0]
    talk = [user("what is it ?", A)]
    if how == "stopped":
        count = lambda ids, scores, **_: torch.full((len(ids),), ids.shape[1] > len(reuse.ask(talk).ids) + 2)
        answer = reuse.generate(reuse.ask(talk), stopping_criteria=[count], **HOW)
        assert answer == plain(built, talk).ids[:3]
        talk += [Message("assistant", built[1].decode(answer) or "no"), user("is it red ?", B)]
    else:

        def fails(*_: Any) -> None:
            passes[0] += 1
            if passes[0] == 3:
                raise KeyboardInterrupt

        hook = built[0].llm.get_decoder().layers[1].register_forward_pre_hook(fails)
        with pytest.raises(KeyboardInterrupt):  # one layer has read a token that the next has not
            reuse.generate(reuse.ask(talk), **HOW)
        hook.remove()
    assert reused(reuse, talk).equals(plain(built, talk))


@pytest.mark.parametrize("where", ["llm", "connectors", "encoders"])
def test_other_weights_are_noticed(built: Built, where: str) -> None:
    opened(built)
    reuse, talk = Reuse(*built), [user("what is it ?", A)]
    before = reused(reuse, talk)
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in getattr(built[0], where).parameters():
            weight.add_(torch.randn_like(weight))
    after = reused(reuse, talk)
    assert after.equals(plain(built, talk))
    assert not after.equals(before)


@pytest.mark.parametrize("window", [8, 200])
def test_a_sliding_window(folders: dict[str, str], tmp_path: Path, window: int) -> None:
    """It lets go of what lies before it, so it can be gone on from and not be taken back."""
    torch.manual_seed(0)
    config = t.MistralConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=300, sliding_window=window, eos_token_id=2, max_position_embeddings=256,
    )  # fmt: skip
    llm = family(config).from_config(config)
    for weight in llm.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    llm.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    image = {"encoder": "vit-s", "connector": "mlp", "part": folders["vision"], "size": 16, "tokens": 4}
    built = opened(compose(str(tmp_path), image))
    for talk, answer in conversation(reuse := Reuse(*built), built):
        assert answer.equals(plain(built, talk)), talk
    watch, last = Watch(built[0]), [user("yes or no ?")]
    said = reuse.generate(asked := reuse.ask(last), **HOW)
    assert watch.take()[1] == len(asked.ids), "nothing is taken back"
    longer = [*asked.ids, *said, 5, 6]
    reuse.generate(Asked(longer, [*longer], []), **HOW)
    assert watch.take()[1] == 3, "the answer's last token and the two new ones"


def test_two_threads_do_not_write_into_one_cache(build: Callable[..., Built]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    built = opened(build(connector="gated-cross-attention", every=1))
    reuse, talks = Reuse(*built), [[user("what is it ?", picture)] for picture in (A, B, C)]
    expected = [plain(built, talk).ids for talk in talks]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda talk: reuse.generate(reuse.ask(talk), **HOW), talks * 4))
    assert found == expected * 4


def test_beams_are_refused_and_nothing_is_lost(built: Built) -> None:
    reuse = Reuse(*built)
    asked = reuse.ask([user("what is it ?", A)])
    for option in ("num_beams", "num_return_sequences"):
        with pytest.raises(BadData, match="one answer at a time"):
            reuse.generate(asked, **{option: 2})
    with pytest.raises(BadData, match="ends with a user's message"):
        reuse.ask([user("what is it ?"), Message("assistant", "no")])


def test_another_instruction_needs_no_second_encoding(build: Callable[..., Built]) -> None:
    built = opened(build(connector="qformer", instruction=True, hidden=16))
    reuse, watch = Reuse(*built), Watch(built[0])
    for encoded, question in ((1, "what ?"), (0, "is it red ?"), (0, "what ?")):
        found = reused(reuse, [user(question, A)])
        assert watch.take()[0] == encoded
        assert found.equals(plain(built, [user(question, A)]))
        watch.take()


def test_an_encoder_decoder_reads_again_and_encodes_once(build: Callable[..., Built]) -> None:
    built = opened(build("t5"))
    reuse, watch = Reuse(*built), Watch(built[0])
    for count, talk in enumerate(([user("what ?", A)], [user("is it ?", A)], [user("is it ?", A, B)])):
        assert reused(reuse, talk).equals(plain(built, talk))
        assert watch.encoded == (2, 1, 3)[count], "once by itself, and the others anew"
        watch.encoded = 0
