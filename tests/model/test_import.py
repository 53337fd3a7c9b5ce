"""Released formats become composed models that answer as the originals do, on tiny random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from tiny_parts import noise, tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from typer.testing import CliRunner

import isthmus
from isthmus import cli
from isthmus.errors import BadData, IsthmusError, PartUnavailable, UnknownName
from isthmus.media.forms import Sound
from isthmus.model import exporters, importers, load, save_full
from isthmus.types import Audio, Message

LIMIT = 1e-4
VISION = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32}
VISION |= {"patch_size": 4, "image_size": 16}
# What follows is not the default of its configuration, so that an importer must carry it over.
EPS = {"layer_norm_eps": 1e-2}
QFORMER = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
QFORMER |= {"cross_attention_frequency": 3, "max_position_embeddings": 24}
QFORMER |= {"vocab_size": 300, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LLM = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
LLM |= {"vocab_size": 320, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
ROPE: dict[str, Any] = {"rms_norm_eps": 1e-2, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}
QUESTION = "what colour is the ball ?"


def words(control: list[str], begin: str = "", end: str = "</s>", finish: str = "") -> Any:
    """A tiny tokenizer with these control tokens, which puts `begin` before and `finish` after a text."""
    made = tokenizer(control, end, **({"bos_token": begin} if begin else {}))
    ids = [(name, made.convert_tokens_to_ids(name)) for name in {begin, finish} if name]
    made.backend_tokenizer.post_processor = TemplateProcessing(f"{begin} $A {finish}".strip(), special_tokens=ids)
    return made


def filled(model: Any) -> Any:
    """With weights so large that answers vary with the media; norms near one."""
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, mean=float("norm" in name and "weight" in name), std=0.2)
    return model.eval()


def saved(model: Any, processor: Any, folder: Path) -> Path:
    filled(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def images(**more: Any) -> Any:
    return tf.CLIPImageProcessorPil(size={"height": 16, "width": 16}, do_center_crop=False, **more)


def llava(folder: Path, text: str = "llama", **more: Any) -> Any:
    own = {"llama": tf.LlamaConfig, "qwen2": tf.Qwen2Config}[text](**LLM, **ROPE, num_key_value_heads=2)
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, **EPS),
        text_config=own,
        image_token_index=2,
        image_seq_length=16,
        **more,
    )
    control = ["<s>", "</s>", "<image>"] if text == "llama" else ["<|im_start|>", "<|im_end|>", "<image>"]
    made = words(control, "<s>") if text == "llama" else words(control, end="<|im_end|>")
    select = config.vision_feature_select_strategy
    processor = tf.LlavaProcessor(images(), made, 4, select, num_additional_image_tokens=1)
    model = tf.LlavaForConditionalGeneration(config)
    saved(model, processor, folder)
    return model, processor


def blip_2(folder: Path, text: str = "opt") -> Any:
    processor = tf.Blip2Processor(tf.BlipImageProcessorPil(size={"height": 16, "width": 16}), blip_words(text), 4)
    config = tf.Blip2Config(
        vision_config=tf.Blip2VisionConfig(**VISION, **EPS),
        qformer_config=tf.Blip2QFormerConfig(**QFORMER),
        text_config=blip_text(text),
        num_query_tokens=4,
        image_token_index=2,
    )
    model = tf.Blip2ForConditionalGeneration(config)
    saved(model, processor, folder)
    return model, processor


def instructblip(folder: Path, text: str = "llama") -> Any:
    sizes = tf.BlipImageProcessorPil(size={"height": 16, "width": 16})
    processor = tf.InstructBlipProcessor(
        sizes, blip_words(text), words(["[CLS]", "[SEP]"], "[CLS]", "[SEP]", "[SEP]"), 4
    )
    config = tf.InstructBlipConfig(
        vision_config=tf.InstructBlipVisionConfig(**VISION, **EPS, qkv_bias=False),
        qformer_config=tf.InstructBlipQFormerConfig(**QFORMER),
        text_config=blip_text(text),
        num_query_tokens=4,
        image_token_index=2,
    )
    model = tf.InstructBlipForConditionalGeneration(config)
    saved(model, processor, folder)
    return model, processor


def blip_words(text: str) -> Any:
    """As the family: OPT begins with its end token, T5 ends with it, LLaMA begins with <s>."""
    begin, finish = {"opt": ("</s>", ""), "t5": ("", "</s>"), "llama": ("<s>", "")}[text]
    return words(["<s>", "</s>", "<image>"], begin, finish=finish)


def blip_text(text: str) -> Any:
    if text == "llama":
        return tf.LlamaConfig(**LLM, **ROPE)
    if text == "t5":
        own = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 320}
        ends = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
        return tf.T5Config(**own, **ends, dropout_rate=0.0, feed_forward_proj="gated-gelu")
    sizes = {key: value for key, value in LLM.items() if key != "intermediate_size"}
    return tf.OPTConfig(**sizes, ffn_dim=48, word_embed_proj_dim=32, dropout=0.0)


def idefics(folder: Path, resampler: bool = True, alpha: str = "vector", more: int = 20, norms: bool = True) -> Any:
    vision = {"embed_dim" if key == "hidden_size" else key: value for key, value in VISION.items()}
    perceiver = {"resampler_n_latents": 3, "resampler_depth": 2, "resampler_n_heads": 2, "resampler_head_dim": 10}
    config = tf.IdeficsConfig(
        **LLM | {"num_hidden_layers": 4, "vocab_size": 320 - more},
        **ROPE,
        additional_vocab_size=more,
        alpha_type=alpha,
        cross_layer_interval=2,
        qk_layer_norms=norms,
        use_resampler=resampler,
        vision_config=tf.IdeficsVisionConfig(**vision, **EPS),
        perceiver_config=tf.IdeficsPerceiverConfig(
            **perceiver, use_resampler=resampler, qk_layer_norms_perceiver=norms
        ),
    )
    made = words(["<s>", "</s>", "<unk>", "<fake_token_around_image>", "<image>", "<end_of_utterance>"], "<s>")
    sizes = tf.IdeficsImageProcessorPil(image_size=16)
    model, processor = tf.IdeficsForVisionText2Text(config), tf.IdeficsProcessor(sizes, made, 16)
    saved(model, processor, folder)
    return model, processor


VICUNA = f"USER: <image>\n{QUESTION} ASSISTANT:"
PROMPTS = {  # what the original's processor is given; it puts BLIP's picture first, and its tokenizer the begin and end
    "llava": VICUNA,
    "llava-qwen": f"<|im_start|>user\n<image>\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n",
    "llava-full-last": VICUNA,
    "blip-2": f"Question: {QUESTION} Answer:",
    "blip-2-t5": f"Question: {QUESTION} Answer:",
    "instructblip": QUESTION,
    "instructblip-t5": QUESTION,
}
CASES: dict[str, Callable[[Path], Any]] = {
    "llava": llava,
    "llava-qwen": lambda folder: llava(folder, "qwen2"),
    "llava-full-last": lambda f: llava(f, vision_feature_layer=-1, vision_feature_select_strategy="full"),
    "blip-2": blip_2,
    "blip-2-t5": lambda folder: blip_2(folder, "t5"),
    "instructblip": instructblip,
    "instructblip-t5": lambda folder: instructblip(folder, "t5"),
}


def ours(folder: Path) -> Any:
    """Imported, written, and read again."""
    save_full(*importers.read(folder), folder / "ours")
    return load(folder / "ours")


def both(model: Any, theirs: dict[str, Any], mine: Any, batch: dict[str, Any]) -> float:
    """The largest difference between the logits; the greedy answers, and what ends them, are compared too."""
    own = getattr(model, "language_model", model)  # BLIP-2 lets its LLM generate
    own = own if hasattr(own, "generate") else model
    assert mine.generation_config.eos_token_id == own.generation_config.eos_token_id == 1
    more = {"decoder_input_ids": torch.tensor([[0, 5, 7]])} if mine.config.is_encoder_decoder else {}
    with torch.no_grad():
        wanted, found = model(**theirs, **more).logits, mine(**batch, **more).logits
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    assert model.generate(**theirs, **options)[:, -8:].tolist() == mine.generate(**batch, **options)[:, -8:].tolist()
    return float((wanted - found).abs().max())


@pytest.mark.parametrize("name", CASES)
def test_logits_and_answers_are_the_originals(tmp_path: Path, name: str) -> None:
    model, processor = CASES[name](tmp_path)
    mine, my = ours(tmp_path)
    seen = []
    for colour in ("red", "blue"):
        batch = my(QUESTION, noise(colour))
        theirs = processor(images=noise(colour).source(), text=PROMPTS[name], return_tensors="pt")
        slots = batch["input_ids"] == mine.config.placeholders["image"]
        assert torch.equal(theirs["input_ids"], batch["input_ids"].masked_fill(slots, 2)), (
            "the prompt is the original's"
        )
        assert both(model, theirs, mine, batch) < LIMIT
        seen.append(mine(**batch, **({"decoder_input_ids": torch.tensor([[0]])} if "t5" in name else {})).logits[:, -1])
    assert not torch.allclose(*seen, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "prompt"),
    {
        "llava": f"<s>USER: \nis it ? ASSISTANT: yes</s>USER: {QUESTION} ASSISTANT:",
        "llava-qwen": f"<|im_start|>user\n\nis it ?<|im_end|>\n<|im_start|>assistant\n yes<|im_end|>\n"
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n",
        "blip-2": f"</s>Question: is it ? Answer: yes</s>Question: {QUESTION} Answer:",
        "instructblip": f"<s>is it ? yes</s>{QUESTION}",
    }.items(),
)
def test_a_prompt_of_two_turns(tmp_path: Path, name: str, prompt: str) -> None:
    CASES[name](tmp_path)
    _, my = importers.read(tmp_path)
    talk = [Message("user", "is it ?", (noise("red"),)), Message("assistant", "yes"), Message("user", QUESTION)]
    ids = my.encode([talk])["input_ids"][0].tolist()
    assert my.tokenizer.decode([i for i in ids if i not in my.placeholders.values()]) == prompt


@pytest.mark.parametrize(
    ("resampler", "alpha", "more"),
    [(True, "vector", 20), (True, "float", 0), (False, "vector", 0), (False, "float", 20)],
)
def test_idefics(tmp_path: Path, resampler: bool, alpha: str, more: int) -> None:
    model, processor = idefics(tmp_path, resampler, alpha, more, norms=resampler)
    mine, my = ours(tmp_path)
    red, blue = noise("red"), noise("blue")
    talk = [Message("user", QUESTION, (red,)), Message("assistant", "red"), Message("user", "is it ?", (blue, red))]
    batch = my.encode([talk])
    raw = [medium.source() for medium in (red, blue, red)]
    end = "<end_of_utterance>"
    turns = ["User:", raw[0], f"{QUESTION}{end}", f"\nAssistant: red{end}", "\nUser:", *raw[1:], f"is it ?{end}"]
    theirs = processor(text=[[*turns, "\nAssistant:"]], add_end_of_utterance_token=False, return_tensors="pt")
    slots = batch["input_ids"] == mine.config.placeholders["image"]
    image = my.tokenizer.convert_tokens_to_ids("<image>")
    assert torch.equal(theirs["input_ids"], batch["input_ids"].masked_fill(slots, image)), (
        "the prompt is the original's"
    )
    torch.testing.assert_close(theirs["pixel_values"][0], batch["media"]["image"])
    assert both(model, theirs, mine, batch) < LIMIT


def qwen2_audio(folder: Path) -> Any:
    """Its window is a second: 100 frames, 25 tokens."""
    encoder = {"d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 32}
    audio = tf.Qwen2AudioEncoderConfig(**encoder, num_mel_bins=8, max_source_positions=50)
    config = tf.Qwen2AudioConfig(
        audio_config=audio, text_config=tf.Qwen2Config(**LLM, num_key_value_heads=2), audio_token_index=4
    )
    marks = ["<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|audio_eos|>", "<|AUDIO|>"]
    features = tf.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    model = tf.Qwen2AudioForConditionalGeneration(config)
    processor = tf.Qwen2AudioProcessor(features, words(marks, end="<|im_end|>"), chat_template="{}")
    saved(model, processor, folder)
    return model, processor


def sound(samples: int, seed: int = 0) -> Audio:
    return Audio(Sound(np.random.default_rng(seed).normal(0, 0.3, samples).astype(np.float32), 16_000))


HEARD = "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
BEFORE, AFTER = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("samples", [(16_000,), (15_900,), (9_999,), (9_840,), (1_600,), (16_000, 4_321)])
def test_qwen2_audio(tmp_path: Path, samples: tuple[int, ...]) -> None:
    model, processor = qwen2_audio(tmp_path)
    mine, my = ours(tmp_path)
    seen = []
    for seed in (0, 9):
        clips = [sound(count, seed + k) for k, count in enumerate(samples)]
        batch = my(QUESTION, media=clips)
        text = f"{BEFORE}<|im_start|>user\n{HEARD * len(clips)}{QUESTION}{AFTER}"
        raw = [clip.source.samples for clip in clips]  # type: ignore[union-attr]
        theirs = processor(text=text, audio=raw, sampling_rate=16_000, return_tensors="pt")
        slots = batch["input_ids"] == mine.config.placeholders["audio"]
        assert torch.equal(theirs["input_ids"], batch["input_ids"].masked_fill(slots, 4)), (
            "the prompt is the original's"
        )
        torch.testing.assert_close(theirs["input_features"], batch["media"]["audio"])
        assert both(model, theirs, mine, batch) < LIMIT
        seen.append(mine(**batch).logits[:, -1])
    assert not torch.allclose(*seen, atol=1e-3)


def test_qwen2_audio_in_a_batch(tmp_path: Path) -> None:
    model, processor = qwen2_audio(tmp_path)
    mine, my = ours(tmp_path)
    talks = [
        [Message("user", "is it ?", (sound(5_000, 1),)), Message("assistant", "yes"), Message("user", QUESTION)],
        [Message("user", QUESTION)],
        [Message("user", "is it red ?", (sound(16_000, 2),))],
    ]
    batch = my.encode(talks)
    user = f"{BEFORE}<|im_start|>user\n"
    texts = [
        f"{user}{HEARD}is it ?{AFTER}yes<|im_end|>\n<|im_start|>user\n{QUESTION}{AFTER}",
        f"{user}{QUESTION}{AFTER}",
        f"{user}{HEARD}is it red ?{AFTER}",
    ]
    raw = [medium.source.samples for talk in talks for m in talk for medium in m.media]  # type: ignore[union-attr]
    more = {"sampling_rate": 16_000, "padding": True, "padding_side": "left", "return_tensors": "pt"}
    theirs = processor(text=texts, audio=raw, **more)
    kept = batch["attention_mask"].bool()
    slots = batch["input_ids"] == mine.config.placeholders["audio"]
    assert torch.equal(theirs["input_ids"][kept], batch["input_ids"].masked_fill(slots, 4)[kept])
    with torch.no_grad():
        wanted, found = model(**theirs).logits[kept], mine(**batch).logits[kept]
    assert float((wanted - found).abs().max()) < LIMIT


def test_an_imported_audio_model_is_asked(tmp_path: Path) -> None:
    qwen2_audio(tmp_path)
    done = CliRunner().invoke(cli.app, ["import", str(tmp_path), "--out", str(tmp_path / "ours")])
    assert done.exit_code == 0, done.output
    mine, my = isthmus.load_with_processor(str(tmp_path / "ours"))
    read = importers.read(tmp_path)
    for media in ((), (sound(7_000),), (sound(40_000),)):  # the last is longer than a window: three pieces
        assert isthmus.ask(mine, my, QUESTION, *media) == isthmus.ask(*read, QUESTION, *media)
    with pytest.raises(BadData, match="this model takes audio, not image"):
        my("is it red ?", noise("red"))
    with pytest.raises(BadData, match="this model takes audio, not image"):
        my.preprocess([b"sound"])


def test_the_reader_of_instructblip_is_kept(tmp_path: Path) -> None:
    instructblip(tmp_path)
    _, my = ours(tmp_path)
    ids, mask = my.texts([("image", QUESTION), ("image", "is it ?")])["texts"]["image"]
    assert my.reader.decode(ids[0]).startswith("[CLS]what colour")
    assert mask.sum(1).tolist() == [len(my.reader(text).input_ids) for text in (QUESTION, "is it ?")]


def mllama(folder: Path, cross: tuple[int, ...] = (1, 4), layers: int = 6, template: bool = True) -> Any:
    """Llama 3.2 Vision's proportions: blocks before self-attention layers 1 and 3, and `<|image|>` beyond the head."""
    heads = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    made = words(heads, heads[0], heads[1])
    made.add_special_tokens({"additional_special_tokens": ["<|image|>"]})
    made.chat_template = "{}" if template else None
    image = len(made) - 1
    config = tf.MllamaConfig(
        text_config=tf.MllamaTextConfig(
            **LLM | {"num_hidden_layers": layers, "vocab_size": image},
            num_key_value_heads=2,
            cross_attention_layers=list(cross),
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
            },
        ),
        vision_config=tf.MllamaVisionConfig(
            **{"attention_heads" if key == "num_attention_heads" else key: value for key, value in VISION.items()},
            num_global_layers=2,
            vision_output_dim=72,
            intermediate_layers_indices=[0, 2],
        ),
        image_token_index=image,
    )  # fmt: skip
    model = tf.MllamaForConditionalGeneration(config)
    processor = tf.MllamaProcessor(tf.MllamaImageProcessorPil(size={"height": 16, "width": 16}), made)
    saved(model, processor, folder)
    return model, processor


