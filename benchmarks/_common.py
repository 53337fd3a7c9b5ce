"""What every benchmark needs: the machine in words, the matrix products' peak, memory, and rows of results."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

from isthmus.types import IGNORE_INDEX

RESULTS = Path(__file__).parent / "results"
SMALL_IS_GOOD = ("loss", "MB", "MFLOP", "seconds")  # units of which less is better: their ratio is turned round
SHAPES = ((1024, 1024, 1024), (1024, 576, 1536), (2048, 2048, 2048))  # rows, inner, columns


def machine() -> str:
    """CPU model, cores, threads, torch: no names of hosts or folders."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(models) or torch.get_num_threads()
    cpu = models[0] if models else platform.processor() or platform.machine()
    return f"{cpu}, {cores} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def matmul(rows: int, inner: int, columns: int, seconds: float = 0.25) -> tuple[float, float]:
    """GFLOP of `torch.mm` in fp32 per wall second and per CPU second: the best of four stretches of CPU seconds.

    One stretch by the clock would tell of other programs on a busy machine, and a share of it would look too good.
    """
    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    into = a @ b
    found = []
    for _ in range(4):
        done, wall, cpu = 0, time.perf_counter(), time.process_time()
        while time.process_time() - cpu < seconds:
            torch.mm(a, b, out=into)
            done += 1
        work = 2e-9 * rows * inner * columns * done
        found.append((work / (time.perf_counter() - wall), work / (time.process_time() - cpu)))
    return max(wall for wall, _ in found), max(cpu for _, cpu in found)


def best_shape() -> tuple[int, int, int]:
    """The shape whose product is fastest on this machine, by CPU seconds."""
    return max(SHAPES, key=lambda shape: matmul(*shape)[1])


def needed(config: Any, rank: int, row: Any) -> float:
    """Floating-point operations of the matrix products of a row's loss and gradients, with LoRA of this rank.

    A frozen weight takes 2 a token forward and 2 backward to its input, one of LoRA 2 more for its own gradient.
    Attention takes 4 D for each pair of positions that see each other forward and 8 D backward, the head's weights 4
    at each position whose next token is supervised. The encoder and the connector (under 1 %) are left out.
    """
    width, heads = config.hidden_size, config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    shapes = [(width, heads), (width, kv), (width, kv), (heads, width)]
    shapes += [(width, config.intermediate_size)] * 2 + [(config.intermediate_size, width)]
    weights = sum(4 * i * o + 6 * rank * (i + o) for i, o in shapes)
    prefix = row.segments.count(0)
    turns = [row.segments.count(number) for number in range(1, max(row.segments) + 1)]
    pairs = prefix * (prefix + 1) / 2 + sum(n * prefix + n * (n + 1) / 2 for n in turns)
    with_logits = sum(label != IGNORE_INDEX for label in row.labels)
    layers = config.num_hidden_layers
    return float(layers * (weights * len(row.ids) + 12 * heads * pairs) + 4 * width * config.vocab_size * with_logits)


def result(name: str, ours: float, peer: float, peer_name: str, unit: str, how: dict[str, Any]) -> dict[str, Any]:
    """One row of a result: `ratio` above one means that ours is better."""
    ours, peer = float(f"{ours:.5g}"), float(f"{peer:.5g}")
    ratio = round(peer / ours if unit in SMALL_IS_GOOD else ours / peer, 3)
    print(f"{name:<64} ours {ours:<9g} {peer_name:<12} {peer:<9g} ratio {ratio:<6g} {unit}", flush=True)
    row = {"name": name, "ours": ours, "peer": peer, "peer_name": peer_name, "ratio": ratio, "unit": unit}
    return row | {"machine": machine(), "how": how}


def merge(path: Path, fresh: list[dict[str, Any]]) -> None:
    """Write rows into a result, in place of those of the same name and machine."""
    path.parent.mkdir(exist_ok=True)
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    replaced = {(row["name"], row["machine"]) for row in fresh}
    kept = [row for row in old if (row["name"], row["machine"]) not in replaced]
    path.write_text(json.dumps(kept + fresh, indent=1) + "\n", encoding="utf-8")
