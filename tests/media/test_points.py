"""Point clouds and meshes of every format: right, drawn from, sampled, declared wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_files import las, npy, npy_that_says, ply

from isthmus.errors import BadMedia
from isthmus.media import load
from isthmus.media.forms import Cloud
from isthmus.types import Points

RNG = np.random.default_rng(0)
XYZ = RNG.integers(-500, 500, (60, 3)) / 100
COLOURS = RNG.integers(0, 256, (60, 3))
SQUARE = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], float)
OBJ = (
    b"# a square\nmtllib a.mtl\n"
    + b"".join(b"v %d %d %d\n" % tuple(p) for p in SQUARE.astype(int))
    + b"f 1 2 3\nf 1 3 4\n"
)
PLY_FORMS = pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])


@PLY_FORMS
def test_ply(form: str, tmp_path: Path) -> None:
    (path := tmp_path / "a.bin").write_bytes(ply(XYZ, form, colours=COLOURS))
    for source in (path, str(path), path.read_bytes()):
        cloud = load(Points(source))
        np.testing.assert_allclose(cloud.xyz, XYZ, atol=1e-6)
        assert cloud.colours is not None
        np.testing.assert_allclose(cloud.colours, COLOURS / 255, atol=1e-6)
    assert load(Points(ply(XYZ, form))).colours is None


@pytest.mark.parametrize("compressed", [False, True])
def test_las_keeps_centimetres_far_from_zero(compressed: bool) -> None:
    far = XYZ + np.array([500_000, 4_000_000, 100])
    cloud = load(Points(las(far, COLOURS * 257, compressed)))
    np.testing.assert_allclose(cloud.xyz + np.array(cloud.origin), far, atol=2e-3)
    assert cloud.colours is not None
    np.testing.assert_allclose(cloud.colours, COLOURS / 255, atol=1e-6)
    small = load(Points(las(XYZ, COLOURS, compressed)))
    np.testing.assert_allclose(small.colours, COLOURS / 255, atol=1e-6, err_msg="8 bits in fields of 16")
    assert load(Points(las(XYZ, None, compressed))).colours is None


def test_npy() -> None:
    np.testing.assert_allclose(load(Points(npy(XYZ))).xyz, XYZ, atol=1e-6)
    np.testing.assert_allclose(load(Points(npy(np.asfortranarray(XYZ.astype(">f4"))))).xyz, XYZ, atol=1e-6)
    for colours in (COLOURS, COLOURS / 255):
        cloud = load(Points(npy(np.hstack([XYZ, colours]))))
        assert cloud.colours is not None
        np.testing.assert_allclose(cloud.colours, COLOURS / 255, atol=1e-6)


@pytest.mark.parametrize(
    "data", [OBJ, ply(SQUARE, "ascii", [(0, 1, 2), (0, 2, 3)]), ply(SQUARE, "ascii", [(0, 1, 2, 3)])]
)
def test_a_mesh_is_sampled_evenly(data: bytes) -> None:
    cloud = load(Points(data, count=4000))
    assert cloud.xyz.shape == (4000, 3)
    assert (cloud.xyz.min(axis=0) >= 0).all()
    assert (cloud.xyz.max(axis=0) <= [2, 2, 0]).all()
    quarters = np.histogram2d(cloud.xyz[:, 0], cloud.xyz[:, 1], bins=4, range=[[0, 2], [0, 2]])[0]
    assert np.abs(quarters - 250).max() < 5 * np.sqrt(250), "as many in each sixteenth, within chance"
    assert cloud.normals is not None
    np.testing.assert_allclose(np.abs(cloud.normals), np.tile([0, 0, 1], (4000, 1)))
    np.testing.assert_array_equal(cloud.xyz, load(Points(data, count=4000)).xyz)
    assert not np.array_equal(cloud.xyz, load(Points(data, count=4000, seed=1)).xyz)
    assert len(load(Points(data)).xyz) == 8192


def test_a_coloured_mesh() -> None:
    red = np.tile([255, 0, 0], (4, 1))
    cloud = load(Points(ply(SQUARE, "binary_little_endian", [(0, 1, 2), (0, 2, 3)], red), count=10))
    assert cloud.colours is not None
    np.testing.assert_allclose(cloud.colours, np.tile([1, 0, 0], (10, 1)))


def test_an_obj_of_several_materials_and_one_of_points() -> None:
    two = OBJ.replace(b"f 1 2 3\n", b"usemtl a\nf 1 2 3\nusemtl b\n")
    assert load(Points(two, count=100)).xyz[:, 0].max() > 1
    cloud = load(Points(b"v 0 0 0 1 0 0\nv 1 2 3 0 0.5 0\n"))
    np.testing.assert_allclose(cloud.xyz, [[0, 0, 0], [1, 2, 3]])
    assert cloud.colours is not None
    np.testing.assert_allclose(cloud.colours, [[1, 0, 0], [0, 0.5, 0]], atol=0.003)


@pytest.mark.parametrize(
    "other",
    [
        OBJ.replace(b" ", b"\t"),
        OBJ.replace(b"v ", b"  v\t ").replace(b"f ", b"\tf "),
        OBJ.replace(b"\n", b"\r\n"),
        b"# who made it, and how\n" * 5000 + OBJ,
    ],
    ids=["tabs", "indented", "windows", "long comment"],
)
def test_objs_of_other_writers(other: bytes) -> None:
    mine, cloud = load(Points(OBJ, count=50)), load(Points(other, count=50))
    np.testing.assert_array_equal(cloud.xyz, mine.xyz)
    np.testing.assert_array_equal(cloud.normals, mine.normals)


def test_drawing_from_a_cloud() -> None:
    drawn = load(Points(npy(XYZ), count=20))
    assert len(np.unique(drawn.xyz, axis=0)) == 20
    assert {tuple(point) for point in drawn.xyz} <= {tuple(point) for point in XYZ.astype(np.float32)}
    np.testing.assert_array_equal(drawn.xyz, load(Points(npy(XYZ), count=20)).xyz)
    assert len(load(Points(npy(XYZ), count=100)).xyz) == 60


def test_clouds_that_are_made() -> None:
    made = Cloud(XYZ, colours=np.full((60, 3), 2.0))
    assert made.colours is not None
    assert made.colours.max() == 1
    assert load(Points(made)) is made
    assert len(load(Points(lambda: XYZ, count=5)).xyz) == 5
    for xyz, colours, says in (
        (np.zeros((0, 3)), None, "0 points; 1 to 1,000,000"),
        (np.zeros((4, 2)), None, r"xyz of 4 points are \[4, 3\], not \[4, 2\]"),
        (np.zeros((4, 3)), np.zeros((3, 3)), r"colours of 4 points are \[4, 3\], not \[3, 3\]"),
        (np.array([[0, 0, np.inf]]), None, "point 0: its xyz hold NaN"),
        ([["a", "b", "c"]], None, "numbers, not list"),
    ):
        with pytest.raises(BadMedia, match=says):
            Cloud(xyz, colours)
    for source in (np.zeros((5, 4)), np.zeros(5)):
        with pytest.raises(BadMedia, match=r"points are \[N, 3\], or \[N, 6\] with colours"):
            load(Points(source))


def refused(data: Any, says: str, **options: Any) -> None:
    with pytest.raises(BadMedia, match=says) as error:
        load(Points(data, **options))
    assert "0x" not in str(error.value)


@PLY_FORMS
def test_plys_that_lie(form: str) -> None:
    data = ply(XYZ, form)
    for declared, says in (
        (b"0", "0 points; 1 to 1,000,000"),
        (b"61", "declares 61 vertices and the file holds 60|damaged"),
        (b"1000000000", "declares 1,000,000,000 in a file of"),
        (b"-5", "damaged, it declares"),
        (b"9" * 400, "damaged, it declares"),
    ):
        refused(data.replace(b"vertex 60", b"vertex " + declared), says)
    refused(data.replace(b"end_header", b"end_heapor"), "header has no end")
    refused(ply([[0, 0, 0], [1, np.nan, 0]], form), "point 1 is NaN or infinite")
    refused(ply(SQUARE, form, [(0, 1, 9)]), "face names vertex 9 of 4|damaged")


def test_more_points_than_are_decoded() -> None:
    many = b"ply\nformat ascii 1.0\nelement vertex 1000001\nproperty float x\nend_header\n" + b"0\n" * 1_000_001
    refused(many, "1,000,001 points; 1 to 1,000,000")
    refused(b"v 0 0 0\n" * 1_000_001, "1,000,001 vertices; 1 to 1,000,000")
    refused(OBJ + b"f 1 2 3\n" * 1_000_000, r"1,000,00\d faces; 1 to 1,000,000")
    refused(npy_that_says("(1000000000, 3)"), "1,000,000,000 points; 1 to 1,000,000")
    refused(npy(XYZ), "0 points asked for", count=0)
    refused(npy(XYZ), "1,000,001 points asked for", count=1_000_001)


def test_other_headers_that_lie() -> None:
    data = las(XYZ)
    refused(data[:100] + b"\xff" * 4 + data[104:], "declares 4,294,967,295 records before byte")
    refused(data[:60], "ends within its header")
    for count, says in (
        (0, "0 points"),
        (61, "declares 61 points and the file holds 60"),
        (2**32 - 1, "4,294,967,295 points"),
    ):
        refused(data[:107] + count.to_bytes(4, "little") + data[111:], says)
    for shape, says in (
        ("(7, 3)", "declares 84 bytes of numbers and the file holds 64"),
        ("(0, 3)", "0 points"),
        ("(-1, 3)", r"damaged, its header declares the shape \(-1, 3\)"),
        ("(3,)", r"not \[3\]"),
        ("(True, 3)", "damaged, its header declares the shape"),
        ("'x'", "damaged"),
    ):
        refused(npy_that_says(shape), says)
    refused(npy_that_says("(1, 3)", "|O"), "only integers and floats")
    refused(npy_that_says("(1, 3)", "<c8"), "only integers and floats")


def test_meshes_that_cannot_be_sampled() -> None:
    refused(b"v 0 0 0\n" * 3 + b"f 1 2 3\n", "a mesh whose faces have no area")
    refused(b"v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n", "point 2 is NaN|damaged")
    refused(OBJ + b"f 1 2 77\n", "damaged, a face names vertex 77 of 4, counted from 1")
    refused(OBJ + b"f 1/1 2/9 -78/3\n", "damaged, a face names vertex -78 of 4|damaged")
    refused(ply(SQUARE, "ascii", [(0, 1, -1)]), "a face names vertex -1 of 4, counted from 0")
    refused(OBJ.replace(b"v 2 0 0", b"v 1e400 0 0"), "NaN or infinite|damaged")


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"vertex", b"LASF", b"ply\n", b"\x93NUMPY", b"glTF\2\0\0\0", b"v a b c\n"]
)
def test_what_is_no_cloud(data: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "notes.ply").write_bytes(data)
    with pytest.raises(BadMedia, match=r"notes\.ply: (not points that can be read|damaged)"):
        load(Points(path))


def test_an_obj_reads_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd /etc/passwd\n")
    (path := tmp_path / "a.obj").write_bytes(OBJ.replace(b"f 1 2 3", b"usemtl a\nf 1 2 3"))
    assert load(Points(path, count=4)).colours is None
