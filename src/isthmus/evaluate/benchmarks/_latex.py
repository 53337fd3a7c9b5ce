r"""Answers in LaTeX: what a box holds, and whether two of them are written alike, by the rule of MATH's authors.

Hendrycks et al., 2021, arXiv:2103.03874: spelling is normalised (`\dfrac12` is `\frac{1}{2}`, units and degrees go),
and what is left must be the same text; nothing is computed.
"""

from __future__ import annotations

import re

BOX = "\\boxed{"
GONE = ("\n", "\\!")
SPELLED = (
    ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""), ("\\right", ""), ("^{\\circ}", ""),
    ("^\\circ", ""), ("\\$", ""),
)  # fmt: skip
UNIT = "\\text{ "


def boxed(text: str) -> str | None:
    r"""The last `\boxed` or `\fbox` of a text up to the brace that closes it; None without one, or without that brace.

    >>> boxed(r"$\boxed{1}$, no: $\boxed{\frac{1}{2}}$"), boxed(r"\boxed{1"), boxed("1")
    ('\\boxed{\\frac{1}{2}}', None, None)
    """
    start = text.rfind("\\boxed" if "\\boxed" in text else "\\fbox")
    if start < 0:
        return None
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if text[place] == "}" and depth == 0:
            return text[start : place + 1]
    return None


def inside(box: str | None) -> str | None:
    r"""What a box holds; None of anything but `\boxed{...}`.

    >>> inside(r"\boxed{\frac{1}{2}}"), inside(r"\fbox{1}")
    ('\\frac{1}{2}', None)
    """
    return box[len(BOX) : -1] if box is not None and box.startswith(BOX) and box.endswith("}") else None


def equal(one: str | None, other: str | None) -> bool:
    r"""Whether two answers are the same once their spelling is; what cannot be normalised is compared as it is.

    >>> equal(r"\dfrac12", "1/2"), equal("0.5", r"\frac{1}{2}"), equal(r"10\text{ cm}", "10"), equal("2/4", "1/2")
    (True, True, True, False)
    """
    if one is None or other is None:
        return one is other
    try:
        return stripped(one) == stripped(other)
    except ValueError:
        return one == other


def stripped(text: str) -> str:
    r"""An answer in the authors' spelling. Raises `ValueError` for a fraction or a root of nothing, or two units.

    >>> stripped(r"x = \sqrt3 \%"), stripped(".5"), stripped(r"90^\circ")
    ('\\sqrt{3}', '\\frac{1}{2}', '90')
    """
    for old in GONE:
        text = text.replace(old, "")
    for old, new in SPELLED:
        text = text.replace(old, new)
    if text.count(UNIT) > 1:
        raise ValueError("two units")
    text = text.split(UNIT)[0].replace("\\%", "").replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = "0" + text if text.startswith(".") else text
    name, *value = text.split("=")
    if len(value) == 1 and len(name) <= 2:
        text = value[0]
    text = _fractions(_roots(text).replace(" ", ""))
    return _quotient("\\frac{1}{2}" if text == "0.5" else text)


def _roots(text: str) -> str:
    r"""`\sqrt3` as `\sqrt{3}`."""
    first, *rest = text.split("\\sqrt")
    if not all(rest):
        raise ValueError("a root of nothing")
    return "\\sqrt".join([first, *(part if part[0] == "{" else f"{{{part[0]}}}{part[1:]}" for part in rest)])


def _fractions(text: str) -> str:
    r"""`\frac12` and `\frac1{72}` with braces around both numbers; a text that ends amid one as it is."""
    first, *rest = text.split("\\frac")
    found = [first]
    for part in rest:
        if not part:
            raise ValueError("a fraction of nothing")
        if part[0] == "{":
            found.append(part)
        elif len(part) < 2:
            return text
        else:
            found.append(f"{{{part[0]}}}" + (part[1:] if part[1] == "{" else f"{{{part[1]}}}{part[2:]}"))
    return "\\frac".join(found)


def _quotient(text: str) -> str:
    r"""`1/2`, of two whole numbers in their usual form, as `\frac{1}{2}`."""
    parts = text.split("/")
    if len(parts) != 2 or not all(re.fullmatch(r"0|-?[1-9][0-9]*", part) for part in parts):
        return text
    return f"\\frac{{{parts[0]}}}{{{parts[1]}}}"
