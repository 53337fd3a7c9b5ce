"""What can be composed, in tables: the rows of `isthmus parts` and of docs/parts.md.

python -m isthmus.listing docs/parts.md    # writes the tables of that page anew
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from isthmus import parts
from isthmus.parts import Listing, hubs
from isthmus.registry import constants, names

UNITS = {"image": "px", "video": "px", "points": "points", "series": "steps"}  # sounds: each encoder's own
WIDE = 100  # columns that the tables need


@dataclass(frozen=True)
class Encoder:
    """An encoder: its default part, if it has one, and what it makes of one medium of the default size.

    `features` says their number and how they lie, or by which formula where these are the part's.
    """

    name: str
    kind: str
    part: str
    licence: str
    parameters: int
    features: str
    sizes: str
    source: str
    here: bool
    note: str


@dataclass(frozen=True)
class Llm:
    """An LLM: `frame` is how it is spoken to (`data.frames`)."""

    name: str
    licence: str
    parameters: int
    frame: str
    source: str
    here: bool
    note: str


def encoders(found: Sequence[Listing]) -> list[Encoder]:
    """Every encoder in the folder, by what its file declares; `found` are the parts that there are."""
    listed, rows = {row.name: row for row in found}, []
    for name in names("isthmus.encoders"):
        facts = constants("isthmus.encoders", name)
        kind, (features, sizes) = facts["KIND"], _measured(facts)
        if (row := listed.get(facts["PART"])) is None:
            rows.append(Encoder(name, kind, "-", "-", 0, features, sizes, "-", False, ""))
            continue
        note = row.about if row.name in hubs.CHECKPOINTS else ""
        rows.append(
            Encoder(name, kind, row.name, row.licence, row.parameters, features, sizes, row.source, row.cached, note)
        )
    return rows


def llms(found: Sequence[Listing]) -> list[Llm]:
    """Every LLM of the catalogue, `found`."""
    return [
        Llm(row.name, row.licence, row.parameters, parts.frame(row.name) or "its chat template", row.source, row.cached,
            row.about if row.name in hubs.CHECKPOINTS else "the default")
        for row in found
        if row.kind == "llm"
    ]  # fmt: skip


def count(parameters: int) -> str:
    """Parameters as they are spoken of.

    >>> count(134_515_008), count(8_030_261_248), count(616_000), count(0)
    ('135M', '8.03B', '0.6M', '-')
    """
    if not parameters:
        return "-"
    if parameters >= 1e9:
        return f"{parameters / 1e9:.3g}B"
    return f"{parameters / 1e6:.{0 if parameters >= 1e7 else 1}f}M"


def _measured(facts: Mapping[str, Any]) -> tuple[str, str]:
    """The features of a medium of the default size, and the sizes that there can be."""
    size, lies = f"{facts['SIZE']:,} {facts.get('UNIT') or UNITS[facts['KIND']]}", facts["FEATURES"]
    if isinstance(lies, str):
        features = lies
    else:
        features = f"{math.prod(lies):,}" + (f" ({' x '.join(map(str, lies))})" if len(lies) > 1 else "")
    return features, f"{size}; {facts['LEAST']:,} or more" if facts["LEAST"] else f"{size} only"


def all_of(row: Encoder, about: str) -> dict[str, str]:
    """What `isthmus parts NAME` says of an encoder, line by line."""
    facts = {
        "encoder": row.name,
        "about": about,
        "reads": row.kind,
        "default part": row.part,
        "licence": row.licence,
        "parameters": f"{row.parameters:,}" if row.parameters else "-",
        "features": row.features,
        "size": row.sizes,
        "source": row.source,
        "here": "yes" if row.here else "no",
        "note": row.note,
    }
    return {key: value for key, value in facts.items() if value}


def show(found: Sequence[Listing], console: Console) -> None:
    """Print the tables of encoders and LLMs, in 100 columns; in fewer, each name with its facts below it."""
    title = "encoders, each with its default part (another: part=FOLDER or hf://...)"
    heads = ["encoder", "reads", "default part", "licence", "params", "features", "size", "here"]
    rows = [
        (r.name, r.kind, r.part, r.licence, count(r.parameters), r.features, r.sizes, _here(r.here))
        for r in encoders(found)
    ]
    _print(console, title, heads, rows)
    heads = ["LLM", "licence", "params", "spoken to in", "here", "note"]
    some = [(llm.name, llm.licence, count(llm.parameters), llm.frame, _here(llm.here), llm.note) for llm in llms(found)]
    _print(console, "LLMs (another: a folder or hf://org/name@revision)", heads, some)


def _print(console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if console.width < WIDE:
        console.print(f"{title}\n", markup=False)
        for name, *facts in rows:
            console.print(name, style="bold", highlight=False)
            own = [f"{head} {fact}" for head, fact in zip(heads[1:], facts, strict=True) if fact not in ("", "-")]
            console.print(Padding("; ".join(own), (0, 0, 0, 4)), highlight=False)
        console.print()
        return
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head in ("encoder", "LLM", "licence"))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _here(cached: bool) -> str:
    return "yes" if cached else "-"


def tables() -> dict[str, str]:
    """The tables of docs/parts.md in Markdown, by their names there."""
    from isthmus.data.frames import NAMED  # which loads torch: the rest of this file is quick

    found = parts.describe()
    first = _markdown(
        ("encoder", "reads", "default part", "licence", "parameters", "features", "size", "from"),
        [
            (f"`{r.name}`", r.kind, f"`{r.part}`" if r.part != "-" else "-", r.licence, count(r.parameters), r.features,
             r.sizes, _from(r.source, r.note))
            for r in encoders(found)
        ],
    )  # fmt: skip
    second = _markdown(
        ("LLM", "licence", "parameters", "spoken to in", "from"),
        [
            (f"`{r.name}`", r.licence, count(r.parameters), f"`{r.frame}`" if r.frame in NAMED else r.frame,
             _from(r.source, r.note))
            for r in llms(found)
        ],
    )  # fmt: skip
    third = _markdown(
        ("data", "licence", "from", "what"),
        [
            (f"`{r.name}`", r.licence, f"`{r.source}`", r.about)
            for r in found
            if r.kind == "data"
        ],
    )  # fmt: skip
    return {"encoders": first, "llms": second, "data": third}


def written(page: str) -> str:
    """A page with its tables written anew: each stands between `<!-- NAME -->` and `<!-- end -->`."""
    for name, table in tables().items():
        before, _, rest = page.partition(f"<!-- {name} -->")
        page = f"{before}<!-- {name} -->\n\n{table}\n\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return page


def _from(source: str, note: str) -> str:
    return (f"`{source}`" if source != "-" else "a folder, or an imported model") + (f"; {note}" if note else "")


def _markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


if __name__ == "__main__":
    (page,) = map(Path, sys.argv[1:])
    page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
