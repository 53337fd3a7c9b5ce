"""Words of captions as COCO's server parts them: the Penn Treebank's way, in lower case and without punctuation.

Chen et al., 2015, arXiv:1504.00325: Stanford's PTBTokenizer, then a list of marks is left out. This does the same for
captions without Java: of what stands between blanks, the longest thing that is known begins the rest. It was made by
watching what the original does, and holds none of its code. Some addresses, file names, smileys and symbols come out
otherwise.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from isthmus.evaluate.metrics._ptb_things import CONTRACTED, JOINED, THINGS

DROPPED = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
WITH_DOT = """
    adj adm adv al ala alex apr ariz assn atty aug ave bancorp bhd bldg blvd brig bros calif capt cf cie cmdr co col
    colo comdr conn corp cos cpl ct dak dec dept det dr drs ed.d elec ens esq est etc ext feb fla fri ft ga gen gov
    govs hon inc ind insp intl invt jan jos jr jul jun kan ky lieut lt ltd maj mar md messrs mfg mich minn mlle mme
    mo mon mont mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph ph.d plc pres prof profs pte pty pvt rd
    rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs treas tue tues univ
    va vs vt wed wis wm wyo
"""
FIRST_WORDS = """
    about according additionally after an as at but earlier he her here however if in it last many more now once one
    other our she since so some such that the their then there these they this we what when while yet you
"""
DOTTED = frozenset(WITH_DOT.split())  # words behind which a dot is their own
WITH_CAPITAL = {"ark", "az", "del", "ill", "la", "mass", "miss", "ore", "pa", "tex", "wash"}  # those if they have one
BEFORE_NUMBER = {"art", "ca", "fig", "figs", "no", "nos", "op", "pp", "prop"}  # those if a number follows
STARTS = frozenset(FIRST_WORDS.split())  # with a capital, they tell that a dot behind a single letter is a full stop
PARTED = {
    "cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"), "wanna": ("wan", "na"),
    "lemme": ("lem", "me"), "gimme": ("gim", "me"), "'tis": ("'t", "is"), "'twas": ("'t", "was"),
}  # fmt: skip
SIGNS = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "£": "#", "€": "$", "¤": "$", "¢": "cents", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "&amp;": "&", "&lt;": "<", "&gt;": ">", "\u2013": "--", "—": "--", "―": "--", "…": "...",
    "&quot;": '"', "&apos;": "'", "&mdash;": "--",
}  # fmt: skip
RUN = re.compile(r"--{1,3}|\.\.\.+")
HOLDS_BLANKS = re.compile(
    r"(?<![^\s$£#])\d+ \d+/\d+(?![\d/])|<[/!?]?[A-Za-z][\w:.-]*(?: [^<>,\[\]]*)?/?>|\(\d{2,3}\) \d{3,4}-\d{4}"
)
INITIAL = re.compile(r"(?<![.\w])[A-Za-z]\.$")
FIRST = re.compile("[A-Z][A-Za-z]*(?![A-Za-z'\u2019-])")
CLITIC = re.compile("^(n?)\u2019(s|m|d|re|ve|ll|t)$")
SILENT = re.compile("\u00ad")
BETWEEN = re.compile(
    "[^\\S ]|[\x00-\x1f\u200b-\u200f\u2012\u202a-\u202e\u203c\u203d\u2043\u2045-\u206f\u20a1-\u20a3\u20a5-\u20ab"
    "\u20ad-\u20ff\u2160-\u2182\u2e30-\u3000\u3003\u3004\u3007-\u3030\ufe00-\ufe0f\ufeff\U00010000-\U0010ffff]|&nbsp;"
)  # what the original cannot read and leaves out; it parts what stands on both sides
QUOTES = frozenset("\"“”\u2018\u2019«»'`") | {"''", "``"}


def tokenise(texts: Iterable[str]) -> list[str]:
    """The words of each text, with a blank between them.

    >>> tokenise(["A man's half-eaten pizza, at 5 p.m.!", "She can't say (yes)"])
    ["a man 's half-eaten pizza at 5 p.m.", "she ca n't say -lrb- yes -rrb-"]
    """
    return [" ".join(_words(text)) for text in texts]


def _words(text: str) -> Iterable[str]:
    text = BETWEEN.sub(" ", SILENT.sub("", text))
    chunks = HOLDS_BLANKS.sub(lambda found: found[0].replace(" ", JOINED), text).split()
    for chunk, after in zip(chunks, [*chunks[1:], ""], strict=False):
        first = FIRST.match(after)
        starts = after == "A" or (first is not None and first[0].lower() in STARTS)
        yield from _parted(chunk, after[:1].isdigit(), starts)


@functools.lru_cache(1 << 16)
def _parted(chunk: str, before_number: bool, before_start: bool) -> tuple[str, ...]:
    """The words of what stands between two blanks; what follows matters for a dot at its end."""
    if chunk.isascii() and chunk.isalpha() and (plain := chunk.lower()) not in PARTED:
        return (plain,)
    if before_start and INITIAL.search(chunk):
        chunk = chunk[:-1]
    words: list[str] = []
    place = 0
    while place < len(chunk):
        end = _end(chunk, place, before_number)
        word = chunk[place:end]
        place = end
        for one in PARTED.get(word.lower(), (word,)):
            token = SIGNS.get(one, one)
            if token not in DROPPED and token not in QUOTES and not RUN.fullmatch(token):
                words.append(_shown(token))
    return tuple(words)


def _shown(token: str) -> str:
    """A token in lower case; brackets inside it are spelt out, and the apostrophe of a contraction is made plain."""
    for sign in "()":
        token = token.replace(sign, SIGNS[sign])
    token = token.lower().replace(JOINED, "\xa0")
    return CLITIC.sub(r"\1'\2", token)


def _end(chunk: str, place: int, before_number: bool) -> int:
    """Where the longest thing that begins at `place` ends."""
    end = max(found.end() for thing in THINGS if (found := thing.match(chunk, place)))
    if (short := CONTRACTED.match(chunk, place)) and short.end() >= end:
        return short.end(1) if short[1] else short.end()
    if chunk[end : end + 1] != ".":
        return end
    word, number = chunk[place:end], chunk[end + 1 : end + 2].isdigit() or (before_number and end + 1 == len(chunk))
    plain = word.lower()
    own = plain in DOTTED or (plain in WITH_CAPITAL and word[0].isupper()) or (plain in BEFORE_NUMBER and number)
    return end + own
