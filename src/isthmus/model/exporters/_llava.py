"""What LLaVA's layout asks of a model, and its projector: both exporters write that layout."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from isthmus.errors import IsthmusError


def check(model: Any, to: str, encoders: Collection[str]) -> None:
    """Raise `IsthmusError` with the reason why the format `to` cannot express a model."""

    def refuse(what: str) -> None:
        raise IsthmusError(f"{to} cannot express this model: {what}")

    if list(model.encoders) != ["image"]:
        refuse(f"it takes {', '.join(model.encoders) or 'no media'}, and LLaVA takes images alone")
    name, encoder = (getattr(model.config, part)["image"]["name"] for part in ("connectors", "encoders"))
    if isinstance(encoder, list):
        refuse(f"it sees through {' and '.join(encoder)}, and LLaVA has one encoder")
    connector = model.connectors["image"]
    if connector.soft is not connector:
        refuse(f"{name} has layers inside the LLM, and programs that read {to} pass soft tokens only")
    if name.replace("_", "-") != "mlp":
        refuse(f"its connector is {name}, and LLaVA's is two linear layers with GELU (mlp)")
    if connector.fewer.ratio != 1:
        refuse("it joins features into fewer soft tokens, and LLaVA has one for each feature")
    if connector.linear_1.out_features != connector.linear_2.out_features:
        refuse(f"the connector's hidden layer is {connector.linear_1.out_features} wide, LLaVA's is as wide as the LLM")
    if encoder.replace("_", "-") not in encoders:
        refuse(f"its encoder is {encoder}; LLaVA takes hidden states before the last norm: {' or '.join(encoders)}")
    size, own = model.config.encoders["image"]["size"], model.encoders["image"].config.image_size
    if size != own:
        refuse(f"its encoder was made for pictures of {own} pixels and is given {size}, and LLaVA resizes no positions")
    if "tiles" in model.config.encoders["image"]:
        refuse("it sees pictures in tiles, and LLaVA's layout has one piece for each")
    if model.config.is_encoder_decoder:
        refuse("its LLM is an encoder-decoder, and LLaVA's is decoder-only")


def projector(connector: Any) -> dict[str, Tensor]:
    """The two layers with what stands around them folded in, exactly:

    W1' = W1 / std,  b1' = b1 - W1 (mean / std),  W2' = gain W2,  b2' = gain b2 + offset
    """
    one, two, gain = connector.linear_1, connector.linear_2, connector.gain
    folded = {
        "linear_1.weight": one.weight / connector.std,
        "linear_1.bias": one.bias - one.weight @ (connector.mean / connector.std),
        "linear_2.weight": two.weight * gain,
        "linear_2.bias": two.bias * gain + connector.offset,
    }
    return {name: tensor.detach() for name, tensor in folded.items()}
