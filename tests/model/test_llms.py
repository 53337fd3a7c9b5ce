"""An LLM of every family with and without a picture: its own template, text alone, and a chat without any media."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import CONTROL, DECODERS, llm_config, picture, tokenizer

from isthmus import ask
from isthmus.chat import Chat
from isthmus.data.packing import Frame
from isthmus.errors import BadData, UnknownName
from isthmus.model import compose, load, save_full, save_trained
from isthmus.model.composed import family

QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nplease answer<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 whose tokenizer has a chat template with a default system message."""
    folder = tmp_path_factory.mktemp("qwen") / "llm"
    family(config := llm_config("qwen2")).from_config(config).save_pretrained(folder)
    (made := tokenizer()).chat_template = QWEN
    made.save_pretrained(folder)
    return folder


def test_the_template_of_the_llm_is_what_it_is_asked_in(qwen: Path, folders: dict[str, str], tmp_path: Path) -> None:
    image = {"encoder": "vit-s", "connector": "mlp", "part": folders["vision"], "size": 16, "tokens": 4}
    model, processor = compose(str(qwen), image)
    said = [{"role": "user", "content": "what is it ?"}]
    wanted = processor.tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
    assert processor("what is it ?")["input_ids"][0].tolist() == wanted
    seen = processor("what is it ?", picture("red"))["input_ids"][0].tolist()
    at = seen.index(300)
    assert [token for token in seen if token != 300] == wanted[:at] + processor.template.control("\n") + wanted[at:]
    assert model.generation_config.eos_token_id == 2
    save_trained(model, tmp_path / "light")
    save_full(model, processor, tmp_path / "full")
    for folder in ("light", "full"):
        assert load(tmp_path / folder)[1]("what is it ?")["input_ids"][0].tolist() == wanted


def test_another_frame_is_kept(qwen: Path, tmp_path: Path) -> None:
    model, processor = compose(str(qwen), None, frame="chatml")
    assert processor.template.frame == Frame()
    save_trained(model, tmp_path / "light")
    assert load(tmp_path / "light")[1].template.frame == Frame()
    asked = compose(str(qwen), None, frame="plain")[1]("what is it ?")["input_ids"][0]
    assert processor.tokenizer.decode(asked) == "what is it ?\n"
    with pytest.raises(UnknownName, match="Did you mean 'chatml'"):
        compose("no such folder", None, frame="chatlm")


@pytest.mark.parametrize("llm", [*DECODERS, "t5"])
def test_a_model_of_text_alone(llm: str, folders: dict[str, str], tmp_path: Path) -> None:
    model, processor = built = compose(folders[llm], None)
    batch = processor(["what colour is the ball ?", "yes or no ?"])
    answers = model.generate(**batch, max_new_tokens=6, do_sample=False)
    own = model.llm.generate(**batch, max_new_tokens=6, do_sample=False, eos_token_id=2, pad_token_id=processor.pad)
    assert torch.equal(answers, own)
    save_full(*built, tmp_path / "full")
    save_trained(model, tmp_path / "light")
    for folder in ("full", "light"):
        assert ask(*load(tmp_path / folder), "is it red ?") == ask(*built, "is it red ?")
    with pytest.raises(BadData, match="this model takes no media, not image"):
        ask(*built, "is it red ?", picture("red"))


def test_an_encoder_decoder_is_asked_as_it_reads(tmp_path: Path) -> None:
    family(config := llm_config("t5")).from_config(config).save_pretrained(tmp_path)
    made: Any = tokenizer(["<pad>", "<unk>", "</s>"], "</s>")
    from tokenizers.processors import TemplateProcessing

    made._tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    made.save_pretrained(tmp_path)
    _, processor = compose(str(tmp_path), None)
    assert processor("what is it ?")["input_ids"][0].tolist() == made("what is it ?").input_ids
    assert processor.template.answer("red") == made("red").input_ids


@pytest.mark.parametrize("llm", ["llama", "gpt2"])
def test_a_text_goes_on_and_has_a_perplexity(llm: str, folders: dict[str, str]) -> None:
    model, processor = compose(folders[llm], None)
    text = f"the ball is {CONTROL[2]} red"
    more, tokens, perplexity = Chat(model, processor).go_on(text, stop=None)
    ids = processor.tokenizer(text, split_special_tokens=True, return_tensors="pt").input_ids
    assert not {0, 1, 2} & set(ids[0].tolist()), "what is typed is text here too"
    assert perplexity == pytest.approx(model.llm(ids, labels=ids).loss.exp().item(), rel=1e-4)
    own = model.llm.generate(ids, max_new_tokens=64, do_sample=False, eos_token_id=2, pad_token_id=2)
    assert own.shape[1] - ids.shape[1] == tokens
    assert processor.decode(own[0, ids.shape[1] :]) == more


def test_what_cannot_go_on_says_so(folders: dict[str, str]) -> None:
    with pytest.raises(BadData, match="does not continue it"):
        Chat(*compose(folders["t5"], None)).go_on("the ball")
    with pytest.raises(BadData, match="no text"):
        Chat(*compose(folders["gpt2"], None)).go_on("")


def test_a_tokenizer_that_is_a_sentencepiece_file_alone(tmp_path: Path) -> None:
    """As the hub has Vicuna's: no tokenizer.json. Its tokens are those of SentencePiece itself."""
    import sentencepiece

    (folder := tmp_path / "vicuna").mkdir()
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["USER: what is it ? ASSISTANT: a red ball", "a chat with an assistant"] * 9),
            model_writer=file, vocab_size=300, model_type="bpe", byte_fallback=True, minloglevel=2,
            normalization_rule_name="identity",
        )  # fmt: skip
    own = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    family(config := llm_config("llama")).from_config(config).save_pretrained(folder)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True, "legacy": False}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"} | names))
    model, processor = compose(str(folder), image=None, frame="vicuna")
    frame = processor.template.frame
    ids = processor("what is it ?")["input_ids"][0].tolist()
    assert ids == [own.bos_id(), *own.encode(f"{frame.preset}{frame.user}what is it ?{frame.assistant}".strip())]
    assert model.generate(torch.tensor([ids]), max_new_tokens=3, do_sample=False).shape == (1, len(ids) + 3)
