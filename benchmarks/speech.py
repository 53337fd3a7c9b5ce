"""How many words does a model get wrong of speech that it never heard, beside Whisper tiny.en, whose encoder it has?

    python benchmarks/speech.py [--model default]      writes benchmarks/results/speech.json

Both transcribe the held-out clips of `asterisk-speech` (8 kHz, one speaker). The word error rate is over all words,
after Whisper's own normalisation of English texts; its 95 % interval draws clips anew (`scoring.word_error_rate`).
"""

from __future__ import annotations

import argparse
import json

from _common import RESULTS, machine
from rich.progress import track

import isthmus
from isthmus.data.sources import load_split
from isthmus.evaluate.scoring import word_error_rate, word_errors
from isthmus.experts import speech_to_text


def main() -> None:
    """Transcribe, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    model, processor = isthmus.load_with_processor(options.model)
    whisper = speech_to_text.load()
    counts: dict[str, list[tuple[int, int]]] = {"the model": [], "Whisper tiny.en": []}
    lines = []
    for sample in track(load_split("asterisk-speech", "clips", None, {}), "clips"):
        truth = sample.turns[0].answer
        said = {
            "the model": isthmus.ask(model, processor, "What is said?", sample.media[0]),
            "Whisper tiny.en": " ".join(told.text for told in whisper(sample.media[0])),
        }
        for name, text in said.items():
            counts[name].append(word_errors(text, truth))
        lines.append({"truth": truth} | said)
    rows = []
    for name, own in counts.items():
        value, low, high = word_error_rate(own)
        words = sum(words for _, words in own)
        shown = f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        print(f"{name}: word error rate {shown}, {len(own)} clips, {words} words")
        facts = {"word error rate": value, "low": low, "high": high, "clips": len(own), "words": words}
        rows.append({"name": name} | facts)
    found = {"machine": machine(), "rows": rows, "said": lines}
    (RESULTS / "speech.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
