"""Tasks of lm-evaluation-harness and of a folder of one's own: finding them, and loading their data.

Nothing of the harness that would reach for a network or run a program in the open is left to chance: what cannot be
loaded is told with what to do about it, before a model is asked anything.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import glob
import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isthmus import registry
from isthmus.errors import BadData, IsthmusError, UnknownName

NEEDS = "language benchmarks need more: pip install 'isthmus[lm-eval]'"
OFFLINE = (
    "The data of a task come from its hub. Without a network, fetch them where there is one (hf download --repo-type"
    " dataset OWNER/NAME --local-dir DIR/OWNER/NAME) and give --tasks-folder DIR, or bring that machine's HF_HOME"
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The harness and `datasets` tell much that is no news; what matters is told here, by errors and notes."""
    try:
        import datasets
        import lm_eval.api.model
        import lm_eval.api.task
        import lm_eval.tasks
    except ImportError as error:
        raise IsthmusError(f"{NEEDS} ({error})") from error
    logger, bars = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled()
    level, places = logger.level, (lm_eval.api.model, lm_eval.api.task)
    theirs = [place.tqdm for place in places]
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    for place, bar in zip(places, theirs, strict=True):
        place.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        logger.setLevel(level)
        for place, bar in zip(places, theirs, strict=True):
            place.tqdm = bar
        if not bars:
            datasets.enable_progress_bars()


def find(tasks: Sequence[str], folder: Path | None) -> tuple[Any, list[str]]:
    """What knows the tasks, and their names, each once; a tag stands for its tasks.

    To read the thousands of the harness takes seconds, so they are left alone where `folder` has what is wanted.
    """
    from lm_eval.tasks import TaskManager

    own = str(folder) if folder else None
    try:
        manager = TaskManager(include_path=own, include_defaults=False) if own else None
        if manager is None or not {*tasks} <= {*manager.all_tasks} or _reaches(manager, tasks):
            manager = TaskManager(include_path=own)
    except Exception as error:  # a file of tasks may hold anything, and fails as it likes
        raise BadData(f"{folder}: its tasks cannot be read ({error})") from error
    known = manager.all_tasks
    for name in tasks:
        if name not in known:
            _check_file(name, folder)
            raise UnknownName(_miss(name, known))
    index = manager.task_index
    each = [sorted(index[name].tags) if index[name].kind.name == "TAG" else [name] for name in tasks]
    return manager, list(dict.fromkeys(name for names in each for name in names))


def _check_file(name: str, folder: Path | None) -> None:
    """Raises `BadData` for a file of the folder that has this name and that the harness cannot read."""
    from lm_eval.tasks._yaml_loader import load_yaml

    for path in sorted(folder.rglob(f"{glob.escape(name)}.yaml")) if folder else ():
        try:
            load_yaml(path, resolve_func=False)
        except Exception as error:  # it may hold anything
            raise BadData(f"{path} is no task of lm-evaluation-harness: {_line(error)}") from error


def _reaches(manager: Any, tasks: Sequence[str]) -> bool:
    """Whether a group among these has tasks that this manager does not know."""
    groups = [(manager.task_index[name].cfg or {}).get("task") for name in tasks]
    members = [one for group in groups if isinstance(group, list) for one in group]
    return any((one.get("task") if isinstance(one, dict) else one) not in manager.all_tasks for one in members)


def _miss(name: str, known: Sequence[str]) -> str:
    """There are thousands: the nearest are named, and how the others are listed."""
    near = known if len(known) < 40 else difflib.get_close_matches(name, known, 8, 0.5)
    return registry.miss("task", name, near) + ". `lm-eval ls tasks` lists all of lm-evaluation-harness"


def load(manager: Any, name: str, shots: int | None, folder: Path | None) -> Any:
    """A task with its data, or a group, as the harness evaluates it.

    Raises `BadData` for data that cannot be loaded, and for a task that needs what is not installed.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    from isthmus.evaluate.language.programs import refuse, sandboxed

    seed()
    try:
        with inside(folder), sandboxed():
            loaded = manager.load([name])
    except IsthmusError:
        raise
    except ImportError as error:
        raise BadData(
            f"task {name}: it needs a package that is not installed ({error}). {NEEDS}; a task of the harness may need"
            " more of it, such as pip install 'lm-eval[math]'"
        ) from error
    except Exception as error:  # whatever a file of a task, its data, a hub and the way there may come to
        away = isinstance(error, OSError) or "Hub" in str(error)
        advice = OFFLINE if away else "Its file, or its data, are not what lm-evaluation-harness expects"
        raise BadData(f"task {name} cannot be loaded: {type(error).__name__}: {_line(error)}. {advice}") from error
    for task in loaded["tasks"].values():
        if task.OUTPUT_TYPE not in ("loglikelihood", "loglikelihood_rolling", "multiple_choice", "generate_until"):
            raise BadData(f"task {task.task_name}: its output type {task.OUTPUT_TYPE} cannot be asked")
        if getattr(task, "MULTIMODAL", False):
            raise BadData(f"task {task.task_name} shows media: here tasks of language alone are asked")
        if missing := [name for name, function in getattr(task, "_metric_fn_list", {}).items() if function is None]:
            raise BadData(f"task {task.task_name}: the harness has no metric {', '.join(missing)}")
        refuse(task)
        _check_sentences(task)
        said = task.get_config("num_fewshot")
        if shots is not None and said != 0:
            task.set_config(key="num_fewshot", value=shots)
        elif said is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    return loaded


def _check_sentences(task: Any) -> None:
    """Raises `BadData` for IFEval where what counts sentences is missing: it would fail at the end."""
    import nltk

    if "instructions_registry" not in getattr(task.config.process_results, "__globals__", {}):
        return
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError as error:
        raise BadData(
            f"task {task.task_name} counts sentences with NLTK's punkt_tab, which is not here and could not be fetched."
            " Where there is a network: python -m nltk.downloader punkt_tab; then bring its nltk_data folder and set"
            " NLTK_DATA"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def seed() -> None:
    """The seeds of the harness, so that examples are those that it draws."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)


def inside(folder: Path | None) -> contextlib.AbstractContextManager[Any]:
    """Paths start in the folder of tasks; `datasets` takes a folder OWNER/NAME there in place of the hub's."""
    return contextlib.chdir(folder) if folder else contextlib.nullcontext()
