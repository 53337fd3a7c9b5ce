"""Several encoders of pictures at once, as one: each sees every picture in its own way, and their features are joined.

`channel`: at each place, the features of all beside each other, as Prismatic joins DINOv2 and SigLIP (Karamcheti et
al., 2024, arXiv:2402.07865, section 4.2):

    f = [f_1; f_2]                                  N = h w,  D = D_1 + D_2

`token`: at each place, the feature of one after that of the other, as Interleaved-MoF has them (Tong et al., 2024,
arXiv:2401.06209, section 4.2). Each has channels of its own and zeros elsewhere, so that a connector's first linear map
holds a projection for each encoder, as that paper's adapters do, though widths differ:

    f = [f_1; 0], [0; f_2]                          N = 2 h w,  D = D_1 + D_2
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import PIL.Image
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, BatchFeature, PreTrainedConfig
from transformers.image_processing_utils import BaseImageProcessor

from isthmus.encoders import _pictures, _reader
from isthmus.errors import BadRecipe
from isthmus.registry import find

Join = Literal["channel", "token"]
JOINS: tuple[Join, ...] = get_args(Join)


class SeveralConfig(PreTrainedConfig):  # type: ignore[misc]
    """The configurations of several encoders.

    Args:
        each: as dictionaries, in the encoders' order.
    """

    model_type = "isthmus_several"

    each: list[dict[str, Any]] = field(default_factory=list)

    @property
    def own(self) -> list[Any]:
        """Each encoder's own configuration, in the dtype that all are wanted in."""
        dtype = {} if self.dtype is None else {"dtype": self.dtype}
        return [AutoConfig.for_model(**facts | dtype) for facts in self.each]


class Encoders(nn.ModuleList):
    """The models, in order, with one configuration for all."""

    base_model_prefix = ""  # which PEFT asks of every model that has a configuration

    def __init__(self, models: Iterable[nn.Module], config: SeveralConfig) -> None:
        super().__init__(models)
        self.config = config


class SeveralImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Pictures as each encoder's own image processor prepares them.

    Args:
        each: the image processors, or what their `to_dict` says.
    """

    def __init__(self, each: Sequence[Any] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.each = [
            _reader.known(one.get("image_processor_type"))(**one) if isinstance(one, dict) else one for one in each
        ]

    @property
    def largest(self) -> Any:
        """The one that makes the largest pictures: what is cut into tiles for it holds enough for all."""
        return max(self.each, key=_pictures.side)

    @property
    def size(self) -> dict[str, int]:
        """The largest picture's sides."""
        return dict.fromkeys(("height", "width"), _pictures.side(self.largest))

    @property
    def resample(self) -> int:
        """How the largest are resized."""
        return int(self.largest.resample)

    def to_dict(self) -> dict[str, Any]:
        """What `AutoImageProcessor` reads."""
        return {"image_processor_type": type(self).__name__, "each": [one.to_dict() for one in self.each]}

    def __call__(self, images: Sequence[PIL.Image.Image], return_tensors: str = "pt", **kwargs: Any) -> BatchFeature:
        """`pixel_values` [B, 3 K, S, S] for K encoders; smaller pictures lie in the upper left corner, on zeros."""
        made = [_pictures.prepared(one, images, **kwargs).pixel_values for one in self.each]
        side = self.size["height"]
        filled = [nn.functional.pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2])) for x in made]
        return BatchFeature({"pixel_values": torch.cat(filled, 1)})


