"""How long do the figures of 1,000 captions take, beside pycocoevalcap?

    pip install pycocoevalcap==1.2        (it needs Java)
    python benchmarks/captions.py [--turns 5]      writes benchmarks/results/captions.json

Captions are made up, each with five references: their words are common in captions, and a third of each text is another
picture's. Both sides are given the same raw texts, take turns, and a turn starts from nothing: no word is remembered of
the turn before, and the peer's Java programs start anew, as they do for everyone who scores one file. METEOR's time is
mostly that of reading its table of paraphrases. Before anything is timed, all figures must agree.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import RESULTS, merge, result

from isthmus.evaluate.metrics import _meteor_data, _porter2, bleu, cider, meteor, ptb, rouge

try:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
except ImportError:  # it needs Java, which not every machine that measures the rest has
    print("captions are left out: pip install pycocoevalcap==1.2, and Java")
    raise SystemExit from None

RESULT = RESULTS / "captions.json"
COUNT, SEVERAL = 1000, 5
WHO = "man|woman|young boy|little girl|brown dog|black-and-white cat|giraffe|teddy bear|double-decker bus|U.S. soldier"
DOES = "sits on|stands next to|is riding|holds|is looking at|isn't near|walks along|jumps over|plays with|waits for"
WHAT = (
    "skateboard|tennis ball|half-eaten pizza|city street|bench|fire hydrant|man's hand|stop sign|cell phone|5-cent coin"
)
WHERE = (
    "in a park|on the beach|at night|, while others watch|near the ocean|in the kitchen|at 5 p.m.|under a blue sky||"
)
Texts = list[str]


def main() -> None:
    """Check that both sides agree, let them take turns, write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    said, truths = captions()
    tokens, references = ptb.tokenise(said), [ptb.tokenise(several) for several in truths]
    theirs = {i: [text] for i, text in enumerate(tokens)}, dict(enumerate(references))
    raw = {(i, n): [{"caption": text}] for i, all_ in enumerate(zip(said, *zip(*truths, strict=True), strict=True))
           for n, text in enumerate(all_)}  # fmt: skip
    cases: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "words of 6,000 captions": (
            lambda: [ptb.tokenise(several) for several in ([text] for some in (said, *truths) for text in some)],
            lambda: PTBTokenizer().tokenize(raw),
        ),
        "BLEU, ROUGE-L and CIDEr-D of 1,000 captions": (
            lambda: _ours(tokens, references),
            lambda: _peer(*theirs),
        ),
        "METEOR of 1,000 captions": (
            lambda: meteor.meteor(tokens, references),
            lambda: Meteor().compute_score(theirs[1], theirs[0])[1],
        ),
    }
    _agree(cases, said, truths)
    rows = []
    for name, sides in cases.items():
        seconds: tuple[list[float], list[float]] = [], []
        for turn in range(turns):
            for side in (0, 1) if turn % 2 else (1, 0):
                seconds[side].append(_seconds(sides[side]))
        how = {"turns": turns, "seconds, ours": seconds[0], "seconds, pycocoevalcap": seconds[1]}
        how = {key: [round(x, 4) for x in some] if isinstance(some, list) else some for key, some in how.items()}
        rows.append(result(name, *map(statistics.median, seconds), "pycocoevalcap", "seconds", how))
    merge(Path(RESULT), rows)


def captions() -> tuple[Texts, list[Texts]]:
    """1,000 captions, and five references of each."""
    draw = random.Random("captions")
    parts = [some.split("|") for some in (WHO, DOES, WHAT, WHERE)]
    said, truths = [], []
    for _ in range(COUNT):
        picture = [draw.choice(some) for some in parts]
        texts = []
        for _ in range(SEVERAL + 1):
            who, does, what, where = (
                draw.choice(some) if draw.random() < 1 / 3 else own for own, some in zip(picture, parts, strict=True)
            )
            texts.append(
                f"A {who} {does} {draw.choice(['a', 'the', 'another'])} {what} {where}".replace(" ,", ",") + "."
            )
        said.append(texts[0])
        truths.append(texts[1:])
    return said, truths


def _ours(tokens: Texts, references: list[Texts]) -> tuple[Any, ...]:
    sums = bleu.statistics(tokens, references)
    whole = [float(bleu.bleu(sums.sum(0), n)) for n in (1, 2, 3, 4)]
    return whole, rouge.rouge_l(tokens, references), cider.cider_d(tokens, references)


def _peer(candidates: dict[int, Texts], references: dict[int, Texts]) -> tuple[Any, ...]:
    whole, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    return whole, Rouge().compute_score(references, candidates)[1], Cider().compute_score(references, candidates)[1]


def _agree(cases: dict[str, tuple[Callable[[], Any], Callable[[], Any]]], said: Texts, truths: list[Texts]) -> None:
    words, figures, meteors = cases.values()
    theirs = words[1]()
    for i, (text, several) in enumerate(zip(said, truths, strict=True)):
        assert [theirs[i, n][0] for n in range(SEVERAL + 1)] == ptb.tokenise([text, *several])
    for ours, peer in zip((*figures[0](), meteors[0]()), (*figures[1](), meteors[1]()), strict=True):
        assert max(abs(a - b) for a, b in zip(ours, peer, strict=True)) < 1e-12


def _seconds(run: Callable[[], Any]) -> float:
    """How long it takes with nothing remembered."""
    ptb._parted.cache_clear()
    _porter2.stem.cache_clear()
    _meteor_data.tables.cache_clear()
    with contextlib.redirect_stderr(io.StringIO()):
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
