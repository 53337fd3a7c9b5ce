"""What every test may rely on."""

import signal

import pytest

# A shell starts background jobs with Ctrl-C ignored, and children inherit that; the tests press Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: at the end, where one would be waited for alone, stand those that take no time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
