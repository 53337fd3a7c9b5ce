from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from isthmus.errors import PartUnavailable
from isthmus.parts import cache, fetch
from isthmus.parts.catalog import SDIST, Part

CLOSED = "http://127.0.0.1:9/"


def no_client(*args: object, **kwargs: object) -> None:
    raise AssertionError("a client was started")


def fake_client(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> None:
    """Put a client of that name first on the path: a shell script whose destination folder is `$to`."""
    folder.mkdir()
    script = folder / name
    script.write_text(
        '#!/bin/sh\nto=.; for a in "$@"; do case $a in --pack-destination=*) to=${a#*=};; esac; done\n' + f"{body}\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    fake_client(folder, monkeypatch, "npm", body)


def as_npm(part: Part) -> Part:
    return replace(part, source="npm://@scope/tiny@1.0.0")


def test_pip_fetches_from_where_the_user_configured_it(
    root: Path, wheels: Path, tiny: Part, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    path = fetch.package(tiny)
    assert path == root / "packages" / "tiny_part-1.0-py3-none-any.whl"
    assert path.read_bytes() == next(wheels.iterdir()).read_bytes()
    assert sorted(path.parent.iterdir()) == [path]  # no temporary folder is left
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err

    monkeypatch.setattr(subprocess, "Popen", no_client)
    assert fetch.package(tiny) == path


def test_relative_folders_mean_those_where_isthmus_runs(
    root: Path, wheels: Path, tiny: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISTHMUS_CACHE", root.name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    assert fetch.package(tiny, progress=False) == root / "packages" / "tiny_part-1.0-py3-none-any.whl"
    monkeypatch.setenv("ISTHMUS_PACKAGES", wheels.name)
    assert fetch.supplied(tiny) == next(wheels.iterdir())


def test_npm_fetches(root: Path, wheels: Path, tiny: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, f'cp {next(wheels.iterdir())} "$to/any-name.tgz"')
    path = fetch.package(as_npm(tiny), progress=False)
    assert path == root / "packages" / "scope-tiny-1.0.0.tgz"
    assert path.is_file()


def test_apt_fetches(root: Path, wheels: Path, tiny: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = replace(tiny, source="deb://tiny=1:1.0")
    fake_client(tmp_path / "bin", monkeypatch, "apt-get", f"cp {next(wheels.iterdir())} $to/tiny.deb")
    assert fetch.package(part, progress=False) == root / "packages" / "tiny_1%3a1.0_all.deb"


@pytest.mark.usefixtures("root")
def test_apt_without_lists_says_what_to_run(tiny: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_client(tmp_path / "bin", monkeypatch, "apt-get", "echo 'E: Unable to locate package tiny' >&2; exit 100")
    with pytest.raises(PartUnavailable, match=r"(?s)tiny 1.0 from Debian.*apt-get update.*apt-get download tiny=1.0"):
        fetch.package(replace(tiny, source="deb://tiny=1.0"), progress=False)


@pytest.mark.usefixtures("root")
def test_missing_npm_says_how_to_supply_the_file(tiny: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(PartUnavailable) as caught:
        fetch.package(as_npm(tiny), progress=False)
    message = str(caught.value)
    for fact in ("`npm` is not installed", "@scope/tiny 1.0.0", "scope-tiny-1.0.0.tgz", tiny.package_sha256):
        assert fact in message
    assert str(fetch.folder()) in message
    assert "ISTHMUS_PACKAGES" in message


def test_unreachable_pip_index(root: Path, tiny: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", CLOSED)
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(PartUnavailable) as caught:
        fetch.package(tiny, progress=False)
    message = str(caught.value)
    for fact in ("tiny-part 1.0", "tiny_part-1.0-py3-none-any.whl", tiny.package_sha256, "Connection refused"):
        assert fact in message
    assert list((root / "packages").iterdir()) == []


@pytest.mark.usefixtures("root")
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_unreachable_npm_registry(tiny: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", CLOSED)
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(PartUnavailable, match="ECONNREFUSED"):
        fetch.package(as_npm(tiny), progress=False)


@pytest.mark.usefixtures("root")
def test_no_pip(tiny: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(PartUnavailable, match="No module named pip"):
        fetch.package(tiny, progress=False)


@pytest.mark.usefixtures("root")
def test_a_client_that_fetches_another_file(tiny: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, 'echo other > "$to/other.tgz"')
    with pytest.raises(PartUnavailable, match=f"(?s){tiny.package_sha256}.*this file's"):
        fetch.package(as_npm(tiny), progress=False)
    assert list(fetch.folder().iterdir()) == []


@pytest.mark.usefixtures("root")
def test_an_interrupted_client_is_ended(tiny: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 60")

    def interrupt(seconds: float) -> None:
        if (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text():  # there before it is written
            raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        fetch.package(as_npm(tiny), progress=False)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert list(fetch.folder().iterdir()) == []


@pytest.mark.parametrize("place", ["cache", "environment"])
def test_a_file_supplied_by_hand_needs_no_client(
    place: str, root: Path, wheels: Path, tiny: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", no_client)
    if place == "cache":
        shutil.copytree(wheels, root / "packages")
        folder = root / "packages"
    else:
        monkeypatch.setenv("ISTHMUS_PACKAGES", str(wheels))
        folder = wheels
    assert fetch.package(tiny) == folder / "tiny_part-1.0-py3-none-any.whl"


def test_pip_is_told_the_hash_of_an_sdist_before_it_runs_its_set_up(tmp_path: Path, tiny: Part) -> None:
    command = fetch._command(replace(tiny, form=SDIST), tmp_path / "arrived", tmp_path)
    assert command[-2:] == ["--no-binary=tiny-part", f"--requirement={tmp_path / 'requirements.txt'}"]
    assert (tmp_path / "requirements.txt").read_text() == f"tiny-part==1.0 --hash=sha256:{tiny.package_sha256}\n"


@pytest.mark.usefixtures("root")
def test_a_wrong_hash_names_both_and_deletes_nothing(wheels: Path, tiny: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_PACKAGES", str(wheels))
    wheel = next(wheels.iterdir())
    wheel.write_bytes(wheel.read_bytes()[:-10])
    with pytest.raises(PartUnavailable) as caught:
        fetch.package(tiny)
    for fact in (str(wheel), tiny.package_sha256, cache.sha256(wheel)):
        assert fact in str(caught.value)
    assert wheel.is_file()


@pytest.mark.usefixtures("root")
def test_a_disk_without_room_is_found_before_fetching(tiny: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", no_client)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    with pytest.raises(PartUnavailable, match="needs about 180 MB and 5 MB are free"):
        fetch.package(replace(tiny, size=90_000_000))


@pytest.mark.usefixtures("root")
def test_a_disk_that_fills_while_fetching(tiny: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(PartUnavailable, match="the disk ran full"):
        fetch.package(tiny, progress=False)


@pytest.mark.usefixtures("root")
def test_a_client_that_meets_a_full_disk(tiny: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, "echo 'npm error ENOSPC: no space left on device, write' >&2; exit 228")
    with pytest.raises(PartUnavailable, match="the disk ran full"):
        fetch.package(as_npm(tiny), progress=False)


def test_a_cache_that_may_not_be_written(root: Path, tiny: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(PartUnavailable, match="Set ISTHMUS_CACHE"):
        fetch.package(tiny, progress=False)
    assert not root.exists()
