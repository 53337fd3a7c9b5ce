"""Sensor series of every format: right, irregular, with values missing, declared wrongly."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_files import npy, npy_that_says, table

from isthmus.errors import BadMedia
from isthmus.media import caps, load
from isthmus.media.forms import Signal
from isthmus.types import Series

NAN = np.nan
DATES = [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=s) for s in (0, 0.5, 60)]


def check(source: Any, values: Any, times: Any, names: Any, **options: Any) -> None:
    signal = load(Series(source, **options))
    assert signal.values.dtype == np.float32
    assert signal.times.dtype == np.float64
    np.testing.assert_allclose(signal.values, values, rtol=1e-6)
    np.testing.assert_allclose(signal.times, times)
    assert signal.names == tuple(names)


def test_csv(tmp_path: Path) -> None:
    text = "time,x,y\n0,1,-2.5\n0.5,2,1e3\n2,3,0\n"
    (path := tmp_path / "odd name.xyz").write_text(text)
    for source in (
        path,
        str(path),
        text.encode(),
        text.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + text.encode(),
    ):
        check(source, [[1, 2, 3], [-2.5, 1000, 0]], [0, 0.5, 2], "xy")
    for delimiter in ";\t":
        check(text.replace(",", delimiter).encode(), [[1, 2, 3], [-2.5, 1000, 0]], [0, 0.5, 2], "xy")


def test_missing_values_and_quotes() -> None:
    data = b'Timestamp, a ,"b, c"\n\n0,,1\n1,NA,"2"\n2,3,nan\n3,null,4\n'
    check(data, [[NAN, NAN, 3, NAN], [1, 2, NAN, 4]], [0, 1, 2, 3], ["a", "b, c"])


def test_a_comma_at_the_end_of_each_line() -> None:
    check(b"time,x,y,\n0,1,2,\n1,3,4,\n", [[1, 3], [2, 4]], [0, 1], "xy")
    check(b"time,x,\n0,1,2\n1,3,\n", [[1, 3], [2, NAN]], [0, 1], ["x", ""])


def test_dates() -> None:
    for cells in (
        ["2026-01-01T00:00:00", "2026-01-01T00:00:00.500", "2026-01-01T00:01:00"],
        ["2026-01-01 00:00:00+00:00", "2026-01-01 01:00:00.5+01:00", "2026-01-01T00:01:00Z"],
    ):
        data = "when,a\n" + "".join(f"{cell},{index}\n" for index, cell in enumerate(cells))
        check(data.encode(), [[0, 1, 2]], [0, 0.5, 60], "a", time="when")
    check(table({"time": DATES, "a": [0, 1, 2]}), [[0, 1, 2]], [0, 0.5, 60], "a")


@pytest.mark.parametrize(("each", "unit"), [(1e3, "ms"), (1e6, "us"), (1e9, "ns")])
def test_clocks_that_count_less_than_seconds(each: float, unit: str) -> None:
    since_1970 = (1_700_000_000 + np.arange(150) / 50) * each
    rows = "".join(f"{time:.0f},{index}\n" for index, time in enumerate(since_1970))
    for data in (
        f"timestamp,a\n{rows}".encode(),
        f"timestamp,a\n{rows}".replace(",7\n", ",NA\n").encode(),  # read the slow way
        table({"timestamp": since_1970.astype(np.int64), "a": np.arange(150)}),
    ):
        signal = load(Series(data))
        assert signal.rate == pytest.approx(50, rel=1e-3)
        assert signal.times[0] == pytest.approx(1.7e9, abs=1e-3)
        assert signal.even(50).values.shape == (1, 150), "as many as were measured"
    for name in (f"up_{unit}", f"up ({unit})", f"up [{unit}]"):
        uptime = 5e13 + np.arange(3) * each / 50
        check(table({name: uptime, "a": [1, 2, 3]}), [[1, 2, 3]], uptime / each, "a", time=name)
    data = f"up_{unit},a\n2026-01-01,1\n2026-01-02,2\n".encode()
    check(data, [[1, 2]], [0, 86_400], "a", time=f"up_{unit}")


def test_times_that_are_no_seconds() -> None:
    says = "'t': times up to 5e\\+13 are no seconds. Put the unit at the end of the column's name: t_ms, t_us or t_ns"
    refused(b"t,a\n49999980000000,1\n50000000000000,2\n", says)
    refused(b"t,a\n49999980000000,1\n50000000000000,\n", says)
    refused(table({"t": [0, 50_000_000_000_000], "a": [1, 2]}), says)
    refused(b"t,a\n0,1\n1700000000000,2\n", "times up to 1.7e\\+12 are no seconds")
    check(b"t,a\n1700000000,1\n1700000001,2\n", [[1, 2]], [1.7e9, 1.7e9 + 1], "a")


def test_a_table_without_names_or_times() -> None:
    check(b"1,2\n3,4\n5,6\n", [[1, 3, 5], [2, 4, 6]], [0, 1, 2], ["column 0", "column 1"])
    check(b"1,2\n3,4\n5,6\n", [[1, 3, 5], [2, 4, 6]], [0, 0.02, 0.04], ["column 0", "column 1"], rate=50)
    check(b"1,2\n3,4\n5,6\n", [[2, 4, 6]], [1, 3, 5], ["column 1"], time="column 0")
    check(b"a\n7\n", [[7]], [0], "a")


def test_parquet() -> None:
    data = table({"a": [1.0, None, 3.0], "t": [0, 1, 5], "b": [True, False, True], "c": np.arange(3, dtype=np.int8)})
    check(data, [[1, NAN, 3], [1, 0, 1], [0, 1, 2]], [0, 1, 5], "abc")
    check(data, [[1, NAN, 3], [0, 1, 5], [1, 0, 1]], [0, 1, 2], "atb", time="c")
    long = np.arange(200_000)
    signal = load(Series(table({"t": long / 100, "a": long})))
    assert np.array_equal(signal.values[0], long)
    assert signal.rate == pytest.approx(100)


def test_npy() -> None:
    values = np.array([[1, NAN, 3], [4, 5, 6]])
    check(npy(values), values, [0, 0.02, 0.04], ["channel 0", "channel 1"], rate=50)
    check(npy(np.arange(4, dtype=">i2")), [[0, 1, 2, 3]], [0, 1, 2, 3], ["channel 0"])


def test_series_that_are_made() -> None:
    made = Signal(np.eye(2), np.array([0, 1]), ("a", "b"))
    assert load(Series(made)) is made
    check(lambda: np.arange(3), [[0, 1, 2]], [0, 1, 2], ["channel 0"])
    for values, times, names, says in (
        (np.zeros((0, 3)), np.arange(3), (), "0 channels x 3 times"),
        (np.zeros((1, 0)), [], "a", "1 channels x 0 times"),
        (np.zeros(3), np.arange(3), "a", r"\[C, T\], not \[3\]"),
        (np.zeros((1, 3)), np.arange(2), "a", r"values \[1, 3\] for 1 names and 2 times"),
        (np.zeros((2, 3)), np.arange(3), "a", r"values \[2, 3\] for 1 names and 3 times"),
        (np.array([[0, np.inf]]), [0, 1], "a", "a: value 1 is infinite"),
        (np.zeros((1, 2)), [1, 0], "a", "times run backwards: 0 after 1 at row 1"),
        (np.zeros((1, 2)), [0, NAN], "a", "time 1 is NaN"),
    ):
        with pytest.raises(BadMedia, match=says):
            Signal(values, times, tuple(names))


def test_an_even_grid() -> None:
    signal = Signal([[0, 10, NAN, 40], [NAN, 1, 2, NAN]], [0, 1, 1.5, 4], ("a", "b"))
    even = signal.even(2)
    np.testing.assert_allclose(even.times, np.arange(9) / 2)
    np.testing.assert_allclose(even.values[0], np.arange(9) * 5)
    np.testing.assert_allclose(even.values[1], [NAN, NAN, 1, 2, *[NAN] * 5])
    assert signal.rate == 1
    assert signal.even().times.tolist() == [0, 1, 2, 3, 4]
    third = Signal(np.arange(4)[None], np.arange(4) / 3, ("a",))
    np.testing.assert_allclose(third.even().values, [[0, 1, 2, 3]], atol=1e-5)
    assert Signal([[5]], [7], ("a",)).even(10).times.tolist() == [7]
    for rate, says in ((0, "a rate is above 0"), (NAN, "a rate is above 0"), (1e12, "at most 1,024 channels")):
        with pytest.raises(BadMedia, match=says):
            signal.even(rate)
    with pytest.raises(BadMedia, match="no two different times"):
        Signal([[5]], [7], ("a",)).even()


def refused(data: bytes, says: str, **options: Any) -> None:
    with pytest.raises(BadMedia, match=says) as error:
        load(Series(data, **options))
    assert str(error.value).startswith(f"<{len(data):,} bytes>: ")
    assert "0x" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"time,a\n0,1\n1,fast\n", r"line 3: 'a' is 'fast', not a number. Leave a missing value empty"),
        (b"time,a\n0,1\n\n1,2,3\n", "line 4: 3 cells, where the first row has 2"),
        (b"time,a\n0,1\n,2\n", "line 3: the time is '', neither seconds nor a date"),
        (b"time,a\n0,1\nnow,2\n", "line 3: the time is 'now'"),
        (b"time,a\n0,1\n2026-01-01,2\n", "line 3: the times are seconds here and dates there"),
        (b"time,a\n5,1\n4,2\n", "line 3: its time lies before that of the line above. Sort the rows"),
        (b"a,b\n1,2\n3,1e300\n", "line 3: 'b' is 1e\\+300, which float32 cannot hold"),
        (b"a,b\n1,2\n3,-inf\n", "line 3: 'b' is -inf, which float32 cannot hold"),
        (b"a,b\n,\n,\n", "every value is missing"),
        (b"a,b\n", "0 rows"),
        (b"", "0 rows"),
        (b"\n\n", "0 rows"),
        (b"hello, this is text", "0 rows"),
        (b"time\n1\n2\n", "0 channels"),
        (b'a,b\n1,"2\n', "line 2: not a table of text"),
        (b"a,b\n1,\0\n", "line 2: "),
        (b"\x89PNG\r\n\x1a\n", "nor UTF-8"),
        (b"a," * 2000 + b"a\n1\n", "at most 1,024 channels"),
        (b"PAR1" * 9, "damaged"),
        (b"PAR1", "damaged"),
    ],
)
def test_what_is_no_series(data: bytes, says: str) -> None:
    refused(data, says)


def test_options_that_do_not_apply() -> None:
    refused(b"time,a\n0,1\n", "it has times of its own, so rate does not apply", rate=5)
    refused(b"time,a\n0,1\n", r"no column 'when'. Columns: 'time', 'a'", time="when")
    refused(npy(np.zeros(3)), "an array has no column called 't'", time="t")
    with pytest.raises(BadMedia, match="0 samples a second"):
        load(Series(b"a\n1\n", rate=0))


def test_more_values_than_are_decoded() -> None:
    rows = caps.MAX_VALUES // 4
    assert load(Series(b"1,2,3,4\n" * rows)).values.shape == (4, rows)
    refused(b"1,,3,4\n" * (rows + 1), "4 channels x 500,001 times; at most 1,024 channels and 2,000,000 values")
    bomb = table({"a": np.zeros(5_000_000)})
    assert len(bomb) < 50_000
    refused(bomb, "1 channels x 5,000,000 times")
    refused(table({f"c{index}": [1.0] for index in range(1100)}), "1,100 channels x 1 times")
    refused(npy_that_says("(4, 1000000000)"), "4 channels x 1,000,000,000 times")
    refused(npy_that_says("(4, 100)"), "declares 1,600 bytes of numbers and the file holds 64")
    refused(npy_that_says("(2, 2, 2)"), r"\[channels, times\], not \[2, 2, 2\]")


def test_columns_that_hold_no_numbers() -> None:
    refused(table({"a": ["x"]}), "column 'a' holds string, not numbers")
    refused(table({"a": [[1, 2]]}), "column 'a' holds list.*, not numbers")
    refused(table({"a": [1], "b": DATES[:1]}), "column 'b' holds timestamp")
    refused(table({"t": [0.0, None], "a": [1, 2]}), "a time is missing")
    refused(table({"a": np.zeros(0)}), "1 channels x 0 times")
