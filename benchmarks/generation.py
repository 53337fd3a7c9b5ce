"""How fast does our model answer beside the same model in transformers' Llava, and beside what memory allows?

    python benchmarks/generation.py [--quick] [--threads N]  writes benchmarks/results/generation.json

Both are the default model (the same modules, adapters merged, fp32) and answer greedily: the same pictures, questions
and turns. Ours is a `Reuse`, as a chat has it: it keeps what was encoded and read. The peer is an ordinary program with
`LlavaForConditionalGeneration.generate` (`_llava_peer.py`): picture and text are given whole for every answer.
Preparing both counts on each side. Latency runs up to the first token, decoding from there to the last.

The two take turns in one process; figures are medians over the turns, the first of which is not counted. A token cannot
come before all weights of the LLM were read once: the limit is the bandwidth of summing as many bytes, measured between
the turns. Where other programs share the machine, `--threads 1` and CPU seconds tell more.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import PIL.Image
import torch
from _common import machine
from _llava_peer import llava

import isthmus
from isthmus.model import merge_lora
from isthmus.model.processor import Prepared
from isthmus.model.reuse import Reuse
from isthmus.train.cost import peak_memory
from isthmus.types import Message

RESULT = Path(__file__).parent / "results" / "generation.json"
PEER = "transformers LlavaForConditionalGeneration.generate"
ROUNDS, TOKENS = 10, 33  # turns of each side; tokens of an answer
QUESTIONS = (
    "What is this?",
    "What colour is the background?",
    "Is there an animal in the picture?",
    "How many are there?",
)
SIDE = 224  # pixels
Took = tuple[float, float]  # wall and CPU seconds
LATENCIES = ("a new image", "a second turn", "the image again, another question")


class Clock:
    """A streamer that notes when each token came."""

    def __init__(self) -> None:
        self.times = [self._now()]

    def _now(self) -> Took:
        return time.perf_counter(), time.process_time()

    def put(self, value: Any) -> None:
        """The prompt comes first, then each token."""
        self.times.append(self._now())

    def end(self) -> None:
        """Nothing is held back."""

    @property
    def latency(self) -> Took:
        """From the start to the first token."""
        return self._between(0, 2)

    @property
    def each(self) -> Took:
        """Of a later token, on average."""
        wall, cpu = self._between(2, -1)
        return wall / (len(self.times) - 3), cpu / (len(self.times) - 3)

    def _between(self, first: int, last: int) -> Took:
        (wall, cpu), (later, more) = self.times[first], self.times[last]
        return later - wall, more - cpu


class Ours:
    """Our model, with what it keeps."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.reuse, self.processor = Reuse(model, processor), processor

    def forget(self) -> None:
        """Before a measurement of what is new."""
        self.reuse.forget()

    def answer(self, talk: Sequence[Message], tokens: int) -> tuple[list[int], Clock]:
        """Exactly so many tokens, and when they came."""
        clock = Clock()
        asked = self.reuse.ask(talk)
        return self.reuse.generate(asked, streamer=clock, **how(tokens)), clock


class Theirs:
    """The same weights as transformers' Llava."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.processor = processor
        self.model, self.image = llava(model, processor)
        self.model.eval().generation_config = model.generation_config

    def forget(self) -> None:
        """It keeps nothing."""

    @torch.inference_mode()
    def answer(self, talk: Sequence[Message], tokens: int) -> tuple[list[int], Clock]:
        """As `Ours.answer`."""
        clock = Clock()
        inputs = self.processor.encode([talk])
        ids, own = inputs["input_ids"], self.processor.placeholders["image"]
        out = self.model.generate(
            input_ids=ids.masked_fill(ids == own, self.image), attention_mask=inputs["attention_mask"],
            pixel_values=inputs["media"]["image"], streamer=clock, **how(tokens),
        )  # fmt: skip
        return out[0, ids.shape[1] :].tolist(), clock


def how(tokens: int) -> dict[str, Any]:
    """Options of `generate` for an answer of exactly so many tokens."""
    return {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}


def picture(seed: int) -> Prepared:
    """A decoded picture in which every pixel counts: decoding a file takes both sides the same."""
    pixels = random.Random(seed).randbytes(SIDE * SIDE * 3)
    return Prepared("image", [PIL.Image.frombytes("RGB", (SIDE, SIDE), pixels)])


def one_round(side: Any, seed: int, tokens: int) -> tuple[list[list[int]], list[Took], Took]:
    """The answers of one turn, their latencies, and how long a later token took.

    A question about a new picture, another one in the same conversation, and that one in a new conversation.
    """
    side.forget()
    shown, (first, second) = picture(seed), random.Random(seed).sample(QUESTIONS, 2)
    said, clock = side.answer(talk := [Message("user", first, (shown,))], tokens)
    talk += [Message("assistant", side.processor.decode(said)), Message("user", second)]
    later, after = side.answer(talk, tokens)
    again, anew = side.answer([Message("user", second, (shown,))], tokens)
    return [said, later, again], [clock.latency, after.latency, anew.latency], clock.each


def bandwidth(size: int) -> Took:
    """GB a wall second and a CPU second at which so many bytes are read and summed; the best of three."""
    buffer, found = torch.ones(size // 4), []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        buffer.sum()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    return tuple(size / min(column) / 1e9 for column in zip(*found, strict=True))  # type: ignore[return-value]


def model_and_processor() -> tuple[Any, Any]:
    """The default model, its adapters merged."""
    model, processor = isthmus.load_with_processor("default")
    merge_lora(model)
    return model.eval(), processor


def read_for_a_token(model: Any) -> int:
    """Bytes of the LLM's weights that a token is made with: all but an embedding table that is not the head too."""
    own = {id(weight): weight.nbytes for weight in model.llm.parameters()}
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return sum(own.values()) - (0 if table is head else table.nbytes)