def blind(model: Any) -> Any:
    """As Meta's own code has it: a token before the first picture attends to none. transformers masks the MLP alone
    (https://github.com/huggingface/transformers/issues/39379), so there it attends to every picture, later ones too."""
    rows: list[Tensor] = []

    def keep(layer: Any, args: Any, kwargs: Any) -> None:
        rows[:] = [kwargs["full_text_row_masked_out_mask"][:, 0]]

    for layer in model.model.language_model.layers:
        if hasattr(layer, "cross_attn"):
            layer.register_forward_pre_hook(keep, with_kwargs=True)
            layer.cross_attn.register_forward_hook(lambda module, args, out: (out[0] * rows[0], *out[1:]))
    return model


TALL, WIDE, FLAT = noise("red", (14, 40)), noise("blue", (60, 14)), noise("green", (33, 30))  # 3, 4, 4 tiles
HEAD = "<|start_header_id|>{}<|end_header_id|>\n\n"
MLLAMA = {
    "one tile": [Message("user", QUESTION, (noise("red", (16, 12)),))],
    "several tiles": [Message("user", QUESTION, (TALL,))],
    "side by side": [Message("user", QUESTION, (TALL, noise("red"), WIDE))],
    "two turns": [
        Message("user", "is it ?", (FLAT, noise("red"))), Message("assistant", "yes"),
        Message("user", QUESTION, (WIDE,)),
    ],
    "text first": [
        Message("system", "please answer"), Message("user", "is it ?"), Message("assistant", "no"),
        Message("user", QUESTION, (WIDE,)),
    ],
    "text alone": [Message("user", QUESTION)],
}  # fmt: skip


