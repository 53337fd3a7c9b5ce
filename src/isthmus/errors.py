"""The errors that a user can meet; each says what happened, what is known and what to do next.

IsthmusError            anything below; the command line prints it without a traceback
├── UnknownName         a part, recipe key or benchmark that does not exist (names the nearest)
├── PartUnavailable     weights or data that could not be fetched or do not match their SHA-256
├── BadMedia            an image, sound, video, cloud or series that is missing, corrupt or over the caps
├── BadRecipe           a recipe that cannot be used: the message names the key and the line
├── BadData             a dataset or a sample that cannot be used
├── MergeError          placeholders in the text and soft tokens of the media differ in number
├── BadCheckpoint       a checkpoint that is incomplete, altered or made for other parts
└── Interrupted         Ctrl-C: what was done is saved, and the message says how to go on
"""

from __future__ import annotations


class IsthmusError(Exception):
    """Base of every error that is the input's fault, not a bug; `exit_code` is what the command line exits with."""

    exit_code = 1


class UnknownName(IsthmusError):
    """A name that is not in its list."""


class PartUnavailable(IsthmusError):
    """A part that could not be fetched, verified or converted."""


class BadMedia(IsthmusError):
    """A medium that cannot be decoded within the caps."""


class BadRecipe(IsthmusError):
    """A recipe that cannot be read or does not fit together."""


class BadData(IsthmusError):
    """A dataset or a sample that cannot be used."""


class MergeError(IsthmusError):
    """Placeholders and soft tokens differ in number."""


class BadCheckpoint(IsthmusError):
    """A checkpoint that is incomplete, altered or made for other parts."""


class Interrupted(IsthmusError):
    """Ctrl-C: everything is saved, and the message says how to go on."""

    exit_code = 130  # what a shell expects after Ctrl-C
