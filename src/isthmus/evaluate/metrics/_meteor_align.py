"""METEOR's aligner: which words of a caption go with which of a reference, in as few chunks as a beam finds.

Denkowski and Lavie, WMT 2014, section 2: all matches of equal words, stems, synonyms and paraphrases are candidates; of
the ways to use each word at most once the one is sought with the most words covered, then the fewest chunks, then the
least distance. METEOR 1.5 seeks with a beam of 40 from left to right and counts a match that is not exact as half,
rounded down at each step. What it finds depends on these details, so they are kept, oddities and all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

BEAM = 40
EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
SHARE = (1.0, 0.5, 0.5, 0.5)  # what a matched word counts in the search, by module


class Lexicon(Protocol):
    """What is known of words."""

    def stem(self, word: str) -> str: ...
    def synsets(self, word: str) -> frozenset[int]: ...
    def paraphrases(self, words: Sequence[str], start: int) -> list[tuple[int, tuple[str, ...]]]: ...


class Match(NamedTuple):
    """`length` words of the reference from `start`, and `length_said` of the caption from `said`."""

    module: int
    start: int
    length: int
    said: int
    length_said: int

    @property
    def used(self) -> int:
        """The reference's words, as bits."""
        return ((1 << self.length) - 1) << self.start

    @property
    def used_said(self) -> int:
        return ((1 << self.length_said) - 1) << self.said


@dataclass(slots=True)
class Path:
    """A way through the reference as far as the search has come."""

    chosen: tuple[Match, ...]
    used: int
    used_said: int
    covered: int = 0
    covered_said: int = 0
    chunks: int = 0
    next: int = 0  # the first word of the reference that nothing chosen covers
    end: int = -1  # where the open chunk ends in the caption, or -1
    distance: int = 0

    def rank(self) -> tuple[int, int, int]:
        return -self.covered - self.covered_said, self.chunks, self.distance

    def take(self, match: Match) -> None:
        self.covered_said = int(self.covered_said + match.length_said * SHARE[match.module])
        self.covered = int(self.covered + match.length * SHARE[match.module])
        self.chunks += self.end not in (-1, match.said)
        self.next = match.start + match.length
        self.end = match.said + match.length_said

    def skip(self) -> None:
        self.chunks += self.end != -1
        self.end = -1
        self.next += 1


def align(said: Sequence[str], reference: Sequence[str], lexicon: Lexicon) -> tuple[list[Match], int]:
    """The matches, in the order of the reference, and how many chunks they make."""
    at = candidates(said, reference, lexicon)
    covered, covered_said = [0] * len(reference), [0] * len(said)
    for match in (match for several in at for match in several):
        for i in range(match.start, match.start + match.length):
            covered[i] += 1
        for i in range(match.said, match.said + match.length_said):
            covered_said[i] += 1
    fixed: dict[int, Match] = {}
    for several in at:
        for match in several[:1]:
            alone = all(n == 1 for n in covered[match.start : match.start + match.length])
            alone &= all(n == 1 for n in covered_said[match.said : match.said + match.length_said])
            if alone and len(several) == 1:
                fixed[match.start] = match
    chosen = _search(at, fixed)
    return chosen, _chunks(chosen)


def candidates(said: Sequence[str], reference: Sequence[str], lexicon: Lexicon) -> list[list[Match]]:
    """All matches by the word of the reference at which they begin; equal sentences are matched word by word only."""
    at: list[list[Match]] = [[] for _ in reference]
    pairs = [(j, i) for j in range(len(reference)) for i in range(len(said))]
    for j, i in pairs:
        if reference[j] == said[i]:
            at[j].append(Match(EXACT, j, 1, i, 1))
    if list(said) == list(reference):
        return at
    others = [(j, i) for j, i in pairs if reference[j] != said[i]]
    stems, stems_said = ([lexicon.stem(word) for word in words] for words in (reference, said))
    for j, i in others:
        if stems[j] == stems_said[i]:
            at[j].append(Match(STEM, j, 1, i, 1))
    senses, senses_said = ([lexicon.synsets(word) for word in words] for words in (reference, said))
    for j, i in others:
        if not senses[j].isdisjoint(senses_said[i]):
            at[j].append(Match(SYNONYM, j, 1, i, 1))
    for j in range(len(reference)):
        for length, phrase in lexicon.paraphrases(reference, j):
            for i in _places(phrase, said):
                at[j].append(Match(PARAPHRASE, j, length, i, len(phrase)))
    for i in range(len(said)):
        for length, phrase in lexicon.paraphrases(said, i):
            for j in _places(phrase, reference):
                at[j].append(Match(PARAPHRASE, j, len(phrase), i, length))
    return at


def _places(phrase: tuple[str, ...], words: Sequence[str]) -> list[int]:
    return [i for i, word in enumerate(words) if word == phrase[0] and tuple(words[i : i + len(phrase)]) == phrase]


def _search(at: list[list[Match]], fixed: dict[int, Match]) -> list[Match]:
    """The best path's matches. Those of `fixed` are on every path."""
    start = Path((), 0, 0)
    for match in fixed.values():
        start.used |= match.used
        start.used_said |= match.used_said
    paths = [start]
    for current, matches in enumerate(at):
        following: list[Path] = []
        for path in sorted(paths, key=Path.rank)[:BEAM]:
            if path.used >> current & 1:
                if current >= path.next:
                    match = fixed[current]
                    path.take(match)
                    path.chosen += (match,)
                    path.distance += abs(match.start - match.said)
                following.append(path)
                continue
            for match in matches:
                if path.used & match.used or path.used_said & match.used_said:
                    continue
                new = Path(
                    (*path.chosen, match),
                    path.used | match.used,
                    path.used_said | match.used_said,
                    path.covered,
                    path.covered_said,
                    path.chunks,
                    path.next,
                    path.end,
                    path.distance,
                )
                new.take(match)
                path.distance += abs(match.start - match.said)  # of the path that goes without it: so METEOR 1.5 does
                following.append(new)
            path.skip()
            following.append(path)
        paths = following
    for path in (paths := sorted(paths, key=Path.rank)[:BEAM]):
        path.chunks += path.end != -1
    return list(min(paths, key=Path.rank).chosen)


def _chunks(chosen: Sequence[Match]) -> int:
    """Runs of matches that follow on each other in both."""
    ends = [(match.start + match.length, match.said + match.length_said) for match in chosen]
    return sum((match.start, match.said) != end for match, end in zip(chosen, [None, *ends], strict=False))
