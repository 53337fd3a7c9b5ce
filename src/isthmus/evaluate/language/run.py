"""Asking a composed model tasks of lm-evaluation-harness, into the folder of a run (see `evaluate.harness`).

    OUT/TASK/predictions.jsonl     the samples as the harness logs them
             samples.jsonl         a line for each question, for `isthmus report`
             answers-*.db          what was answered: a run that is stopped, or done again, asks only what is not there

A task is a task, a group or a tag of the harness, or of a folder of one's own.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus.errors import BadData, BadRecipe
from isthmus.evaluate import models, told
from isthmus.evaluate.harness import RESULTS, RUN, put
from isthmus.evaluate.language.tasks import find, inside, load, quiet, seed
from isthmus.evaluate.language.told import predictions, samples, scored


def language(
    model_name: str,
    tasks: Sequence[str],
    out: Path,
    limit: int | None = None,
    shots: int | None = None,
    folder: Path | None = None,
    console: Console | None = None,
    chat: bool = False,
) -> dict[str, Any]:
    """Ask a model tasks, put their figures beside those that `out` has, and return what its `results.json` holds.

    Args:
        model_name: of a composed model.
        tasks: names, as `lm-eval ls tasks` lists them, or of `folder`.
        limit: so many questions of each task, the first ones.
        shots: examples before each question, where the task does not forbid any; by default as many as the task says.
        folder: with tasks in YAML, and with data: a task whose data are `allenai/ai2_arc` takes those of
            `folder`/allenai/ai2_arc, and paths in a task's file may start there.
        chat: ask in the model's chat template.

    Raises:
        UnknownName: for a task or a model that does not exist; before anything is asked.
        BadRecipe: for a model that is not composed, or an `out` of another model; likewise.
        BadData: for a task that cannot be used, or whose data cannot be loaded; likewise.
    """
    console = console or Console(stderr=True)
    if models.kind(model_name) != "composed":
        raise BadRecipe(
            f"{model_name} is no composed model: language benchmarks ask one of these. For another, `lm_eval --model hf"
            " --model_args pretrained=NAME --tasks ...` is the harness's own command"
        )
    if (limit is not None and limit < 1) or (shots is not None and shots < 0):
        raise BadRecipe(f"limit={limit}, shots={shots}: a limit is at least 1, and shots are 0 or more")
    out, folder = out.absolute(), folder.expanduser().absolute() if folder else None
    if folder is not None and not folder.is_dir():
        raise BadData(f"{folder}: no such folder of tasks")
    with quiet():
        with console.status("looking for tasks"):
            manager, names = find(tasks, folder)
        loaded = {name: load(manager, name, shots, folder) for name in names}
        _begin(out, model_name)
        facts = models.facts(model_name)
        lm = _opened(model_name)
        for name, its in loaded.items():
            _one(name, its, lm, out, str(facts["sha256"]), limit, shots, chat, folder, console)
    return _results(out)


def _opened(name: str) -> Any:
    from isthmus.evaluate.language import ComposedLM

    return ComposedLM(name)


def _one(
    name: str, loaded: Any, lm: Any, out: Path, digest: str, limit: int | None, shots: int | None, chat: bool,
    folder: Path | None, console: Console,
) -> None:  # fmt: skip
    """A task from its prompts to its figures."""
    from lm_eval.evaluator import evaluate

    from isthmus.evaluate.language.programs import isolated

    own = out / name.replace("/", "__")
    own.mkdir(parents=True, exist_ok=True)
    lm.cut.clear()
    columns = (TextColumn("{task.description:>20}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    cached = _remembering(lm, own / f"answers-{digest[:12]}.db")
    with (
        contextlib.closing(cached.dbdict),
        inside(folder),
        Progress(*columns, TimeRemainingColumn(), console=console, refresh_per_second=2) as bar,
    ):
        shown = bar.add_task(name, visible=False)
        lm.progress = lambda what, done, total: bar.update(
            shown, description=f"{name}: {what}", completed=done, total=total, visible=True
        )
        seed()
        found: Any = evaluate(
            cached, loaded, limit=limit, bootstrap_iters=1000, apply_chat_template=chat, fewshot_as_multiturn=chat,
            confirm_run_unsafe_code=True,  # `refuse` has seen to it
        )  # fmt: skip
    of = sum(int(count["original"]) for count in found["n-samples"].values())
    figures, headline = scored(name, found, lm.cut, chat, limit, isolated(loaded["tasks"].values()))
    put(own / "predictions.jsonl", predictions(found))
    put(own / "samples.jsonl", samples(name, found, headline))
    results = _results(out)
    whole = figures.to_dict(name, "official") | {"notes": figures.notes, "headline": headline}
    results["benchmarks"][name] = whole | {
        "asked": {"limit": limit, "of": of, "shots": shots, "chat": chat, "sha256": digest}
    }
    put(out / RESULTS, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    told.show(name, "official", figures, console)


def _remembering(lm: Any, path: Path) -> Any:
    """A model that asks only what its file does not have, and writes each answer down as soon as it is there.

    The harness has this too, but its file holds pickles: one that came with a run's folder could run anything.
    """
    from lm_eval.api.model import CachingLM
    from sqlitedict import SqliteDict

    class Remembering(CachingLM):  # type: ignore[misc]
        def __init__(self) -> None:
            self.lm, self.cache_db = lm, str(path)
            self.dbdict = SqliteDict(self.cache_db, autocommit=True, encode=json.dumps, decode=json.loads)
            lm.set_cache_hook(self.get_cache_hook())

    try:
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise BadData(f"{path}, what was answered before, cannot be read ({error}). Delete it to ask again") from error
    return Remembering()


def _begin(out: Path, model: str) -> None:
    """Claim a folder for a model; one that other benchmarks of this model were asked into will do."""
    if not (out / RUN).exists():
        if out.exists() and any(out.iterdir()):
            raise BadRecipe(f"{out} holds something else already. Choose another --out")
        put(out / RUN, json.dumps({"model": model}, indent=1) + "\n")
    if not (out / RESULTS).exists():
        put(out / RESULTS, json.dumps({"model": model, "benchmarks": {}}, indent=1) + "\n")
    if (before := _results(out).get("model")) != model:
        raise BadRecipe(f"{out} was begun with the model {before}, not {model}. Choose another --out")


def _results(out: Path) -> dict[str, Any]:
    try:
        found = json.loads((out / RESULTS).read_text(encoding="utf-8"))
        if isinstance(found["benchmarks"], dict):
            return dict(found)
        raise ValueError("`benchmarks` is no object")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadData(f"{out / RESULTS} cannot be read ({error}). Choose another --out") from error
