"""Exported models answer as ours do, in the programs that read them; what a format cannot express is refused."""

from __future__ import annotations

import json
import platform
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from PIL import Image as Pil
from safetensors import safe_open
from tiny_parts import Built, noise, picture
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    GgufConfig,
    LlavaForConditionalGeneration,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode
from typer.testing import CliRunner

from isthmus import cli
from isthmus.errors import IsthmusError, UnknownName
from isthmus.model import add_lora, compose, exporters, load, merge_lora, save_full
from isthmus.parts import fetch
from isthmus.parts.catalog import Part
from isthmus.parts.gguf_reader import Gguf
from isthmus.types import Image, Message

LIMIT = 1e-4


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny CLIP."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32}
    CLIPVisionModel(CLIPVisionConfig(**sizes, patch_size=4, image_size=16)).save_pretrained(folder)
    CLIPImageProcessorPil(size={"height": 16, "width": 16}, do_center_crop=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def seeing(folders: dict[str, str], clip: str) -> Callable[..., Built]:
    """A tiny model of CLIP and an LLM, trained in every way there is: numbers of the connector, and an adapter."""

    def make(llm: str = "llama", encoder: str = "clip", connector: str = "mlp", **options: Any) -> Built:
        part = {"encoder": encoder, "connector": connector, "part": clip, "size": 16}
        model, processor = compose(folders[llm], part | options)
        torch.manual_seed(1)
        for weight in (*model.connectors.parameters(), *model.encoders.parameters()):
            torch.nn.init.normal_(weight, std=0.2)
        if soft := model.connectors["image"].soft:
            soft.mean.normal_(), soft.std.uniform_(0.5, 2), soft.offset.normal_(std=0.1), soft.gain.data.fill_(0.7)
        add_lora(model, "llm", r=2, alpha=4)
        for name, weight in model.named_parameters():
            if ".lora_" in name:
                torch.nn.init.normal_(weight, std=0.2)
        return model, processor

    return make


def theirs(folder: Path) -> tuple[Any, Any]:
    model, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval(), AutoProcessor.from_pretrained(folder)


@pytest.mark.parametrize("encoder", ["clip", "clip-whole"])
@pytest.mark.parametrize("llm", ["llama", "qwen2", "gpt2"])
def test_llava_hf_has_the_same_logits_and_answers(
    seeing: Callable[..., Built], tmp_path: Path, llm: str, encoder: str
) -> None:
    model, processor = seeing(llm, encoder)
    exporters.write(model, processor, "llava-hf", tmp_path / "out")
    assert model.config.adapters, "the model itself is as it was"
    other, prepare = theirs(tmp_path / "out")
    answers = []
    for colour in ("red", "blue"):
        batch = processor("is it red ?", noise(colour))
        content = [{"type": "image"}, {"type": "text", "text": "is it red ?"}]
        text = prepare.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = prepare(images=noise(colour).source(), text=text, return_tensors="pt", add_special_tokens=False)
        slots = batch["input_ids"] == model.config.placeholders["image"]
        image = other.config.image_token_id
        assert torch.equal(inputs["input_ids"], batch["input_ids"].masked_fill(slots, image))
        wanted, found = model(**batch).logits, other(**inputs).logits[..., :300]
        torch.testing.assert_close(found, wanted, atol=LIMIT, rtol=0)
        options = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
        mine, its = model.generate(**batch, **options), other.generate(**inputs, **options)
        assert mine[:, -8:].tolist() == its[:, -8:].tolist()
        answers.append(wanted[:, -1])
    assert not torch.allclose(*answers, atol=1e-3)


def test_llava_hfs_template_is_ours_over_several_turns(seeing: Callable[..., Built], tmp_path: Path) -> None:
    model, processor = seeing()
    exporters.write(model, processor, "llava-hf", tmp_path / "out")
    _, prepare = theirs(tmp_path / "out")
    red, blue = noise("red"), noise("blue")
    talk = [
        Message("system", "answer"), Message("user", "is it red ?", (red, blue)), Message("assistant", "yes"),
        Message("user", "is it ?"), Message("assistant", "no"), Message("user", "what colour ?", (blue,)),
    ]  # fmt: skip
    content = [
        {"role": m.role, "content": [*({"type": "image"} for _ in m.media), {"type": "text", "text": m.text}]}
        for m in talk
    ]
    text = prepare.apply_chat_template(content, add_generation_prompt=True)
    pictures = [medium.source() for m in talk for medium in m.media]  # type: ignore[operator]
    its = prepare(images=pictures, text=text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    mine = processor.encode([talk])["input_ids"]
    image = prepare.tokenizer.convert_tokens_to_ids("<image>")
    assert torch.equal(its, mine.masked_fill(mine == model.config.placeholders["image"], image))


def test_llava_hf_names_its_tensors_as_released_checkpoints_do(seeing: Callable[..., Built], tmp_path: Path) -> None:
    exporters.write(*seeing("qwen2"), "llava-hf", tmp_path / "out")
    with safe_open(tmp_path / "out/model.safetensors", "pt") as file:
        names = set(file.keys())
    assert {
        "language_model.lm_head.weight",
        "language_model.model.embed_tokens.weight",
        "multi_modal_projector.linear_1.weight",
        "vision_tower.vision_model.embeddings.class_embedding",
    } <= names
    assert {name.partition(".")[0] for name in names} == {"language_model", "multi_modal_projector", "vision_tower"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tokens": 4}, "fewer soft tokens"),
        ({"hidden": 8}, "hidden layer is 8 wide"),
        ({"connector": "linear"}, "its connector is linear"),
        ({"connector": "qformer", "tokens": 2}, "its connector is qformer"),
        ({"connector": "resampler", "tokens": 2}, "its connector is resampler"),
        ({"connector": "gated_cross_attention"}, "has layers inside the LLM, and programs"),
        ({"connector": "visual_expert"}, "has layers inside the LLM"),
        ({"llm": "t5"}, "encoder-decoder"),
        ({"size": 32}, "made for pictures of 16 pixels and is given 32"),
        ({"tiles": 4}, "it sees pictures in tiles"),
    ],
)
@pytest.mark.parametrize("to", ["llava-hf", "gguf"])
def test_what_cannot_be_expressed_is_refused(
    seeing: Callable[..., Built], tmp_path: Path, options: dict[str, Any], why: str, to: str
) -> None:
    with pytest.raises(IsthmusError, match=why):
        exporters.write(*seeing(**options), to, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["llava-hf", "gguf"])
def test_a_model_without_media_is_refused(folders: dict[str, str], tmp_path: Path, to: str) -> None:
    with pytest.raises(IsthmusError, match="it takes no media, and LLaVA takes images alone"):
        exporters.write(*compose(folders["llama"], None), to, tmp_path / "out")


def test_other_encoders_and_formats_are_refused(build: Callable[..., Built], tmp_path: Path) -> None:
    with pytest.raises(
        IsthmusError, match="its encoder is vit-s; LLaVA takes hidden states before the last norm: clip or clip-whole"
    ):
        exporters.write(*build(tokens=None), "llava-hf", tmp_path / "out")
    with pytest.raises(UnknownName, match="Known: gguf, llava-hf"):
        exporters.write(*build(tokens=None), "onnx", tmp_path / "out")
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(IsthmusError, match="holds something"):
        exporters.write(*build(tokens=None), "llava-hf", tmp_path)


def test_the_commands(seeing: Callable[..., Built], tmp_path: Path) -> None:
    model, processor = seeing("qwen2")
    save_full(model, processor, tmp_path / "model")
    run = CliRunner().invoke
    for arguments in (["export", "model", "--to", "llava-hf", "--out", "hf"], ["import", "hf", "--out", "again"]):
        done = run(cli.app, [str(tmp_path / a) if a in ("model", "hf", "again") else a for a in arguments])
        assert done.exit_code == 0, done.output
        if arguments[0] == "export":
            written, loads = done.stdout.splitlines()[-2:]
            assert written.startswith(f"Written:  {tmp_path / 'hf'} (chat_template.jinja, config.json, ")
            assert loads.startswith("Load it:  LlavaForConditionalGeneration and AutoProcessor of transformers")
    assert "chat --model" in done.output
    again, other = load(tmp_path / "again")
    wanted = model(**processor("is it red ?", picture("red"))).logits
    found = again(**other("is it red ?", picture("red"))).logits[..., :300]
    torch.testing.assert_close(found, wanted, atol=LIMIT, rtol=0)


@pytest.fixture
def written(seeing: Callable[..., Built], tmp_path: Path) -> tuple[Built, Path]:
    """A model, and the folder with its two files."""
    built = seeing("llama")
    exporters.write(*built, "gguf", tmp_path / "out")
    return built, tmp_path / "out"


def test_ggufs_llm_is_ours(written: tuple[Built, Path]) -> None:
    (model, processor), folder = written
    merge_lora(model)
    llm = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file="model.gguf", quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    ).eval()
    ids = processor("what colour is the ball ?")["input_ids"]
    torch.testing.assert_close(llm(ids).logits, model.llm(ids).logits, atol=LIMIT, rtol=0)
    its = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
    text = "<|im_start|>user\nis it red ?<|im_end|>\n"
    assert its(text, add_special_tokens=False).input_ids == processor.tokenizer(text).input_ids
    fields = Gguf(folder / "model.gguf").fields
    assert fields["tokenizer.ggml.tokens"] == processor.tokenizer.convert_ids_to_tokens(list(range(300)))
    assert fields["tokenizer.ggml.eos_token_id"] == processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert fields["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]


def test_ggufs_mmproj_makes_our_soft_tokens(written: tuple[Built, Path]) -> None:
    """The graph of llama.cpp's build_llava, written out in torch on the file's own fields and tensors."""
    (model, processor), folder = written
    reader = gguf.GGUFReader(folder / "mmproj.gguf")
    t = {x.name: torch.from_numpy(x.data.copy()) for x in reader.tensors}
    f = {name: field.contents() for name, field in reader.fields.items()}
    assert (f["general.architecture"], f["general.type"], f["clip.projector_type"]) == ("clip", "mmproj", "mlp")
    assert f["clip.has_vision_encoder"]
    assert not f["clip.use_gelu"]
    depth, heads = f["clip.vision.feature_layer"][0], f["clip.vision.attention.head_count"]
    assert depth == f["clip.vision.block_count"] == 2

    def linear(x: Tensor, name: str) -> Tensor:
        return nn.functional.linear(x, t[f"{name}.weight"], t[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        eps = f["clip.vision.attention.layer_norm_epsilon"]
        return nn.functional.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"], eps)

    mean, std = (processor.image_processor.to_dict()[key] for key in ("image_mean", "image_std"))
    assert f["clip.vision.image_mean"] == pytest.approx(mean)
    assert f["clip.vision.image_std"] == pytest.approx(std)
    pixels = processor.preprocess([noise("red")])
    patches = nn.functional.conv2d(pixels, t["v.patch_embd.weight"], stride=f["clip.vision.patch_size"])
    x = torch.cat([t["v.class_embd"].view(1, 1, -1), patches.flatten(2).mT], 1) + t["v.position_embd.weight"]
    x = norm(x, "v.pre_ln")
    for layer in (f"v.blk.{i}" for i in range(depth)):
        y = norm(x, f"{layer}.ln1")
        q, k, v = (linear(y, f"{layer}.attn_{n}").unflatten(-1, (heads, -1)).transpose(1, 2) for n in "qkv")
        seen = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + linear(seen, f"{layer}.attn_out")
        y = linear(norm(x, f"{layer}.ln2"), f"{layer}.ffn_up")
        x = x + linear(y * torch.sigmoid(1.702 * y), f"{layer}.ffn_down")
    soft = linear(nn.functional.gelu(linear(x[:, 1:], "mm.0")), "mm.2")
    wanted = model.connectors["image"](model.encode("image", pixels))
    torch.testing.assert_close(soft, wanted, atol=LIMIT, rtol=1e-4)


LLAMA_CPP = Part(
    name="llama.cpp",
    kind="data",
    source="npm://@fugood/node-llama-linux-x64@1.7.15",
    package_sha256="5bcc65b29d374cf9da8c012dbad20b8332a93c2e20ab4b129e3003761a45c458",
    size=4_140_914,
    disk=10_412_544,
    licence="MIT",
    about="llama.cpp built for Node",
)


@pytest.mark.skipif(platform.system() + platform.machine() != "Linuxx86_64", reason="llama.cpp was built for Linux")
def test_llama_cpp_answers_as_we_do(written: tuple[Built, Path], tmp_path: Path) -> None:
    """llama.cpp itself reads both files and a picture. It rounds patches and GELU to half precision, hence 2 %."""
    (model, processor), folder = written
    with tarfile.open(fetch.package(LLAMA_CPP)) as archive:
        archive.extract("package/index.node", tmp_path, filter="data")
    letters = bytes_to_unicode()
    seen = []
    for name, colour in (("a.png", (200, 30, 40)), ("b.png", (0, 90, 255))):
        drawn = Pil.new("RGB", (16, 16), colour)
        drawn.paste((255, 255, 0), (2, 3, 7, 12))
        drawn.save(tmp_path / name)
        inputs = processor("is it red ?", Image(str(tmp_path / name)))
        wanted = model(**inputs).logits[0, -1].softmax(-1)
        asked = {
            "model": str(folder / "model.gguf"),
            "mmproj": str(folder / "mmproj.gguf"),
            "prompt": "<|im_start|>user\n<__media__>\nis it red ?<|im_end|>\n<|im_start|>assistant\n",
            "image": str(tmp_path / name),
        }
        binding, said = tmp_path / "package" / "index.node", tmp_path / "said.json"
        line = ["node", str(Path(__file__).with_name("llamacpp.js")), str(binding), str(said)]
        done = subprocess.run(line, input=json.dumps(asked), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        first = json.loads(said.read_text(encoding="utf-8"))
        assert len(first) == 5
        for word, probability in first:
            token = processor.tokenizer.convert_tokens_to_ids("".join(letters[byte] for byte in _bytes(word)))
            assert probability == pytest.approx(wanted[token].item(), rel=0.02)
        assert first[0][1] == pytest.approx(wanted.max().item(), rel=0.02)
        seen.append(wanted)
    assert (seen[0] / seen[1] - 1).abs().max() > 0.2, "the picture matters more than rounding does"


def _bytes(said: str) -> bytes:
    """A token as llama.cpp prints it; half a letter is printed as its number."""
    return bytes.fromhex(said.removeprefix("byte: \\x")) if said.startswith("byte: \\x") else said.encode()


def test_gguf_refuses_other_llms(seeing: Callable[..., Built], tmp_path: Path) -> None:
    with pytest.raises(IsthmusError, match="its LLM has model_type 'qwen2'; only 'llama' is written"):
        exporters.write(*seeing("qwen2"), "gguf", tmp_path / "out")
    with pytest.raises(IsthmusError, match=r"its encoder is clip-whole; LLaVA takes .*: clip"):
        exporters.write(*seeing(encoder="clip-whole"), "gguf", tmp_path / "out")


def test_gguf_refuses_what_it_does_not_write(seeing: Callable[..., Built], tmp_path: Path) -> None:
    model, processor = seeing("llama")
    llm, vision, words = model.llm.config, model.encoders["image"].config, processor.tokenizer.backend_tokenizer

    def refused(why: str) -> None:
        with pytest.raises(IsthmusError, match=f"gguf cannot express this model: {why}"):
            exporters.write(model, processor, "gguf", tmp_path / "out")
        assert not list(tmp_path.iterdir())

    words.pre_tokenizer = pre_tokenizers.Metaspace()  # as SentencePiece's
    refused("its tokenizer is no byte-level BPE that splits as GPT-2's or SmolLM's")
    vision.hidden_act = "relu"
    refused("its encoder has relu, not GELU")
    llm.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    refused(r"its LLM scales positions \(linear\)")
    llm.attention_bias = True
    refused("its LLM has attention_bias True; only False is written")