def as_text(talk: list[Message]) -> str:
    """The chat template of Llama-3.2-11B-Vision-Instruct, which gives text alone a dated system message besides."""
    turns = [f"{HEAD.format(m.role)}{'<|image|>' * len(m.media)}{m.text}<|eot_id|>" for m in talk]
    return f"<|begin_of_text|>{''.join(turns)}{HEAD.format('assistant')}"


def pictures(talk: list[Message]) -> list[Any]:
    return [medium.source() for message in talk for medium in message.media]


@pytest.mark.parametrize("name", MLLAMA)
def test_mllama(tmp_path: Path, name: str) -> None:
    model, processor = mllama(tmp_path)
    mine, my = ours(tmp_path)
    talk = MLLAMA[name]
    batch = my.encode([talk])
    theirs = processor(images=pictures(talk) or None, text=as_text(talk), return_tensors="pt", add_special_tokens=False)
    assert torch.equal(theirs["input_ids"], batch["input_ids"]), "the prompt is the original's"
    assert both(blind(model), theirs, mine, batch) < LIMIT


def test_mllama_in_a_batch(tmp_path: Path) -> None:
    model, processor = mllama(tmp_path)
    mine, my = ours(tmp_path)
    talks = [MLLAMA[name] for name in ("text first", "side by side", "text alone", "two turns")]
    batch = my.encode(talks)
    texts, media = [as_text(talk) for talk in talks], [pictures(talk) for talk in talks]
    theirs = processor(media, texts, padding=True, padding_side="left", return_tensors="pt", add_special_tokens=False)
    assert torch.equal(theirs["input_ids"], batch["input_ids"])
    kept = batch["attention_mask"].bool()
    with torch.no_grad():
        wanted, found = blind(model)(**theirs).logits[kept], mine(**batch).logits[kept]
    assert float((wanted - found).abs().max()) < LIMIT


