"""What the Penn Treebank's tokeniser takes for one thing, as patterns."""

from __future__ import annotations

import re

LETTER = r"[^\W\d_²³¹⁰-₉¼-¾⅐-⅞①-⓿]"
MARK = r"[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]"
L = rf"(?:{LETTER}{MARK}*)"
A = rf"(?:(?:{LETTER}|\d){MARK}*)"
WORD = rf"{L}+"
PART = rf"{A}+(?:_{A}+)*"
HYPHEN = "[-\u2010\u2011]"
SIDE = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
HYPHENED = (
    rf"(?:(?:[a-zA-Z]\.)+|{PART}(?:[.,]{A}+)*)(?:{HYPHEN}(?:(?:[a-zA-Z]\.){{2,}}|(?:[dlo]'(?={L}{{2}}))?{PART}))+"
)
AND = "[A-Z]+(?:&[A-Z]+)+"
DOTTED = rf"{L}{A}*(?:[.!?]{L}{A}*)+"
JOINED = "\x01"  # stands for a blank inside a thing
TAG = rf"<[/!?]?[A-Za-z][\w:.-]*(?:{JOINED}[^<>,\[\]]*)?/?>"
APOSTROPHE = "['\u2019]"
END = rf"(?!{A})"
THINGS = tuple(
    re.compile(pattern)
    for pattern in (
        PART,  # word, 4x4, a_b
        DOTTED,  # dog.com
        rf"(?:[a-zA-Z]\.)+(?:[a-zA-Z](?!{A}))?",  # u.s., a.m
        HYPHENED,  # well-known
        rf"(?:{PART}|{DOTTED}|{HYPHENED}|{AND})\.(?=[,;:])",  # a dot before a comma is its word's
        rf"{SIDE}(?:/{SIDE}){{1,2}}|\d+-\d+/\d+",  # and/or, 1/2
        r"[-+]?(?:\d*(?:[.,:]\d+)+|\d+)",  # 5,000.5
        rf"{APOSTROPHE}\d\d(?:s(?!\w)|$)",  # '80s
        r"(?:https?://|www\.)[^\s<>\"]+[^\s<>\"'.,;:!?()]",
        r"<?[\w.+-]+@\w[\w-]*(?:\.\w[\w-]*)*>?",
        r"@[A-Za-z_]\w*",
        r"#[A-Za-z]+",
        r"[cC]\+\+|[cCfF]#|[A-Z]{1,3}\$",
        AND,
        rf"[dolnA-HJ-XZ]{APOSTROPHE}{L}{WORD}",  # o'clock, d'angelo
        rf"(?i:[yj]{APOSTROPHE}(?=(?!d){L}))|[dlDL]'",
        rf"(?i:c{APOSTROPHE}est|qu{APOSTROPHE}{WORD}|(?:e|ne|o){APOSTROPHE}er|ma{APOSTROPHE}am){END}",
        rf"(?i:(?:li|nat){APOSTROPHE}l|hawai{APOSTROPHE}i|cap{APOSTROPHE}n|s{APOSTROPHE}mores|c{APOSTROPHE}mon){END}",
        rf"(?i:{APOSTROPHE}(?:em|till?|cause|n)|'tis|'twas|ol{APOSTROPHE}){END}",
        rf"(?i:{APOSTROPHE}n{APOSTROPHE})",
        rf"(?i:{APOSTROPHE}(?:s|m|d|re|ve|ll)|n['\u2019`]t){END}",
        r"(?:[<>]?[:;=](?:'?-?[()DPp\\\[\]O|])(?![A-Za-z0-9]))|\^_\^|-_-|[oO]_[oO]|T_T",
        TAG,
        rf"\d+{JOINED}\d+/\d+|\(\d{{2,3}}\)[-{JOINED}]?\d{{3,4}}-\d{{4}}",
        r"&(?:amp|lt|gt|quot|apos|nbsp|mdash);|&#\d+;",
        r"<<|>>|\.\.\.+|[?!]+|--+|\*+|_+|#+|@+|\S",
    )
)
CONTRACTED = re.compile(rf"(?i:({WORD}?)(n['\u2019`]t)){END}")
