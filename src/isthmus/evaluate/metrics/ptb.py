"""Words of captions as COCO's server parts them: the Penn Treebank's way, in lower case and without punctuation.

Chen et al., 2015, arXiv:1504.00325: Stanford's PTBTokenizer, then a list of marks is left out. This does the same for
captions without Java: of what stands between blanks, the longest thing that is known begins the rest. What was learnt by
watching the original is its behaviour; none of its code is here. It differs for some addresses, file names,
smileys and symbols.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

DROPPED = frozenset("'' ' `` ` . ? ! , : - -- ... ;".split())
KEEP_DOT = frozenset(
    """
    adm al ala alex apr ariz assn atty aug ave bancorp bhd bldg blvd brig bros calif capt cf cmdr co col colo comdr conn
    corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov govs hon inc ind insp
    intl invt jan jr jul jun kan ky lieut lt ltd maj mar md messrs mich minn mlle mme mo mon mont mr mrs ms msgr mt natl
    neb nev nov oct okla penn pfc ph ph.d ed.d plc pres prof profs pte pty pvt rd rep reps rev rt sen sens sep sept seq sgt
    spc sq sr st ste supt tel tenn thu thurs treas tue tues univ va vs vt wed wis wyo
    """.split()
)  # words behind which a dot is their own
KEEP_CAPITAL = frozenset("ark az del ill la mass miss ore pa tex wash".split())  # those only if written with a capital
KEEP_NUMBER = frozenset("art ca fig figs no nos op pp prop".split())  # those only before a number
STARTS = frozenset(
    """
    a about according additionally after an as at but earlier he her here however if in it last many more now once one
    other our she since so some such that the their then there these they this we what when while yet you
    """.split()
)  # words that begin a sentence: the dot between a single letter and one of them with a capital is a full stop
PARTED = {
    "cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"), "wanna": ("wan", "na"),
    "lemme": ("lem", "me"), "gimme": ("gim", "me"), "'tis": ("'t", "is"), "'twas": ("'t", "was"),
}  # fmt: skip
LETTER = r"[^\W\d_²³¹⁰-₉¼-¾⅐-⅞①-⓿]"
MARK = r"[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]"
L = rf"(?:{LETTER}{MARK}*)"
A = rf"(?:(?:{LETTER}|\d){MARK}*)"
WORD = rf"{L}+"
PART = rf"{A}+(?:_{A}+)*"
HYPHEN = "[-‐‑]"
SIDE = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
HYPHENED = rf"(?:(?:[a-zA-Z]\.)+|{PART}(?:[.,]{A}+)*)(?:{HYPHEN}(?:(?:[a-zA-Z]\.){{2,}}|(?:[dlo]'(?={L}))?{PART}))+"
DOTTED = rf"{L}{A}*(?:[.!?]{L}{A}*)+"
JOINED = "\x01"  # stands for a blank inside a thing
APOSTROPHE = "['’]"
END = rf"(?!{A})"
THINGS = tuple(
    re.compile(pattern)
    for pattern in (
        PART,  # word, 4x4, a_b
        DOTTED,  # dog.com
        rf"(?:[a-zA-Z]\.)+(?:[a-zA-Z](?!{A}))?",  # u.s., a.m
        HYPHENED,  # well-known
        rf"(?:{PART}|{DOTTED}|{HYPHENED}|[A-Z]+(?:&[A-Z]+)+)\.(?=[,;:])",  # a word that a dot and a comma follow keeps the dot
        rf"{SIDE}(?:/{SIDE}){{1,2}}",  # and/or, 1/2
        r"[-+]?(?:\d*(?:[.,:]\d+)+|\d+)",  # 5,000.5
        rf"{APOSTROPHE}\d\d(?:s(?!\w)|$)",  # '80s
        r"(?:https?://|www\.)[^\s<>\"]+[^\s<>\"'.,;:!?()]",
        r"[\w.+-]+@\w[\w-]*(?:\.\w+)*",
        r"@[A-Za-z_]\w*",
        r"#[A-Za-z]+",
        r"[cC]\+\+|[cCfF]#|[A-Z]+(?:&[A-Z]+)+|[A-Z]{1,3}\$",
        rf"[dolnDOLNA-HJ-XZ]{APOSTROPHE}{WORD}",  # o'clock, d'angelo
        rf"(?i:[yj]{APOSTROPHE}(?=(?!d){L}))|[dlDL]'",
        rf"(?i:c{APOSTROPHE}est|qu{APOSTROPHE}{WORD}|(?:e|ne|o){APOSTROPHE}er|ma{APOSTROPHE}am|li{APOSTROPHE}l|hawai{APOSTROPHE}i){END}",
        rf"(?i:cap{APOSTROPHE}n|nat{APOSTROPHE}l|s{APOSTROPHE}mores|c{APOSTROPHE}mon){END}",
        rf"(?i:{APOSTROPHE}(?:em|till?|cause|n)|'tis|'twas){END}|(?i:{APOSTROPHE}n{APOSTROPHE})|(?i:ol{APOSTROPHE}){END}",
        rf"(?i:{APOSTROPHE}(?:s|m|d|re|ve|ll)|n['’`]t){END}",
        r"(?:[<>]?[:;=](?:'?-?[()DPp\\\[\]O|])(?![A-Za-z0-9]))|\^_\^|-_-|[oO]_[oO]|T_T",
        r"<[/!?]?[A-Za-z][^<>\s]*>",
        rf"\d+{JOINED}\d+/\d+|\(\d{{2,3}}\)[-{JOINED}]?\d{{3,4}}-\d{{4}}",
        r"&(?:amp|lt|gt|quot|apos|nbsp|mdash);|&#\d+;",
        r"<<|>>|\.\.\.+|[?!]+|--+|\*+|_+|#+|@+|\S",
    )
)
CONTRACTED = re.compile(rf"(?i:({WORD}?)(n['’`]t)){END}")
SIGNS = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "£": "#", "€": "$", "¤": "$", "¢": "cents", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "&amp;": "&", "&lt;": "<", "&gt;": ">", "–": "--", "—": "--", "―": "--", "…": "...",
    "&quot;": '"', "&apos;": "'", "&mdash;": "--",
}  # fmt: skip
RUN = re.compile(r"--{1,3}|\.\.\.+")
HOLDS_BLANKS = re.compile(r"(?<!\S)\d+ \d+/\d+(?![\d/])|<[/!?]?[A-Za-z][^<>]*>|\(\d{2,3}\) \d{3,4}-\d{4}")
INITIAL = re.compile(r"(?<![.\w])[A-Za-z]\.$")
FIRST = re.compile("[A-Z][A-Za-z]*(?![A-Za-z'’-])")
SILENT = re.compile("[\u00ad\u2060]")
BETWEEN = re.compile("[^\\S ]|[\u200b-\u200f\ufe00-\ufe0f\ufeff\x00-\x1f₹₩]|&nbsp;|[\U00010000-\U0010ffff]")
QUOTES = frozenset("\"“”‘’«»'`") | {"''", "``"}


def tokenise(texts: Iterable[str]) -> list[str]:
    """The words of each text, with a blank between them.

    >>> tokenise(["A man's half-eaten pizza, at 5 p.m.!", "She can't say (yes)"])
    ["a man 's half-eaten pizza at 5 p.m.", "she ca n't say -lrb- yes -rrb-"]
    """
    return [" ".join(_words(text)) for text in texts]


def _words(text: str) -> Iterable[str]:
    text = BETWEEN.sub(" ", SILENT.sub("", text))
    chunks = HOLDS_BLANKS.sub(lambda found: found[0].replace(" ", JOINED), text).split()
    for chunk, after in zip(chunks, [*chunks[1:], ""], strict=True):
        first = FIRST.match(after)
        yield from _parted(chunk, after[:1].isdigit(), first is not None and first[0].lower() in STARTS)


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
    return token.replace("’", "'") if re.fullmatch("’(s|m|d|re|ve|ll)|n’t", token) else token


def _end(chunk: str, place: int, before_number: bool) -> int:
    """Where the longest thing that begins at `place` ends."""
    end = max(found.end() for thing in THINGS if (found := thing.match(chunk, place)))
    if (short := CONTRACTED.match(chunk, place)) and short.end() >= end:
        return short.end(1) if short[1] else short.end()
    word = chunk[place:end]
    if chunk[end : end + 1] == "." and (
        word.lower() in KEEP_DOT
        or (word.lower() in KEEP_CAPITAL and word[0].isupper())
        or (word.lower() in KEEP_NUMBER and (chunk[end + 1 : end + 2].isdigit() or (before_number and end + 1 == len(chunk))))
    ):
        return end + 1
    return end