@pytest.mark.parametrize("several", [False, True])
def test_mllama_where_the_picture_is_first_is_transformers_own(tmp_path: Path, several: bool) -> None:
    model, processor = mllama(tmp_path)
    mine, my = ours(tmp_path)
    shown = (WIDE, TALL) if several else (TALL,)
    raw = [one.source() for one in shown]
    text = f"{'<|image|>' * len(raw)}<|begin_of_text|>{QUESTION}"
    theirs = processor(images=raw, text=text, return_tensors="pt", add_special_tokens=False)
    batch = {"input_ids": theirs["input_ids"], "attention_mask": theirs["attention_mask"]}
    assert both(model, theirs, mine, batch | {"media": {"image": my.preprocess(shown)}}) < LIMIT


def test_a_mllama_without_a_chat_template_is_asked_plainly(tmp_path: Path) -> None:
    mllama(tmp_path, template=False)
    _, my = importers.read(tmp_path)
    assert my.tokenizer.decode(my(QUESTION, TALL)["input_ids"][0]) == f"<|begin_of_text|><|image|>\n{QUESTION}\n"


@pytest.mark.parametrize("cross", [(1, 2), (0, 1, 4), (1, 5), (0, 2)])
def test_mllama_with_blocks_that_do_not_stand_evenly_is_refused(tmp_path: Path, cross: tuple[int, ...]) -> None:
    mllama(tmp_path, cross)
    with pytest.raises(PartUnavailable, match="only ones that stand before every k-th"):
        importers.read(tmp_path)


