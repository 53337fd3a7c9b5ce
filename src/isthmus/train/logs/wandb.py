"""`wandb`: Weights & Biases, if it is installed."""

from isthmus.train.logs._tracker import Tracker

ABOUT = "Weights & Biases: pip install wandb"


class Log(Tracker):
    """A run of Weights & Biases."""

    module = "wandb"
