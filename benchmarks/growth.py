"""How a training step's time and memory grow: with the length of samples, the batch, soft tokens, the LLM's size.

    python benchmarks/growth.py [--quick] [--threads N]      writes benchmarks/results/growth.json

A step is forward and backward of connector and LoRA (rank 16) on rows one behind another, as `next-token` makes them,
half of whose text is supervised. Weights are random and of the real shapes of SmolLM2's family: 135M, 360M and 1.7B.
Each case is a process of its own, so that its peak memory is its own; a case that is in the result already, with the
same machine, is not measured again. With a CUDA device, its cases (bf16) come too, the CPU's stay as they are.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _common import RESULTS, best_shape, machine, matmul, needed
from transformers import Dinov2Config, LlamaConfig

from isthmus.data.packing import Row
from isthmus.model import add_lora, blocks
from isthmus.model.composed import IsthmusModel
from isthmus.model.configuration import IsthmusConfig
from isthmus.train.cost import peak_memory
from isthmus.types import IGNORE_INDEX

RESULT = RESULTS / "growth.json"
WORDS, RANK = 49_152, 16
SIZES = {  # width, width of the feed-forward part, layers, heads, heads of keys and values
    "135M": (576, 1536, 30, 9, 3),
    "360M": (960, 2560, 32, 15, 5),
    "1.7B": (2048, 8192, 24, 32, 32),
}
MILLIONS = {"135M": 135, "360M": 362, "1.7B": 1711}


@dataclass(frozen=True)
class Case:
    """One step: `batch` samples of a picture of `soft` tokens (0: none) and `text` tokens each."""

    sweep: str
    size: str = "135M"
    text: int = 128
    batch: int = 2
    soft: int = 16
    device: str = "cpu"


def cases() -> list[Case]:
    """Everything that is measured, on this machine."""
    found = [Case("length", text=length, batch=1, soft=0) for length in (64, 256, 512, 1024, 2048)]
    found += [Case("batch", batch=batch) for batch in (1, 2, 4, 8)]
    found += [Case("soft tokens", text=64, soft=soft) for soft in (16, 64, 256)]
    found += [Case("LLM size", size=size, batch=1) for size in SIZES]
    found.sort(key=lambda case: MILLIONS[case.size] * case.batch * (case.text + case.soft))  # the quick ones first
    if torch.cuda.is_available():
        found += [Case("LLM size", size=size, text=1008, batch=16, device="cuda") for size in SIZES]
        found += [
            Case("length", size="1.7B", text=n, batch=16384 // n, soft=0, device="cuda") for n in (512, 2048, 8192)
        ]
    return found


def model(case: Case) -> IsthmusModel:
    """An LLM of the case's shape with an untrained connector and LoRA, ready to be trained."""
    width, wide, layers, heads, kv = SIZES[case.size]
    config = IsthmusConfig(
        llm_config=LlamaConfig(
            vocab_size=WORDS, hidden_size=width, intermediate_size=wide, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=8192, tie_word_embeddings=True,
        ),
        image_config=Dinov2Config(
            hidden_size=384, num_hidden_layers=1, num_attention_heads=6, image_size=224, patch_size=14
        ),
        encoders={"image": {"name": "vit-s", "size": 224}},
        connectors={"image": {"name": "mlp", "tokens": max(case.soft, 16), "hidden": 1152}},
        placeholders={"image": WORDS},
    )  # fmt: skip
    with torch.device(case.device):
        made = IsthmusModel(config)
    made.requires_grad_(False)
    made.connectors.requires_grad_(True)
    add_lora(made, "llm", RANK, 2 * RANK)
    if case.device == "cuda":
        made.to(torch.bfloat16)
    made.to(case.device).train()
    assert blocks.enable(made)
    return made


def rows(case: Case) -> list[Row]:
    """The samples: slots, then text, the second half of which is supervised."""
    rng, found = random.Random(0), []
    for _ in range(case.batch):
        ids = [WORDS] * case.soft + [rng.randrange(WORDS) for _ in range(case.text)]
        learned = len(ids) - case.text // 2
        labels = [IGNORE_INDEX] * learned + ids[learned:]
        segments = [0] * case.soft + [1] * case.text
        found.append(Row(None, ids, labels, list(range(len(ids))), segments))  # type: ignore[arg-type]
    return found


def step(case: Case) -> tuple[Callable[[], None], float, int]:
    """A step to be timed, its needed floating-point operations, and its tokens."""
    own, some = model(case), rows(case)
    dtype = next(own.llm.parameters()).dtype
    batch = {name: value.to(case.device) for name, value in blocks.flat(some).items()}
    shown = {"image": torch.randn(case.batch, 256, 384, device=case.device, dtype=dtype)} if case.soft else {}

    def run() -> None:
        own.zero_grad()
        own(use_cache=False, features=shown, **batch).loss.backward()
        if case.device == "cuda":
            torch.cuda.synchronize()

    work = sum(needed(own.config.get_text_config(), RANK, row) for row in some)
    return run, work, sum(len(row.ids) for row in some)


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """One case, in this process: medians over `repeats` steps after the first."""
    run, work, tokens = step(case)
    before = resident()
    run()
    taken = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    seconds, cpu = (median(column) for column in zip(*taken, strict=True))
    cuda = case.device == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else (peak_memory() or 0) / 2**20
    best = cuda_matmul() if cuda else matmul(*best_shape(), seconds=1.0)[1]
    rate = work / 1e9 / (seconds if cuda else cpu)
    return asdict(case) | {
        "tokens": tokens, "seconds": round(seconds, 4), "CPU seconds": round(cpu, 4), "GFLOP": round(work / 1e9, 2),
        "MFU": round(rate / best, 4), "matmul GFLOP/s": round(best, 1), "MB": round(peak),
        "MB above weights": None if cuda else round(peak - before), "repeats": repeats,
        "machine": f"{torch.cuda.get_device_name()}, torch {torch.__version__}" if cuda else machine(),
    }  # fmt: skip


def cuda_matmul(side: int = 8192, repeats: int = 30) -> float:
    """GFLOP of `torch.mm` in bf16 per second on the GPU."""
    a = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)
    a @ a
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        a @ a
    torch.cuda.synchronize()
    return 2e-9 * side**3 * repeats / (time.perf_counter() - began)


def resident() -> float:
    """Resident memory of this process now [MB]; 0 where the system does not tell."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def main() -> None:
    """Measure what is not in the result yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one step of the first two cases, not written")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=2, help="steps of each case after the first")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    wanted = cases()[:2] if options.quick else cases()
    done = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() and not options.quick else []
    known = [({key: row[key] for key in asdict(wanted[0])}, row["machine"]) for row in done]
    for case in wanted:
        if case.device == "cpu" and (asdict(case), machine()) in known:
            continue
        with get_context("spawn" if case.device == "cuda" else "fork").Pool(1) as process:
            done.append(process.apply(measure, (case, 1 if options.quick else options.repeats)))
        print(json.dumps(done[-1]), flush=True)
        if not options.quick:
            RESULT.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