def test_mllama_with_other_tokens_beyond_the_vocabulary_is_refused(tmp_path: Path) -> None:
    _, processor = mllama(tmp_path)
    processor.tokenizer.add_tokens(["<|more|>"])
    processor.save_pretrained(tmp_path)
    with pytest.raises(PartUnavailable, match=r"<\|more\|> lie beyond the LLM's vocabulary"):
        importers.read(tmp_path)


def change(folder: Path, **facts: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | facts))


@pytest.mark.parametrize(
    "said", ["[]", "{}", "{", '{"model_type": null}', '{"model_type": 3}', '{"model_type": ["llava"]}']
)
def test_a_folder_without_a_model_type_is_refused(tmp_path: Path, said: str) -> None:
    (tmp_path / "config.json").write_text(said)
    with pytest.raises(PartUnavailable, match=r"config\.json is missing or names no model_type"):
        importers.read(tmp_path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartUnavailable, match=r"config\.json is missing"):
        importers.read(tmp_path)
    llava(tmp_path)
    for wrong, facts in {
        "projector_hidden_act 'relu' cannot be imported": {"projector_hidden_act": "relu"},
        "several layers": {"vision_feature_layer": [-2]},
        "asks for Python code": {"auto_map": {}},
    }.items():
        before = (tmp_path / "config.json").read_text()
        change(tmp_path, **facts)
        with pytest.raises(PartUnavailable, match=wrong):
            importers.read(tmp_path)
        (tmp_path / "config.json").write_text(before)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(PartUnavailable, match="holds no safetensors"):
        importers.read(tmp_path)
    change(tmp_path, model_type="llava_next")
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "model.safetensors")
    with pytest.raises(UnknownName, match=r"no importer 'llava_next'\. Did you mean 'llava'\?"):
        importers.read(tmp_path)


