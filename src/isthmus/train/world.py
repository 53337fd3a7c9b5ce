"""The processes that train together: one alone, or several under torchrun or Slurm (`docs/scaling.md`).

Each step's batch is divided among them and its gradient is that of the whole batch, so one recipe takes the same steps
on any number of processes, but for what is random within a step (dropout, noise, masks). What is replicated is torch's
DDP; with `shard`, the LLM's weights, gradients and moments are divided by torch's FSDP2, among all processes or among
those of each machine. Encoders and connectors are never divided: a process whose share of a batch has no picture does
not run them, and one that waited there for the others' weights would wait for ever.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from isthmus.connectors._sight import layers
from isthmus.errors import BadRecipe

PATIENCE = timedelta(hours=4)  # that a process waits for the others, such as while one of them encodes media
Shard = Literal["all", "machine"]
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a run, as one of them sees it."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shard: Shard | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """What of the items falls to this process.

        >>> World(1, 3).share("abcdefg")
        'be'
        """
        return items[self.rank :: self.size]

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes; the same bits on all of them."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return total.tolist()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor of floating point becomes its mean over the processes: statistics that each took of its share."""
        for tensor in tensors if self.size > 1 else ():
            if tensor.is_floating_point():
                distributed.all_reduce(tensor)
                tensor /= self.size

    def wait(self) -> None:
        """Until every process is here."""
        self.sum(0.0)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process does this before the others do."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def precision(self) -> AbstractContextManager[Any]:
        """How a step computes: in bfloat16 where a GPU can, with weights and moments in float32; as it is elsewhere."""
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()

    def place(self, model: Any) -> None:
        """Put a composed model where it is to compute; of an LLM that is going to be divided, the rest.

        Where the LLM is divided, a gradient reaches its embeddings in every process: of a share without media there
        would be no backward pass through layers that do not learn, and the others wait there for this one's weights.
        """
        (model.encoders if self.shard else model).to(self.device)
        model.connectors.to(self.device)
        if self.shard:
            model.get_input_embeddings().register_forward_hook(_followed)

    def replicate(self, objective: Any, model: nn.Module) -> Any:
        """The objective, whose gradients are summed over the processes as they come (DDP)."""
        if self.size == 1:
            return objective
        whole = _Whole(objective, model)
        every = whole.named_parameters(remove_duplicate=False)  # a tied weight has two names
        sharded = [name for name, weight in every if isinstance(weight, DTensor)]
        whole._ddp_params_and_buffers_to_ignore = sharded  # type: ignore[assignment]
        # A part without a medium in this process's share gets no gradient here, and is waited for unless it is looked
        # for. Then its sum is begun sooner than in other processes, so that FSDP's have a group of their own. Every
        # process has made the same weights, or read them from the same state.
        return nn.parallel.DistributedDataParallel(
            whole,
            process_group=distributed.new_group(),
            find_unused_parameters=True,
            init_sync=False,
            forward_sync_buffers=False,
        )

    def spread(self, model: Any) -> None:
        """Divide the LLM of a composed model among the processes (FSDP2); its weights become `DTensor`s.

        Raises `BadRecipe` for one whose weights are held in four bits.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

        if any(not weight.is_floating_point() for weight in model.llm.parameters()):
            raise BadRecipe("--shard: an LLM in four bits is not divided. Leave one of the two out")
        half = torch.bfloat16 if self.device.type == "cuda" and torch.cuda.is_bf16_supported() else None
        local = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        apart = self.shard == "machine" and local < self.size
        shape, names = ((self.size // local, local), ("replicate", "shard")) if apart else ((self.size,), ("shard",))
        how: Any = {
            "mesh": init_device_mesh(self.device.type, shape, mesh_dim_names=names),
            "mp_policy": MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32 if half else None),
        }
        for layer in layers(model.llm):
            fully_shard(layer, **how)
        whole = {*model.encoders.parameters(), *model.connectors.parameters()}
        fully_shard(model, ignored_params=whole, **how)
        for name in ("hidden", "read"):
            register_fsdp_forward_method(model, name)


ALONE = World()


def _followed(module: nn.Module, inputs: Any, output: Tensor) -> None:
    if module.training and torch.is_grad_enabled():
        output.requires_grad_(True)


class _Whole(nn.Module):
    """An objective as a module, as DDP wants it: the forward is the loss, the parameters are all that is trained.

    DDP begins to sum when the first of its gradients is there; in a share without media that may be only the anchor's.
    """

    def __init__(self, objective: Any, model: nn.Module) -> None:
        super().__init__()
        self.objective, self.model = objective, model
        self.anchor = nn.Parameter(torch.zeros((), device=next(model.parameters()).device))
        self.own = nn.ParameterList(w for weights in getattr(objective, "own", {}).values() for w in weights)

    def forward(self, samples: Any, seen: Any) -> tuple[Tensor, int]:
        """What the objective says."""
        loss, count = self.objective(samples, seen)
        return loss + 0 * self.anchor, count


def norm_of(gradients: Sequence[Tensor]) -> float:
    """The norm of gradients, whether or not they are divided among processes."""
    total = 0.0
    for divided in (False, True):
        if some := [gradient for gradient in gradients if isinstance(gradient, DTensor) is divided]:
            norm = torch.nn.utils.get_total_norm(some)
            total += float(norm.full_tensor() if isinstance(norm, DTensor) else norm) ** 2
    return math.sqrt(total)


@contextmanager
def world(shard: Shard | None = None) -> Iterator[World]:
    """The processes that were launched with this one; this one alone where none were.

    With a GPU for each process of a machine, each takes its own; else all take the CPU.
    """
    cuda = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if shard:
            raise BadRecipe(
                f"--shard {shard}: one process has nobody to share with. Launch several: launch/torchrun.sh"
            )
        yield World(device=torch.device("cuda" if cuda else "cpu"))
        return
    from accelerate import PartialState

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    state = PartialState(cpu=not cuda or local > torch.cuda.device_count(), timeout=PATIENCE)
    try:
        yield World(state.process_index, state.num_processes, state.device, shard)
    finally:
        state.destroy_process_group()
        PartialState._reset_state()
