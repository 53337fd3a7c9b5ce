"""`trackio`: trackio, if it is installed."""

from isthmus.train.logs._tracker import Tracker

ABOUT = "trackio: pip install trackio"


class Log(Tracker):
    """A run of trackio."""

    module = "trackio"
