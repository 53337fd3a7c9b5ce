"""Metrics against the libraries they must equal, against sums by hand, and on input that leaves nothing to count."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from isthmus.errors import BadData, PartUnavailable
from isthmus.evaluate.benchmarks import score
from isthmus.evaluate.metrics import boxes, calibration, classification, clip_score, entailment, pass_at_k, retrieval
from isthmus.evaluate.metrics.coco_map import Detection, Truth, coco_map
from isthmus.evaluate.metrics.word_errors import errors, rate


def test_average_precision_is_nan_where_nothing_is_relevant():
    assert np.isnan(classification.average_precision([False, False], [0.1, 0.2]))


def test_coco_ignores_what_a_crowd_covers_and_takes_the_surest_first():
    truths = [Truth(1, "dog", (0, 0, 10, 10)), Truth(1, "dog", (100, 0, 50, 50), crowd=True)]
    inside_the_crowd = Detection(1, "dog", (110, 10, 10, 10), 0.99)
    found = coco_map(truths, [inside_the_crowd, Detection(1, "dog", (0, 0, 10, 10), 0.5)])
    assert found["map"] == pytest.approx(1.0)  # the crowd's detection is neither right nor wrong
    twice = coco_map(truths[:1], [Detection(1, "dog", (0, 0, 10, 10), s) for s in (0.9, 0.8)])
    assert twice["map"] == pytest.approx(1.0)
    first_wrong = coco_map(
        truths[:1], [Detection(1, "dog", (50, 0, 9, 9), 0.9), Detection(1, "dog", (0, 0, 10, 10), 0.8)]
    )
    assert first_wrong["map"] == pytest.approx(0.5)
    assert np.isnan(found["map_large"])
    two = [Truth(1, "dog", (0, 0, 10, 10)), Truth(1, "dog", (50, 50, 10, 10)), Truth(2, "dog", (0, 0, 9, 9))]
    boxes_ = [(1, (0, 0, 10, 10), 0.9), (1, (50, 50, 10, 10), 0.8), (2, (99, 99, 5, 5), 0.7), (2, (0, 0, 9, 9), 0.6)]
    few = coco_map(two, [Detection(image, "dog", box, score) for image, box, score in boxes_])
    assert (few["mar_1"], few["mar_10"]) == (pytest.approx(1 / 3), pytest.approx(1.0))


def test_overlap_of_boxes_without_area_is_none():
    assert boxes.iou([[1, 1, 1, 1]], [[1, 1, 1, 1]])[0, 0] == 0
    assert boxes.giou([[0, 0, 1, 1]], [[2, 0, 3, 1]])[0, 0] == pytest.approx(-1 / 3)


def test_places_count_ties_against_the_model():
    rng = np.random.default_rng(0)
    similarity = rng.integers(0, 4, (6, 18)).astype(float)
    relevant = retrieval.captions_of(np.repeat(np.arange(6), 3).tolist(), 6)
    slow = []
    for row, flags in zip(similarity, relevant, strict=True):
        order = sorted(range(18), key=lambda i: (-row[i], flags[i]))
        slow.append(1 + next(place for place, i in enumerate(order) if flags[i]))
    assert retrieval.places(similarity, relevant).tolist() == slow
    assert retrieval.recall_at(retrieval.places(np.ones((4, 4)), np.eye(4, dtype=bool)), 1) == 0


def test_retrieval_average_precision_equals_scikit_learns_without_ties():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(1)
    similarity, relevant = rng.random((5, 12)), rng.random((5, 12)) < 0.4
    relevant[:, 0] = True
    expected = [average_precision_score(flags, row) for row, flags in zip(similarity, relevant, strict=True)]
    assert retrieval.average_precisions(similarity, relevant) == pytest.approx(expected)


def test_calibration_of_the_perfectly_calibrated_and_of_the_always_sure():
    assert calibration.ece([0.5] * 4, [1, 0, 1, 0]) == 0
    assert calibration.ece([1.0] * 4, [1, 0, 0, 0]) == pytest.approx(0.75)
    assert calibration.aurc([0.5] * 3, [1, 0, 1]) == pytest.approx(calibration.aurc([0.5] * 3, [0, 1, 1]))
    assert calibration.selective_accuracy([0.1, 0.9], [True, False], 1.0) == 0.5


def test_pass_at_k_is_the_share_of_draws_with_a_right_one():
    for n, right, k in [(6, 2, 3), (5, 0, 2), (5, 5, 1), (7, 3, 7)]:
        draws = list(itertools.combinations([1] * right + [0] * (n - right), k))
        assert pass_at_k.pass_at_k(n, right, k) == pytest.approx(np.mean([any(draw) for draw in draws]))
    with pytest.raises(ValueError, match="k = 3"):
        pass_at_k.pass_at_k(2, 1, 3)


def test_word_errors_equal_jiwers_pooled_over_a_corpus():
    import jiwer

    rng = np.random.default_rng(2)
    words = ["a", "be", "see", "Dee", "it's"]
    texts = [[" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(50)] for _ in range(2)]
    for characters, whole in ((False, jiwer.wer), (True, jiwer.cer)):
        counts = [errors(truth, said, characters) for truth, said in zip(*texts, strict=True)]
        assert rate(counts) == pytest.approx(whole(*texts))


def test_entailment_classes_are_found_by_name_and_must_be_there():
    assert entailment.places({0: "entailment", 1: "neutral", 2: "contradiction"}) == (0, 1, 2)
    with pytest.raises(PartUnavailable, match="LABEL_0"):
        entailment.places({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A tokeniser of whole words, in the form of `transformers`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [
        "<pad>",
        "<unk>",
        "<eos>",
        *["a", "photo", "depicts", "the", "dog", "cat", "runs", "sleeps", "yes", "no", "Answer"],
    ]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>")


def test_clip_score_of_a_tiny_clip_from_a_folder(tmp_path, words):
    from PIL import Image
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": len(words), "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 8}
    CLIPModel(
        CLIPConfig(text_config=text, vision_config=small | {"image_size": 8, "patch_size": 4}, projection_dim=8)
    ).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    CLIPImageProcessor(size={"shortest_edge": 8}, crop_size=8).save_pretrained(tmp_path)
    clip = clip_score.Embedder(tmp_path)
    captions, images = (
        clip.captions(["the dog runs", "a cat"]),
        clip.images([Image.new("RGB", (9, 7), c) for c in ("red", "blue")]),
    )
    assert captions.shape == images.shape == (2, 8)
    assert not np.allclose(captions[0], captions[1])
    cosine = (captions[0] @ images[0]) / np.linalg.norm(captions[0]) / np.linalg.norm(images[0])
    assert clip_score.clip_score(captions, images)[0] == pytest.approx(2.5 * max(cosine, 0))
    assert clip_score.ref_clip_score(captions, captions, [captions[:1], captions[1:]]) == pytest.approx([10 / 7] * 2)
    with pytest.raises(PartUnavailable, match="no CLIP"):
        clip_score.Embedder(tmp_path / "nothing")
    for colour in ("red", "blue"):
        Image.new("RGB", (9, 7), colour).save(tmp_path / f"{colour}.png")
    rows = [
        {"image": "red.png", "caption": "the dog runs", "references": ["the dog runs"]},
        {"image": "blue", "caption": "a cat", "references": ["a cat", "the dog"]},
        {"image": "green", "caption": "a cat", "references": ["a cat"]},
    ]
    said = tmp_path / "captions.jsonl"
    said.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = score("clipscore", said, tmp_path, part=str(tmp_path))
    fits = clip_score.clip_score(captions, images)
    assert told.metrics["clipscore"].value == pytest.approx(fits.mean())
    both = clip_score.ref_clip_score(captions, images, [captions[:1], captions[1:]])
    assert told.metrics["ref_clipscore"].value == pytest.approx(both.mean(), abs=1e-4)
    assert told.unscored == {"green": "no picture of this name"}
    alone = tmp_path / "captions.json"
    alone.write_text(json.dumps({"red": "the dog runs", "blue": "a cat"}))
    assert [*score("clipscore", alone, tmp_path, part=str(tmp_path)).metrics] == ["clipscore"], (
        "no reference is at hand"
    )
    with pytest.raises(BadData, match="clipscore needs --part: the folder of a CLIP"):
        score("clipscore", said, tmp_path)
    with pytest.raises(BadData, match="pope needs no model"):
        score("pope", said, part="x")


def test_entailment_by_a_tiny_classifier_and_by_a_tiny_llm(tmp_path, words):
    from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

    small = {"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    names = dict(enumerate(["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]))
    config = BertConfig(
        **small, num_attention_heads=2, num_labels=3, id2label=names, label2id={v: k for k, v in names.items()}
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "nli")
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, n_positions=64)).save_pretrained(
        tmp_path / "llm"
    )
    for name in ("nli", "llm"):
        words.save_pretrained(tmp_path / name)
    found = entailment.Classifier(tmp_path / "nli").probabilities(
        [("the dog runs", "a dog"), ("a cat", "the cat sleeps")]
    )
    assert [sum(one) for one in found] == pytest.approx([1, 1])
    assert 0 < entailment.Likelihood(tmp_path / "llm").yes("the dog runs", "a dog") < 1
    with pytest.raises(PartUnavailable, match="no classifier"):
        entailment.Classifier(tmp_path)
    rows = [{"id": "1", "prediction": "a dog", "references": ["the dog runs", "a cat"]}]
    said = tmp_path / "said.jsonl"
    said.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [("the dog runs", "a dog"), ("a cat", "a dog")]
    expected = entailment.entailment_score(entailment.Classifier(tmp_path / "nli").probabilities(pairs))
    told = score("entailment", said, part=str(tmp_path / "nli"))
    assert told.metrics["entailment_score"].value == pytest.approx(expected)
    llm = score("entailment", said, part=str(tmp_path / "llm"))
    assert [*llm.metrics] == ["llm_likelihood"]
    assert "a stand-in" in llm.notes[0]
    with pytest.raises(BadData, match="--part FOLDER, a classifier of entailment"):
        score("entailment", said)
    with pytest.raises(PartUnavailable, match="no LLM"):
        score("entailment", said, part=str(tmp_path / "nothing"))
    assert json.loads((tmp_path / "nli" / "config.json").read_text())["id2label"]["2"] == "ENTAILMENT"
