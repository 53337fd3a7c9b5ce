"""The merge: soft tokens take the slots that placeholders hold in the text. It counts and scatters, nothing else."""

from __future__ import annotations

from torch import Tensor

from isthmus.errors import MergeError


def merge(embeds_BTD: Tensor, soft_NMD: Tensor, slots_BT: Tensor, kind: str, keep_NM: Tensor | None = None) -> Tensor:
    """Embeddings with the soft tokens of one kind of media in their slots, in reading order.

    Args:
        embeds_BTD: the text's embeddings.
        soft_NMD: M soft tokens for each of N media of the batch.
        slots_BT: true where the placeholder of this kind stands.
        keep_NM: which soft tokens of each medium stand in the text; None: all.

    Raises:
        MergeError: when the slots are not exactly as many as these soft tokens, or cut a medium's, or the tokens are
            not as wide as the embeddings.
    """
    N, M, _ = soft_NMD.shape
    soft_SD = soft_NMD.flatten(0, 1) if keep_NM is None else soft_NMD[keep_NM]
    slots = int(slots_BT.sum())
    if slots != len(soft_SD):
        raise MergeError(
            f"{kind}: {slots} slots in the text, {len(soft_SD)} soft tokens ({N} media x {M}"
            f"{'' if keep_NM is None else ' at most'})."
            " Was the text truncated, or made by a processor of another model?"
        )
    if keep_NM is None and M and bool((slots_BT.sum(1) % M).any()):
        rows = (slots_BT.sum(1) % M).nonzero()[:, 0].tolist()
        raise MergeError(f"{kind}: row {rows[0]} of the text cuts a medium: its slots are no multiple of {M}")
    if soft_SD.shape[-1] != embeds_BTD.shape[-1]:
        raise MergeError(f"{kind}: soft tokens of {soft_SD.shape[-1]} numbers, embeddings of {embeds_BTD.shape[-1]}")
    return embeds_BTD.masked_scatter(slots_BT.unsqueeze(-1), soft_SD.to(embeds_BTD.dtype))
