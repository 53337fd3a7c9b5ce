"""How many bytes do processes send each other in a training step, replicated (DDP) and divided (FSDP2)?

    python benchmarks/communication.py [--quick]  writes benchmarks/results/communication.json

Each line is a run of the recipe `demo`'s parts on two or four processes of this machine, over gloo. Every collective
operation of one step is counted where torch hands it to the process group, by name and by the bytes of its tensors;
what a process then sends is that of ring algorithms: for n processes, 2 (n - 1) / n of what is summed (all-reduce),
and (n - 1) / n of what is gathered or of what is summed and scattered. Beside it stands what weights alone say:
gradients of what is trained are summed once; a divided LLM is gathered twice, forward and backward, and its gradients
are scattered. Seconds are not told: the processes share two cores and no network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "communication.json"
STEPS = 3  # of which the last is counted
SMALL = 1024  # bytes: the loss, whether to stop, norms
WHOLE = "connector and the whole LLM"
TRAINED = {
    "connector and LoRA of rank 16": {"image.connector": 1e-4, "llm": {"lora": 16, "lr": 1e-4}},
    WHOLE: {"image.connector": 1e-4, "llm": 1e-5},
}
SENT = {  # operation of the process group -> its name, and how often its bytes are sent, but for (n - 1) / n
    "allreduce_": ("all-reduce", 2),
    "_allgather_base_": ("all-gather", 1),
    "_reduce_scatter_base_": ("reduce-scatter", 1),
}


def child(trained: str, shard: bool, folder: Path) -> None:
    """One of the processes: a short run, of whose last step the first process prints what was handed over."""
    from rich.console import Console
    from torch.utils._python_dispatch import TorchDispatchMode

    from isthmus.train import loop, run
    from isthmus.train.recipe import Recipe, load_recipe

    calls: Counter[str] = Counter()
    volume: Counter[str] = Counter()
    found: dict[str, Any] = {}
    step = loop._Stage.step

    class Counted(TorchDispatchMode):
        """Notes what is handed to the process group."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func._schema.name.removeprefix("c10d::")
            if name in SENT:
                whole = args[1] if name == "_reduce_scatter_base_" else args[0]  # what is scattered, or gathered
                size = sum(tensor.nbytes for tensor in (whole if isinstance(whole, list) else [whole]))
                if size > SMALL:
                    calls[name] += 1
                    volume[name] += size
            return func(*args, **(kwargs or {}))

    def counted(self: Any) -> Any:
        calls.clear()
        volume.clear()
        facts = step(self)
        found.update(calls=dict(calls), bytes=dict(volume))
        return facts

    loop._Stage.step = counted  # type: ignore[method-assign]
    parts = load_recipe("demo").model.model_dump(exclude_none=True)
    data = {"easy-vqa": {"count": 8, "turns": 2}}
    stage = {"name": "one", "train": TRAINED[trained], "data": data, "steps": STEPS, "batch": 4}
    recipe = Recipe.model_validate({"name": "communication", "model": parts, "stages": [stage]})
    with Counted():
        done = run.train(recipe, folder, shard="all" if shard else None, console=Console(quiet=True))
    if os.environ["RANK"] == "0":
        weights = {"llm": done.model.llm, "connector": done.model.connectors}
        found |= {name: sum(w.numel() for w in module.parameters()) for name, module in weights.items()}
        found["adapter"] = sum(w.numel() for name, w in done.model.llm.named_parameters() if ".lora_" in name)
        print(json.dumps(found))


def measure(trained: str, shard: bool, processes: int) -> dict[str, Any]:
    """One line of the result."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        line += [__file__, "--child", trained, "--out", f"{folder}/run", *(["--shard"] if shard else [])]
        env = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    facts = json.loads(done.stdout.splitlines()[-1])
    full = trained == WHOLE
    learned = 4 * (facts["connector"] + (facts["llm"] if full else facts["adapter"]))
    expected = sent("allreduce_", learned, processes)
    if shard:
        expected = sent("allreduce_", 4 * facts["connector"], processes)
        expected += sent("_allgather_base_", 2 * 4 * facts["llm"], processes)
        expected += sent("_reduce_scatter_base_", learned - 4 * facts["connector"], processes)
    measured = sum(sent(name, size, processes) for name, size in facts["bytes"].items())
    how = "divided" if shard else "replicated"
    print(f"{trained}, {how}, {processes}: {measured / 1e6:,.1f} MB sent, {expected / 1e6:,.1f} expected")
    return {
        "trained": trained,
        "llm": how,
        "processes": processes,
        "operations": {SENT[name][0]: count for name, count in facts["calls"].items()},
        "handed over, MB": {SENT[name][0]: round(size / 1e6, 2) for name, size in facts["bytes"].items()},
        "sent by a process, MB": round(measured / 1e6, 2),
        "expected from weights alone, MB": round(expected / 1e6, 2),
    }


def sent(name: str, size: float, processes: int) -> float:
    """Bytes that a process sends for an operation on so many, by a ring algorithm."""
    return SENT[name][1] * size * (processes - 1) / processes


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one line, nothing written")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shard", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.shard, given.out)
        return
    if given.quick:
        measure(next(iter(TRAINED)), True, 2)
        return
    lines = [measure(trained, shard, n) for trained in TRAINED for shard in (False, True) for n in (2, 4)]
    RESULT.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
