"""The merge: soft tokens take the slots that placeholders hold in the text. It counts and scatters, nothing else."""

from __future__ import annotations

from torch import Tensor

from isthmus.errors import MergeError


def merge(embeds_BTD: Tensor, soft_NMD: Tensor, slots_BT: Tensor, kind: str) -> Tensor:
    """Embeddings with the soft tokens of one kind of media in their slots, in reading order.

    Args:
        embeds_BTD: the text's embeddings.
        soft_NMD: M soft tokens for each of N media of the batch.
        slots_BT: true where the placeholder of this kind stands.

    Raises:
        MergeError: when the slots are not exactly N x M.
    """
    N, M, _ = soft_NMD.shape
    slots = int(slots_BT.sum())
    if slots != N * M:
        raise MergeError(
            f"{kind}: {slots} slots in the text, {N * M} soft tokens ({N} media x {M})."
            " Was the text truncated, or made by a processor of another model?"
        )
    return embeds_BTD.masked_scatter(slots_BT.unsqueeze(-1), soft_NMD.to(embeds_BTD.dtype))
