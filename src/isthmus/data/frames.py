"""Which frame an LLM is spoken to in: its tokenizer's chat template, taken apart, or one of those given here by name.

A chat template is a program that writes a whole conversation. Where it writes words and fixed control text in turns, as
nearly all do, a `Frame` says the same, and can be tokenised in pieces. `read` finds the pieces by having the template
write messages of one character each, and then holds the frame against the template, token for token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from isthmus.data.packing import Frame, Template, plain
from isthmus.errors import BadRecipe, UnknownName
from isthmus.registry import miss
from isthmus.types import Message

SYSTEM, ASKED, ANSWERED, AGAIN = "\ue000", "\ue001", "\ue002", "\ue003"  # characters that no template writes

# Llama 3's templates write today's date, unless they are told one; this is their own where there is no clock. Qwen 3's
# thinks first, unless it is told not to.
OPTIONS = {"date_string": "26 Jul 2024", "enable_thinking": False}


def frame(tokenizer: Any, name: str | None = None, reads: bool = False) -> Frame:
    """The frame called `name`; without a name what the tokenizer says: its chat template, ChatML, or `bare`.

    Args:
        tokenizer: the LLM's own.
        name: one of `NAMED`, or None.
        reads: whether the LLM is an encoder-decoder.

    Raises:
        UnknownName: for a name that is none of these.
        BadRecipe: for a chat template that no frame can express, or a tokenizer without a token that ends a text.
    """
    if name is not None:
        return named(name)(tokenizer)
    if tokenizer.chat_template:
        return read(tokenizer)
    if chatml(tokenizer) or tokenizer.eos_token is None:
        return Frame()
    return seq2seq(tokenizer) if reads else bare(tokenizer)


def named(name: str) -> Callable[[Any], Frame]:
    """What makes the frame called `name` for a tokenizer. Raises `UnknownName` for a name that is none of `NAMED`."""
    if name not in NAMED:
        raise UnknownName(miss("frame", name, sorted(NAMED)))
    return NAMED[name]


def chatml(tokenizer: Any) -> bool:
    """Whether ChatML's control texts are control tokens of this tokenizer."""
    return len(tokenizer("<|im_start|><|im_end|>", add_special_tokens=False).input_ids) == 2


def bare(tokenizer: Any) -> Frame:
    """Question, line, answer, for an LLM that was taught no conversation (LLaMA, GPT-2, GPT-J, Falcon)."""
    return dataclasses.replace(plain(_end(tokenizer), _begin(tokenizer)), ask=_word(tokenizer))


def seq2seq(tokenizer: Any) -> Frame:
    """Question in, answer out, each ended as the tokenizer ends a text (T5; Raffel et al., 2020, arXiv:1910.10683)."""
    end = _end(tokenizer)
    return Frame("", ("", "\n"), "", ("", ""), "\n", end, end, "", "")


def vicuna(tokenizer: Any) -> Frame:
    """Vicuna's, versions 1.1 to 1.5: FastChat's conversation `vicuna_v1.1` (Chiang et al., 2023, lmsys.org/blog)."""
    preset = (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    )
    begin, end, around = _begin(tokenizer), _end(tokenizer), (_word(tokenizer), " ")
    alone = [tokenizer(f"{begin}{space}A", add_special_tokens=False).input_ids for space in ("", " ")]
    space = " " if tokenizer("A").input_ids == alone[1] else ""
    return Frame(begin, around, "USER: ", ("", ""), "\n", " ASSISTANT:", end, "", " ", preset=space + preset)


NAMED: dict[str, Callable[[Any], Frame]] = {
    "chatml": lambda tokenizer: Frame(),
    "plain": bare,
    "seq2seq": seq2seq,
    "vicuna": vicuna,
}


