"""Words as NLTK's `word_tokenize` parts them: Punkt's sentences (Kiss and Strunk, 2006), then the Treebank's rules.

The sentences matter: the Treebank's rules part a full stop from its word only at the end of what they are given. NLTK
fetches Punkt's English model from its own server; here it is the part `punkt-english`, the same tables.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

from isthmus import parts
from isthmus.errors import PartUnavailable


def tokens(text: str) -> list[str]:
    """The words and marks of a text, in order, in their own case.

    >>> tokens("Mr. Lee isn't here. He left.")
    ['Mr.', 'Lee', 'is', "n't", 'here', '.', 'He', 'left', '.']
    """
    from nltk.tokenize import NLTKWordTokenizer

    words = NLTKWordTokenizer()
    return [word for sentence in _sentences().tokenize(text) for word in words.tokenize(sentence)]


@functools.cache
def _sentences() -> Any:
    """NLTK's Punkt with the English tables."""
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    tables = _tables(parts.get("punkt-english") / "punkt/data/english.py")
    told = PunktParameters()
    told.abbrev_types = set(tables["ABBREV_TYPES"])
    told.sent_starters = set(tables["SENT_STARTERS"])
    told.collocations = set(tables["COLLOCATIONS"])
    told.ortho_context.update(tables["ORTHO_CONTEXT"])
    found = PunktSentenceTokenizer()
    found._params = told
    return found


def _tables(path: Path) -> dict[str, Any]:
    """The literals that a file assigns to names; it is read and not run."""
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value.args[0] if isinstance(node.value, ast.Call) and node.value.args else node.value
            found[node.targets[0].id] = ast.literal_eval(value)
    if missing := {"ABBREV_TYPES", "SENT_STARTERS", "COLLOCATIONS", "ORTHO_CONTEXT"} - found.keys():
        raise PartUnavailable(f"{path} holds no {', '.join(sorted(missing))}; remove its folder to fetch it again")
    return found
