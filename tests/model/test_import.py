"""Released formats become composed models that answer as the originals do, on tiny random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from tiny_parts import noise, tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from isthmus.errors import BadData, PartUnavailable, UnknownName
from isthmus.model import importers, load, save_full
from isthmus.types import Message

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
    """The largest difference between the logits; the greedy answers are compared too."""
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
        prompt = my.tokenizer.decode([i for i in batch["input_ids"][0].tolist() if i < 320])
        if name.startswith("llava"):
            prompt = prompt.replace("USER: ", "USER: <image>").replace("user\n", "user\n<image>").removeprefix("<s>")
        else:  # the original puts the picture first, and its tokenizer the begin and end
            prompt = prompt.removeprefix("</s>").removeprefix("<s>").removesuffix("</s>")
        theirs = processor(images=noise(colour).source(), text=prompt, return_tensors="pt")
        slots = batch["input_ids"] == mine.config.placeholders["image"]
        assert torch.equal(theirs["input_ids"], batch["input_ids"].masked_fill(slots, 2)), (
            "the prompt is the original's"
        )
        assert both(model, theirs, mine, batch) < LIMIT
        seen.append(mine(**batch, **({"decoder_input_ids": torch.tensor([[0]])} if "t5" in name else {})).logits[:, -1])
    assert not torch.allclose(*seen, atol=1e-3)


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
    encoder = {"d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 32}
    audio = tf.Qwen2AudioEncoderConfig(**encoder, num_mel_bins=8, max_source_positions=16)
    config = tf.Qwen2AudioConfig(
        audio_config=audio, text_config=tf.Qwen2Config(**LLM, num_key_value_heads=2), audio_token_index=4
    )
    marks = ["<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|audio_eos|>", "<|AUDIO|>"]
    features = tf.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    model = tf.Qwen2AudioForConditionalGeneration(config)
    saved(model, tf.Qwen2AudioProcessor(features, words(marks, end="<|im_end|>"), chat_template="{}"), folder)
    return model


def test_qwen2_audio(tmp_path: Path) -> None:
    model = qwen2_audio(tmp_path)
    mine, my = ours(tmp_path)
    template = my.template
    ids = torch.tensor([template.prefix(["audio"]) + template.question(QUESTION)])
    slot = mine.config.placeholders["audio"]
    text = f"<|im_start|>user\nAudio 1: <|audio_bos|>{'<|AUDIO|>' * 8}<|audio_eos|>\n{QUESTION}<|im_end|>\n"
    text = f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{text}<|im_start|>assistant\n"
    assert my.tokenizer(text).input_ids == ids.masked_fill(ids == slot, 4)[0].tolist()
    mel: Tensor = torch.randn(1, 8, 32)
    theirs = {"input_ids": ids.masked_fill(ids == slot, 4), "attention_mask": torch.ones_like(ids)}
    theirs |= {"input_features": mel, "feature_attention_mask": torch.ones(1, 32, dtype=torch.long)}
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "media": {"audio": mel}}
    assert both(model, theirs, mine, batch) < LIMIT
    assert not torch.allclose(
        mine(ids, media={"audio": mel}).logits, mine(ids, media={"audio": -mel}).logits, atol=1e-3
    )


def test_an_audio_models_processor_is_for_text(tmp_path: Path) -> None:
    qwen2_audio(tmp_path)
    mine, my = ours(tmp_path)
    batch = my("is it red ?")
    assert mine.generate(**batch, max_new_tokens=2).shape[1] == batch["input_ids"].shape[1] + 2
    with pytest.raises(BadData, match="this model takes audio, not image"):
        my("is it red ?", noise("red"))
    with pytest.raises(BadData, match="takes audio, which the processor cannot prepare yet"):
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
