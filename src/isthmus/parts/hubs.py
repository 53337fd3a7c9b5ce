"""Checkpoints on the hub that have a name here: `llm: qwen2.5-0.5b-instruct` is `hf://Qwen/Qwen2.5-0.5B-Instruct@main`.

Nothing of them is pinned: what a name gives is what its makers have there. A composed model records the SHA-256 of
what it was made of, and refuses another. To pin one, write `hf://org/name@` and a commit. Adding one is adding a line.

Where a main branch holds pickles only, the name stands for the revision in which the hub's own converter (SFconvertbot)
added safetensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.parts.catalog import Kind


@dataclass(frozen=True)
class Checkpoint:
    """A model on the hub.

    `repository` is org/name, with @ and a revision where that is not its main branch. `parameters` are those of what is
    loaded: of an encoder, without the head or the other half that it is under. `frame` is how an LLM is spoken to whose
    tokenizer has no chat template (see `data.frames`). `note` is what it was made for, or what to know of its files.
    """

    name: str
    kind: Kind
    repository: str
    parameters: int
    licence: str
    frame: str | None = None
    note: str = ""

    @property
    def source(self) -> str:
        return f"hf://{self.repository}" + ("" if "@" in self.repository else "@main")


_GATED = "ask its makers for access"
_CONVERTED = "safetensors by the hub's converter: its main branch holds pickles, which are not loaded"
_PARALLEL = "PaLM's parallel block"

_LLMS = [
    ("llama-7b", "huggyllama/llama-7b", 6_738_415_616, "LLaMA, non-commercial", "plain", ""),
    ("llama-2-7b-chat", "meta-llama/Llama-2-7b-chat-hf", 6_738_415_616, "Llama 2", None, _GATED),
    ("llama-3-8b-instruct", "meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248, "Llama 3", None, _GATED),
    ("llama-3.2-1b-instruct", "meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, "Llama 3.2", None, _GATED),
    (
        "vicuna-7b-v1.5",
        "lmsys/vicuna-7b-v1.5@e47d451158f817a9cea20bb0f73b854c9832a85d",
        6_738_415_616,
        "Llama 2",
        "vicuna",
        _CONVERTED,
    ),
    ("qwen2-0.5b-instruct", "Qwen/Qwen2-0.5B-Instruct", 494_032_768, "Apache-2.0", None, ""),
    ("qwen2.5-0.5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, "Apache-2.0", None, ""),
    ("qwen3-0.6b", "Qwen/Qwen3-0.6B", 596_049_920, "Apache-2.0", None, ""),
    ("smollm-135m-instruct", "HuggingFaceTB/SmolLM-135M-Instruct", 134_515_008, "Apache-2.0", None, ""),
    ("smollm2-360m-instruct", "HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120, "Apache-2.0", None, ""),
    ("gpt2", "openai-community/gpt2", 124_439_808, "MIT", "plain", ""),
    (
        "gpt-j-6b",
        "EleutherAI/gpt-j-6b@f3f428825b6fc4c087af475ea729ac652edeee33",
        6_050_882_784,
        "Apache-2.0",
        "plain",
        f"{_PARALLEL}; {_CONVERTED}",
    ),
    ("pythia-160m", "EleutherAI/pythia-160m", 162_322_944, "Apache-2.0", "plain", _PARALLEL),
    ("flan-t5-small", "google/flan-t5-small", 76_961_152, "Apache-2.0", "seq2seq", "media go to its encoder"),
    ("flan-t5-base", "google/flan-t5-base", 247_577_856, "Apache-2.0", "seq2seq", "media go to its encoder"),
]

_ENCODERS = [
    ("vit-base-patch16-224", "google/vit-base-patch16-224", 85_798_656, "Apache-2.0", ""),
    ("swin-tiny", "microsoft/swin-tiny-patch4-window7-224", 27_519_354, "Apache-2.0", ""),
    ("clip-vit-large", "openai/clip-vit-large-patch14", 303_179_776, "MIT", ""),
    ("siglip-base", "google/siglip-base-patch16-224", 85_797_120, "Apache-2.0", ""),
    ("siglip2-base", "google/siglip2-base-patch16-256", 85_843_200, "Apache-2.0", ""),
    ("dinov2-base", "facebook/dinov2-base", 86_580_480, "Apache-2.0", ""),
    ("dinov3-small", "facebook/dinov3-vits16-pretrain-lvd1689m", 21_596_544, "DINOv3", _GATED),
    ("wav2vec2-base-960h", "facebook/wav2vec2-base-960h", 94_371_712, "Apache-2.0", ""),
    ("ast-audioset", "MIT/ast-finetuned-audioset-10-10-0.4593", 86_187_264, "BSD-3-Clause", ""),
    (
        "timesformer-base-k400",
        "facebook/timesformer-base-finetuned-k400@refs/pr/5",
        121_258_752,
        "CC-BY-NC-4.0",
        _CONVERTED,
    ),
    ("videomae-base", "MCG-NJU/videomae-base", 86_225_664, "CC-BY-NC-4.0", ""),
    ("videoprism-base", "MHRDYN7/videoprism-base-f16r288", 114_365_184, "Apache-2.0", ""),
    ("patchtst-etth1", "ibm-granite/granite-timeseries-patchtst", 616_000, "Apache-2.0", "7 channels"),
]

CHECKPOINTS: dict[str, Checkpoint] = {
    one.name: one
    for one in (
        *(Checkpoint(a, "llm", b, c, d, frame=e, note=f) for a, b, c, d, e, f in _LLMS),
        *(Checkpoint(a, "encoder", b, c, d, note=e) for a, b, c, d, e in _ENCODERS),
    )
}