RATIOS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
OTHERS: list[tuple[Callable[[Path], Any], str, dict[str, Any], str]] = [
    (blip_2, "qformer_config", {"hidden_act": "relu"}, "blip_2_qformer with hidden_act 'relu'"),
    (blip_2, "qformer_config", {"layer_norm_eps": 1e-5}, "with layer_norm_eps 1e-05"),
    (instructblip, "qformer_config", {"layer_norm_eps": 1e-5}, "with layer_norm_eps 1e-05"),
    (idefics, "", {"hidden_act": "gelu"}, "idefics with hidden_act 'gelu'"),
    (mllama, "text_config", {"hidden_act": "gelu"}, "with hidden_act 'gelu'"),
    (mllama, "vision_config", {"supported_aspect_ratios": RATIOS[::-1]}, "with supported_aspect_ratios"),
]


@pytest.mark.parametrize(("make", "where", "facts", "why"), OTHERS)
def test_what_cannot_be_expressed_is_refused(
    tmp_path: Path, make: Callable[[Path], Any], where: str, facts: dict[str, Any], why: str
) -> None:
    make(tmp_path)
    own = json.loads((tmp_path / "config.json").read_text())
    change(tmp_path, **({where: own[where] | facts} if where else facts))
    with pytest.raises(PartUnavailable, match=f"{why}.* cannot be imported, only "):
        importers.read(tmp_path)


