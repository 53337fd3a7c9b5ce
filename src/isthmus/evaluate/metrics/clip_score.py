"""CLIPScore: does a caption fit its picture, by the cosine of their CLIP embeddings.

Hessel et al., 2021, arXiv:2104.08718: CLIPScore = 2.5 max(cos(caption, picture), 0), and with references RefCLIPScore,
the harmonic mean of that and max over references of max(cos(caption, reference), 0). The published figures are of
ViT-B/32 and of captions that follow the words "A photo depicts".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import PartUnavailable

Floats = npt.NDArray[np.float64]
WEIGHT = 2.5
PREFIX = "A photo depicts "
BATCH = 32


def clip_score(captions_ND: npt.ArrayLike, images_ND: npt.ArrayLike) -> Floats:
    """CLIPScore of each caption and its picture [N], between 0 and 2.5, of their embeddings.

    >>> clip_score([[1, 0], [1, 1]], [[0.6, 0.8], [-1, 0]]).round(4).tolist()
    [1.5, 0.0]
    """
    cosines_N = (_unit(captions_ND) * _unit(images_ND)).sum(-1)
    return np.asarray(WEIGHT * np.clip(cosines_N, 0, None), float)


def ref_clip_score(captions_ND: npt.ArrayLike, images_ND: npt.ArrayLike, references: Sequence[npt.ArrayLike]) -> Floats:
    """RefCLIPScore of each caption [N]; `references` holds for each caption its references' embeddings [R, D].

    >>> ref_clip_score([[1, 0]], [[0.6, 0.8]], [[[0.8, 0.6], [0, 1]]]).round(4).tolist()  # 2 (1.5 x 0.8) / (1.5 + 0.8)
    [1.0435]
    """
    fit_N = clip_score(captions_ND, images_ND)
    pairs = zip(_unit(captions_ND), references, strict=True)
    like_N = np.array([max(float((_unit(some) @ one).max()), 0.0) for one, some in pairs])
    both_N = fit_N + like_N
    found: Floats = np.divide(2 * fit_N * like_N, both_N, out=np.zeros_like(both_N), where=both_N > 0)
    return found


def _unit(vectors: npt.ArrayLike) -> Floats:
    """Each vector at length 1; zeros stay."""
    found = np.asarray(vectors, float)
    lengths = np.linalg.norm(found, axis=-1, keepdims=True)
    return np.asarray(found / np.where(lengths == 0, 1, lengths), float)


class Embedder:
    """A CLIP of a folder, in the form of `transformers`, that embeds captions and pictures.

    Raises `PartUnavailable` for a folder that holds none.
    """

    def __init__(self, folder: Path | str) -> None:
        from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

        try:
            self.model: Any = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.processor: Any = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise PartUnavailable(f"{folder}: no CLIP with its tokeniser and processor here ({error})") from error

    def captions(self, texts: Sequence[str], prefix: str = PREFIX) -> Floats:
        """Embeddings [N, D] of captions, each behind `prefix` and cut at the length that the model takes."""
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                some = [prefix + text for text in texts[start : start + BATCH]]
                longest = self.model.config.text_config.max_position_embeddings
                inputs = self.tokenizer(some, padding=True, truncation=True, max_length=longest, return_tensors="pt")
                found.append(_array(self.model.get_text_features(**inputs)))
        return np.concatenate(found)

    def images(self, images: Sequence[Any]) -> Floats:
        """Embeddings [N, D] of pictures that Pillow opened."""
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                some = [image.convert("RGB") for image in images[start : start + BATCH]]
                found.append(_array(self.model.get_image_features(**self.processor(some, return_tensors="pt"))))
        return np.concatenate(found)


def _array(features: Any) -> Floats:
    """The embeddings of what the model returned: a tensor, or in newer versions an output that holds one."""
    return np.asarray(getattr(features, "pooler_output", features).float().numpy(), float)
