"""Python that lies beside weights is never run, nor is anyone asked whether it may."""

from __future__ import annotations

import builtins
import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_parts import Built
from transformers import AutoModelForCausalLM

from isthmus.errors import BadCheckpoint, IsthmusError, PartUnavailable
from isthmus.model import compose, load, save_full
from isthmus.parts import foreign

Evil = Callable[[Path, str], Path]
EVIL = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, BitImageProcessorPil
class Config(LlamaConfig):
    model_type = "unheard-of"
class Model(LlamaForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast): pass
class Images(BitImageProcessorPil): pass
"""
CLASSES = {
    "config.json": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    "tokenizer_config.json": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]},
    "preprocessor_config.json": {"AutoImageProcessor": "evil.Images"},
}


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that evil.py writes when it runs."""
    return tmp_path / "ran"


@pytest.fixture
def evil(mark: Path, monkeypatch: pytest.MonkeyPatch) -> Evil:
    """Plant evil.py in a folder and name it in one of its files; whoever asks whether it may run is told yes."""
    monkeypatch.setattr(builtins, "input", lambda *_: "y")

    def plant(folder: Path, file: str) -> Path:
        (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
        facts = json.loads((folder / file).read_text()) | {"auto_map": CLASSES[file]}
        facts |= {
            "config.json": {"model_type": "unheard-of"},
            "tokenizer_config.json": {"tokenizer_class": "Tokenizer"},
            "preprocessor_config.json": {"image_processor_type": "Images"},
        }[file]
        (folder / file).write_text(json.dumps(facts))
        return folder

    return plant


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("file", CLASSES)
def test_code_beside_a_part_does_not_run(
    folders: dict[str, str],
    tmp_path: Path,
    evil: Evil,
    mark: Path,
    file: str,
    guard: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("llama", "vision"):
        shutil.copytree(folders[name], tmp_path / name)
    evil(tmp_path / ("vision" if file.startswith("pre") else "llama"), file)
    if not guard:  # transformers must refuse by itself, should it ever find code where we do not look
        monkeypatch.setattr(foreign, "code", lambda folder: None)
    image = {"encoder": "vit-s", "connector": "mlp", "part": str(tmp_path / "vision"), "size": 16, "tokens": 4}
    with pytest.raises(PartUnavailable, match="asks for Python code" if guard else "cannot be loaded"):
        compose(str(tmp_path / "llama"), image)
    assert not mark.exists()


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_checkpoint_does_not_run(
    built: Built, tmp_path: Path, evil: Evil, mark: Path, file: str, guard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_full(*built, tmp_path / "run")
    (tmp_path / "run/manifest.json").unlink()
    if file == "config.json":
        (tmp_path / "run/evil.py").write_text(EVIL.format(mark=str(mark)))
        facts = json.loads((tmp_path / "run" / file).read_text())
        facts["llm_config"]["auto_map"] = {"AutoModelForCausalLM": f"{tmp_path / 'run'}--evil.Model"}
        (tmp_path / "run" / file).write_text(json.dumps(facts))
    else:
        evil(tmp_path / "run", file)
    if not guard:
        monkeypatch.setattr(foreign, "code", lambda folder: None)
        with contextlib.suppress(IsthmusError):  # or transformers takes a class of its own
            load(tmp_path / "run")
    else:
        with pytest.raises(BadCheckpoint, match="asks for Python code"):
            load(tmp_path / "run")
    assert not mark.exists()


def test_the_planted_code_would_run_if_it_were_trusted(
    folders: dict[str, str], tmp_path: Path, evil: Evil, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    shutil.copytree(folders["llama"], tmp_path / "llama")
    AutoModelForCausalLM.from_pretrained(evil(tmp_path / "llama", "config.json"), trust_remote_code=True)
    assert mark.exists()
