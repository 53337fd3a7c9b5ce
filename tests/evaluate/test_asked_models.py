"""Image-text models of transformers are asked as they would be by hand, and a shared prefix changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from tiny_parts import noise
from tiny_parts import tokenizer as made_tokenizer

from isthmus.errors import BadRecipe, IsthmusError
from isthmus.evaluate.models import kind, opened
from isthmus.evaluate.models.image_text import ImageText
from isthmus.evaluate.questions import Question
from isthmus.media import load
from isthmus.types import Image

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA, as its authors save it."""
    path = tmp_path_factory.mktemp("llava")
    torch.manual_seed(0)
    vision = tf.CLIPVisionConfig(**SIZES, patch_size=4, image_size=16)
    text = tf.LlamaConfig(**SIZES, vocab_size=320, max_position_embeddings=512, bos_token_id=1, eos_token_id=2)
    config = tf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, image_seq_length=16)
    model = tf.LlavaForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, mean=float("norm" in name and "weight" in name), std=0.3)
    model.generation_config.eos_token_id = None
    model.save_pretrained(path)
    words = made_tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"])
    images = tf.CLIPImageProcessorPil(size={"height": 16, "width": 16}, do_center_crop=False)
    strategy = config.vision_feature_select_strategy
    processor = tf.LlavaProcessor(images, words, 4, strategy, chat_template=CHAT, num_additional_image_tokens=1)
    processor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Three about one picture, two about another, one about none."""
    shown = [Image(_png(seed)) for seed in ("a", "b")]
    texts = ["what colour is the ball ?", "is it red ?", "yes or no : is it a cube left of a ball ?"]
    found = [Question(f"{i}/{text}", text, (shown[i],), longest=6) for i in (0, 1) for text in texts[: 3 - i]]
    return [*found, Question("text", "is a ball a cube ?", longest=6)]


def _png(seed: str) -> bytes:
    import io

    file = io.BytesIO()
    load(noise(seed)).save(file, "PNG")
    return file.getvalue()


def by_hand(folder: Path, question: Question) -> str:
    processor: Any = tf.AutoProcessor.from_pretrained(folder)
    model: Any = tf.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    content = [{"type": "image"} for _ in question.media] + [{"type": "text", "text": question.text}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [load(medium) for medium in question.media] or None
    inputs = processor(text=[text], images=images, return_tensors="pt")
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    return str(processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]).strip()


def test_answers_are_those_by_hand_and_prefixes_are_shared(folder: Path, questions: list[Question]) -> None:
    assert kind(str(folder)) == "image_text"
    model = opened(str(folder), questions)
    assert isinstance(model, ImageText)
    encoded = []
    tower = model.model.model.vision_tower
    hook = tower.register_forward_hook(lambda module, inputs, output: encoded.append(1))
    said = [one.answer for one in model.answers(questions)]
    assert model.shares is True
    assert len(encoded) == 4, "each of two pictures once, and twice for the trial"
    hook.remove()
    assert said == [by_hand(folder, one) for one in questions]
    assert len(set(said)) > 3, "answers vary"
    model.shares = False
    assert [one.answer for one in model.answers(questions)] == said


def test_a_model_whose_prefix_cannot_be_shared_is_asked_whole(folder: Path, questions: list[Question]) -> None:
    model = ImageText(str(folder), "cpu")
    begun = model._begun

    def moved(*arguments: Any) -> Any:
        found = begun(*arguments)
        for layer in found.cache.layers:
            layer.keys = layer.keys + 0.5  # as if positions were others
        return found

    model._begun = moved  # type: ignore[method-assign]
    said = [one.answer for one in model.answers(questions)]
    assert model.shares is False
    assert said == [by_hand(folder, one) for one in questions]


def test_the_likeliest_option(folder: Path, questions: list[Question]) -> None:
    model = ImageText(str(folder), "cpu")
    asked = Question("1", questions[0].prompt, questions[0].media, ("yes", "no", "blue ball"), listed=False)
    (said,) = model.chosen([asked])
    logs = {}
    for answer in asked.options:
        whole = model._inputs([(asked.text, model._shown([asked])[1][0])], answer)
        count = len(model.processor.tokenizer(answer, add_special_tokens=False).input_ids)
        with torch.inference_mode():
            logits = model.model(**whole).logits[0]
        ids = whole["input_ids"][0, -count:]
        each = logits[-count - 1 : -1].log_softmax(-1).gather(-1, ids[:, None])
        logs[answer] = float(each.mean()), float(each.sum())
    assert said.answer == max(logs, key=logs.__getitem__)
    totals = torch.tensor([total for _, total in logs.values()], dtype=torch.float64).softmax(0)
    assert said.confidence == pytest.approx(float(totals[[*logs].index(str(said.answer))]), abs=1e-4)


def test_a_picture_is_encoded_once_whatever_is_asked_about_it(folder: Path, questions: list[Question]) -> None:
    model, encoded = ImageText(str(folder), "cpu"), []
    model.model.model.vision_tower.register_forward_hook(lambda module, inputs, output: encoded.append(1))
    own = replace(questions[0], options=("yes", "no"), listed=False)
    many = [replace(own, id=str(i), prompt=f"is it {i} ?") for i in range(20)]
    model.answers(many[:2])
    trial = len(encoded)
    said = model.answers(many)
    assert len(encoded) - trial == 1, "in three batches"
    chosen = model.chosen(many)
    assert len(encoded) - trial == 2, "of twenty questions with two options"
    model.shares = False
    assert [one.answer for one in model.answers(many)] == [one.answer for one in said]
    for own, other in zip(model.chosen(many), chosen, strict=True):
        assert own.answer == other.answer
        assert own.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_a_text_cannot_act_as_a_picture_or_an_end(folder: Path, questions: list[Question]) -> None:
    model = ImageText(str(folder), "cpu")
    for token in ("<image>", "<|im_end|>"):
        bad, good = model.answers([replace(questions[0], prompt=f"what is {token} ?"), questions[0]])
        assert (bad.answer, good.answer is not None) == (None, True)
        assert f"holds {token}" in bad.failed


def test_what_is_no_image_text_model_is_told(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(IsthmusError, match="no image-text model of transformers"):
        ImageText(str(tmp_path), "cpu")
    processor: Any = tf.AutoProcessor.from_pretrained(folder)
    model = tf.AutoModelForImageTextToText.from_pretrained(folder)
    model.save_pretrained(tmp_path / "silent")
    processor.save_pretrained(tmp_path / "silent")
    (tmp_path / "silent" / "chat_template.jinja").unlink()
    with pytest.raises(BadRecipe, match="no chat template"):
        ImageText(str(tmp_path / "silent"), "cpu")