@dataclass(frozen=True)
class Several:
    """What the rest of Isthmus reads of an encoder's file, for several encoders; `sizes` are those of their pictures.

    `load` and `reader` take a folder for each.
    """

    names: Sequence[str]
    sizes: Sequence[int]
    join: Join
    KIND: ClassVar[str] = "image"

    @property
    def files(self) -> list[Any]:
        """The encoders' own files."""
        return [find("isthmus.encoders", name) for name in self.names]

    def load(self, folders: Sequence[Path]) -> Encoders:
        """The models; raises as each file's `load` does."""
        models = [file.load(folder) for file, folder in zip(self.files, folders, strict=True)]
        for model in models:
            model.config.name_or_path = ""  # a path of this machine, which a checkpoint would carry away
        return Encoders(models, SeveralConfig(each=[model.config.to_dict() for model in models]))

    def build(self, config: SeveralConfig) -> Encoders:
        """The models without weights."""
        pairs = zip(self.files, config.own, strict=True)
        return Encoders(
            (
                file.build(own) if hasattr(file, "build") else AutoModel.from_config(own, trust_remote_code=False)
                for file, own in pairs
            ),
            config,
        )

    def reader(self, folders: Sequence[Path], sizes: Sequence[int]) -> SeveralImageProcessor:
        """Each part's own image processor."""
        return SeveralImageProcessor(
            [
                getattr(file, "reader", _pictures.usual)(folder, size)
                for file, folder, size in zip(self.files, folders, sizes, strict=True)
            ]
        )

    def grid(self, config: SeveralConfig, sizes: Sequence[int]) -> tuple[int, ...]:
        """How the features lie: rows, columns; by token, each column holds as many as there are encoders.

        Raises `BadRecipe` for encoders whose own grids differ (it names sizes with which they do not).
        """
        grids = [file.grid(own, size) for file, own, size in zip(self.files, config.own, sizes, strict=True)]
        for name, its in zip(self.names, grids, strict=True):
            if len(its) != 2:
                raise BadRecipe(f"{name} cuts pictures into tiles itself, so it cannot be one of several encoders")
        if len(set(grids)) > 1:
            what = ", ".join(
                f"{name} {its[0]} x {its[1]} of {size} pixels"
                for name, its, size in zip(self.names, grids, sizes, strict=True)
            )
            alike = [fit for its in grids if (fit := self._sizes(config, its))]
            hint = f" For example size: {alike[0]}" if alike else ""
            raise BadRecipe(f"the features of several encoders have to lie alike, and these do not: {what}.{hint}")
        rows, columns = grids[0]
        return rows, columns * (len(grids) if self.join == "token" else 1)

    def _sizes(self, config: SeveralConfig, grid: tuple[int, ...]) -> list[int]:
        """The least size of each encoder's pictures with which its features lie so; empty where one has none."""
        found = []
        for file, own in zip(self.files, config.own, strict=True):
            step = own.patch_size
            fits = (size for size in range(step, 2 * max(grid) * step * 32, step) if _grid(file, own, size) == grid)
            found.append(next(fits, 0))
        return found if all(found) else []

    def width(self, config: SeveralConfig) -> int:
        """D: the widths of all."""
        return sum(self._widths(config))

    def _widths(self, config: SeveralConfig) -> list[int]:
        pairs = zip(self.files, config.own, strict=True)
        return [file.width(own) if hasattr(file, "width") else own.hidden_size for file, own in pairs]

    def encode(self, model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
        """Features [B, N, D] of pictures as `SeveralImageProcessor` gives them."""
        parts = zip(self.files, model, self.sizes, torch.split(pixels_BCHW, 3, 1), strict=True)
        each = [file.encode(one, pixels[..., :size, :size]) for file, one, size, pixels in parts]
        if self.join == "channel":
            return torch.cat(each, -1)
        widths = [x.shape[-1] for x in each]
        ends = [sum(widths[: k + 1]) for k in range(len(widths))]
        own = [
            nn.functional.pad(x, (end - width, ends[-1] - end))
            for x, end, width in zip(each, ends, widths, strict=True)
        ]
        return torch.stack(own, 2).flatten(1, 2)


def _grid(file: Any, config: Any, size: int) -> tuple[int, ...] | None:
    try:
        return tuple(file.grid(config, size))
    except BadRecipe:
        return None


AutoConfig.register(SeveralConfig.model_type, SeveralConfig, exist_ok=True)
AutoImageProcessor.register(SeveralConfig, image_processor_classes={"pil": SeveralImageProcessor}, exist_ok=True)
