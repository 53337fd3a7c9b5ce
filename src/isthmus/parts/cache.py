"""The cache on disk: where parts live, and how a folder becomes visible whole or not at all.

    <cache>/packages/                 wheels and tgz as fetched, or put there by hand
    <cache>/parts/<name>-<key>/       finished folders, each with a manifest.json
    <cache>/locks/                    one lock file per package and per part

`<cache>` is `ISTHMUS_CACHE`, or the platform's cache folder for isthmus.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from isthmus.errors import PartUnavailable

MANIFEST = "manifest.json"
FULL = (errno.ENOSPC, errno.EDQUOT)  # the errors of a full disk, and of a full quota

_FEW = 100  # files that are flushed one by one: for 3,800, that took 16 s in all, and one sync of the disk 6 s


def root() -> Path:
    """The cache folder, absolute, since registries' clients run in another working folder; it is not created here."""
    if chosen := os.environ.get("ISTHMUS_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("isthmus"))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(name: str, *, progress: bool) -> Iterator[None]:
    """Hold the lock called `name` against other processes and threads, saying so when it has to wait."""
    import filelock

    folder = root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0.5)
    except filelock.Timeout:
        if progress:
            from rich.console import Console

            Console(stderr=True).print(f"waiting for another process that is preparing {name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(what: str, need: int) -> Iterator[None]:
    """Check that `need` bytes fit before the block, and turn its disk errors into `PartUnavailable`."""
    folder = root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < need:
            raise PartUnavailable(_full(what, f"needs about {_mb(need)} and {_mb(free)} are free"))
        yield
    except (OSError, SafetensorError) as error:
        if disk_full(error):
            raise PartUnavailable(_full(what, f"needs about {_mb(need)} and the disk ran full")) from error
        if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PartUnavailable(
                f"cannot write {what} into the cache {folder}: {error}. Set ISTHMUS_CACHE to a folder you may write to."
            ) from error
        raise


def disk_full(error: BaseException) -> bool:
    """Whether an error means that nothing more fits on the disk, or in the user's share of it.

    >>> disk_full(OSError(errno.ENOSPC, "No space left on device")), disk_full(SafetensorError("invalid header"))
    (True, False)
    """
    if isinstance(error, SafetensorError):  # it is no OSError, whatever went wrong
        return any(f"os error {number}" in str(error) for number in FULL)
    return isinstance(error, OSError) and error.errno in FULL


def _full(what: str, state: str) -> str:
    return f"no room for {what} in {root()}: it {state}. Free some space, or set ISTHMUS_CACHE to a larger disk."


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def write_manifest(folder: Path, facts: dict[str, str]) -> None:
    """Flush every file of `folder` to disk, then write down the size and SHA-256 of each beside `facts`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(files) > _FEW and hasattr(os, "sync"):
        os.sync()
    else:
        for path in files:
            _flush(path)
    listing = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256(path)} for path in files
    }
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(facts | {"files": listing}, indent=1), encoding="utf-8")
    for path in files:  # safetensors writes files that only their owner may read, but a cache may be shared
        path.chmod(manifest.stat().st_mode)
    _flush(manifest)


def intact(folder: Path) -> bool:
    """Whether `folder` is finished and every file has the size its manifest gives. Contents are not hashed."""
    try:
        listing = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(os.stat(f"{folder}/{name}").st_size == facts["size"] for name, facts in listing.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def altered(folder: Path) -> list[str]:
    """The files of `folder` whose SHA-256 is not the one in its manifest; every file is read (about 1 GB/s).

    Raises `OSError`, `ValueError`, `KeyError` or `TypeError` where the manifest or a file cannot be read.
    """
    listing = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    return [name for name, facts in listing.items() if sha256(folder / name) != facts["sha256"]]


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder that is removed after the block, whatever happens.

    The caller holds the lock that guards this name, so a folder left by a killed process is nobody's and is cleared.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(finished: Path, final: Path) -> None:
    """Rename the folder `finished` to `final`, so that readers see all of it or nothing.

    A damaged `final` is moved away first; processes that have its files open keep them.
    """
    old = final.with_name(f".replaced-{final.name}")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    finished.rename(final)
    _flush(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder, and journals renames by itself
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