def read(tokenizer: Any) -> Frame:
    """The frame of a tokenizer's chat template. Raises `BadRecipe` where no frame writes what the template does."""
    asked = _write(tokenizer, ("user", ASKED))
    talk = _write(tokenizer, ("user", ASKED), ("assistant", ANSWERED), ("user", AGAIN))
    try:
        system = _write(tokenizer, ("system", SYSTEM), ("user", ASKED))
    except BadRecipe:  # some templates refuse a system message
        system = ""
    opening, tail = _cut(asked, ASKED)
    head, replies, then, end = _cut(talk, ASKED, ANSWERED, AGAIN)
    if head != opening or end != tail:
        raise BadRecipe(_cannot("it writes a question in another way when an answer follows"))
    if tail.startswith(replies):
        assistant, thought, space = replies, tail[len(replies) :], ""
    elif replies.startswith(tail) and not replies[len(tail) :].strip(" "):
        assistant, thought, space = tail, "", replies[len(tail) :]
    else:
        raise BadRecipe(_cannot("an answer that is to come begins in another way than one that was given"))
    if not thought:
        assistant, space = assistant.rstrip(" "), assistant[len(assistant.rstrip(" ")) :] + space
    stop = _stop(tokenizer, then)
    then = then[len(stop) :]
    start = begin if (begin := tokenizer.bos_token or "") and opening.startswith(begin) else ""
    opening = opening[len(start) :]
    around: tuple[str, str] | None = None
    if SYSTEM in system:
        before, after, _ = _cut(system, SYSTEM, ASKED)
        around = before.removeprefix(start), after
    user = _ending(opening, then, *(around or ())[1:])
    shared = len(user)
    if around:
        around = around[0], around[1][: len(around[1]) - shared]
    found = Frame(
        start, around, user, ("", ""), "\n", assistant, stop, then[: len(then) - shared], space,
        preset=opening[: len(opening) - shared], open=thought,
    )  # fmt: skip
    check(found, tokenizer)
    return found


def check(found: Frame, tokenizer: Any) -> None:
    """Hold a frame against the tokenizer's chat template, token for token; `BadRecipe` says where they part."""
    template = Template(tokenizer, {}, {}, found)
    question, answer, again = ("user", "What is it?"), ("assistant", "A ball, I think."), ("user", "Is it 1 or 20?")
    talks: list[Sequence[tuple[str, str]]] = [[question], [question, answer, again]]
    if found.system is not None:
        talks += [[("system", "Be brief."), *talk] for talk in talks]
    for talk in talks:
        wanted = tokenizer(_write(tokenizer, *talk), add_special_tokens=False).input_ids
        ids = template.conversation([Message(role, text) for role, text in talk])
        if ids != wanted:
            at = next((i for i, pair in enumerate(zip(ids, wanted, strict=False)) if len({*pair}) > 1), len(ids))
            said = tokenizer.decode(ids[max(0, at - 3) : at + 5]), tokenizer.decode(wanted[max(0, at - 3) : at + 5])
            raise BadRecipe(_cannot(f"taken apart it says {said[0]!r} where it says {said[1]!r}"))


def _write(tokenizer: Any, *messages: tuple[str, str]) -> str:
    """What the chat template makes of messages, up to where the assistant answers."""
    talk = [{"role": role, "content": text} for role, text in messages]
    try:
        return str(tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True, **OPTIONS))
    except Exception as error:  # a template is a program, and raises what it likes
        raise BadRecipe(_cannot(f"{type(error).__name__}: {error}")) from error


def _cut(text: str, *marks: str) -> list[str]:
    """The text in pieces, without the marks between them."""
    pieces = []
    for mark in marks:
        piece, found, text = text.partition(mark)
        if not found or mark in text:
            raise BadRecipe(_cannot("it does not write each message once, in their order"))
        pieces.append(piece)
    return [*pieces, text]


def _ending(*texts: str) -> str:
    """The longest text that all of these end with."""
    last = zip(*(text[::-1] for text in texts), strict=False)
    shared = next((i for i, letters in enumerate(last) if len({*letters}) > 1), min(map(len, texts)))
    return texts[0][len(texts[0]) - shared :]


def _stop(tokenizer: Any, after: str) -> str:
    """The text after an answer up to its first control token, which ends it."""
    ends = [place + len(token) for token in tokenizer.get_added_vocab() if (place := after.find(token)) >= 0]
    if not ends:
        raise BadRecipe(_cannot("no control token ends an answer"))
    return after[: min(ends)]


def _cannot(why: str) -> str:
    known = ", ".join(sorted(NAMED))
    return f"the tokenizer's chat template cannot be read: {why}. Name the frame to use instead: {known}"


def _end(tokenizer: Any) -> str:
    if tokenizer.eos_token is None:
        raise BadRecipe("the LLM's tokenizer has no token that ends a text. Add one as a special token")
    return str(tokenizer.eos_token)


def _begin(tokenizer: Any) -> str:
    """The token that the tokenizer puts before a text by itself, or nothing."""
    own = tokenizer.bos_token is not None and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if own else ""


def _word(tokenizer: Any) -> str:
    """What a text begins with that stands after others, so that its first word is the one that would begin a text."""
    template = Template(tokenizer, {}, {})
    alone = tokenizer("a", add_special_tokens=False, split_special_tokens=True).input_ids
    return next((space for space in ("", " ") if template.plain(f"{space}a") == alone), "")