def memory(side: str, quick: bool) -> float:
    """Peak resident memory [MB] of one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--threads", str(torch.get_num_threads())]
    done = subprocess.run([*command, *(["--quick"] if quick else [])], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def row(name: str, ours: float, peer: float, unit: str, peer_name: str = PEER) -> dict[str, Any]:
    """One result; of seconds and memory the ratio is turned round."""
    ours, peer = float(f"{ours:.4g}"), float(f"{peer:.4g}")
    ratio = round(peer / ours if unit in ("seconds", "MB") else ours / peer, 3)
    print(f"{name:<64} ours {ours:<9g} peer {peer:<9g} ratio {ratio:<6g} {unit}", flush=True)
    return {"name": name, "ours": ours, "peer": peer, "peer_name": peer_name, "ratio": ratio, "unit": unit}


def measure(quick: bool) -> list[dict[str, Any]]:
    """Every row of the result."""
    model, processor = model_and_processor()
    sides, size = {"ours": Ours(model, processor), "peer": Theirs(model, processor)}, read_for_a_token(model)
    first: dict[str, list[list[Took]]] = {name: [] for name in sides}
    each: dict[str, list[Took]] = {name: [] for name in sides}
    speeds: list[Took] = []
    for number in range(3 if quick else ROUNDS):
        said = {}
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            said[name], latencies, token = one_round(sides[name], number, 5 if quick else TOKENS)
            speeds.append(bandwidth(size))
            if number:
                first[name].append(latencies)
                each[name].append(token)
        assert said["ours"] == said["peer"], "the two sides are not the same model"
    results = []
    for which, what in enumerate(LATENCIES):
        for k, kind in enumerate(("wall", "CPU")):
            mine, theirs = (median(turn[which][k] for turn in first[name]) for name in sides)
            results.append(row(f"first token, {what}, {kind}", mine, theirs, "seconds"))
    for k, kind in enumerate(("second", "CPU second")):
        mine, theirs = (1 / median(token[k] for token in each[name]) for name in sides)
        results.append(row(f"decoding, tokens per {kind}", mine, theirs, f"tokens/{kind}"))
        speed = median(one[k] for one in speeds)
        limit = speed * 1e9 / size
        told = f"limit: {size / 1e6:.0f} MB of weights a token, read at {speed:.1f} GB a {kind} in the same run"
        results.append(row(f"decoding beside the limit of memory, per {kind}", mine, limit, f"tokens/{kind}", told))
        results.append(row(f"share of that limit, per {kind}", mine / limit, theirs / limit, "share"))
    return results


def main() -> None:
    """Measure, print, and write the results; a quick run, which shows only that it works, writes none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few turns and tokens; writes nothing")
    parser.add_argument("--threads", type=int, help="of torch, on both sides (default: torch's own choice)")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    if options.side:
        side = {"ours": Ours, "peer": Theirs}[options.side](*model_and_processor())
        one_round(side, 0, 5 if options.quick else TOKENS)
        return print((peak_memory() or 0) / 2**20)
    fresh = measure(options.quick)
    fresh.append(row("peak memory", *(memory(side, options.quick) for side in ("ours", "peer")), "MB"))
    if not options.quick:
        write([result | {"machine": machine()} for result in fresh])


def write(fresh: list[dict[str, Any]]) -> None:
    """Add the results to those of other machines; of this one, they replace the ones before them."""
    old = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else []
    kept = [result for result in old if result["machine"] != fresh[0]["machine"]]
    RESULT.write_text(json.dumps(kept + fresh, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