def test_a_llava_of_another_encoder_is_refused(tmp_path: Path) -> None:
    config = tf.LlavaConfig(
        vision_config=tf.SiglipVisionConfig(**VISION), text_config=tf.LlamaConfig(**LLM), image_token_index=2
    )
    tf.LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(PartUnavailable, match="model_type 'siglip_vision_model' cannot be imported, only 'clip_vision"):
        importers.read(tmp_path)


def test_weights_that_are_missing_or_cut_off_are_an_error(tmp_path: Path) -> None:
    llava(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file({name: t for name, t in tensors.items() if "linear_1" not in name}, file, {"format": "pt"})
    with pytest.raises(PartUnavailable, match="linear_1"):
        importers.read(tmp_path)
    save_file(tensors, file, {"format": "pt"})
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(PartUnavailable, match="cannot be loaded"):
        importers.read(tmp_path)


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json", "qformer_tokenizer/tokenizer_config.json"])
def test_code_in_a_checkpoint_never_runs(tmp_path: Path, where: str) -> None:
    instructblip(tmp_path)
    ran, own = tmp_path / "ran", tmp_path / where
    for folder in (tmp_path, own.parent):
        (folder / "theirs.py").write_text(f"open({str(ran)!r}, 'w')\nclass Theirs: pass\n")
    facts = json.loads(own.read_text()) | {"auto_map": {"AutoTokenizer": [None, "theirs.Theirs"]}}
    own.write_text(json.dumps(facts | {"tokenizer_class": "Theirs"}))
    with pytest.raises(PartUnavailable):
        importers.read(tmp_path)
    assert not ran.exists()


def test_a_model_of_sound_is_not_exported(tmp_path: Path) -> None:
    qwen2_audio(tmp_path)
    for to in ("llava-hf", "gguf"):
        with pytest.raises(IsthmusError, match="it takes audio, and LLaVA takes images alone"):
            exporters.write(*importers.read(tmp_path), to, tmp_path / "out")
