"""Language benchmarks: a composed model's numbers are the harness's own of the same LLM, and runs hold these."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_run
from rich.console import Console
from tiny_parts import WORDS, tokenizer

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from isthmus.errors import BadData, BadRecipe, IsthmusError, UnknownName
from isthmus.evaluate import programs
from isthmus.evaluate.language import ComposedLM, branches
from isthmus.evaluate.language.programs import Programs
from isthmus.evaluate.language.run import language
from isthmus.evaluate.language.text import Until, shown
from isthmus.model import load
from isthmus.types import Message

QUIET = Console(quiet=True)
FEW = "what colour is the ball ? red\nis it a cube ? no please\n"
QUESTIONS = ["what colour is the ball ?", "is it red", "a cube please", "left of", "two", "blue or green or red ?"]
COLOURS = """
task: NAME
dataset_path: json
dataset_kwargs: {data_files: {test: data/colours.jsonl}}
output_type: multiple_choice
test_split: test
fewshot_split: test
doc_to_text: "{{question}}\\nanswer"
doc_to_target: "{{answer}}"
doc_to_choice: ["red", "blue", "two green"]
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 2.0}
"""
SUMS = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: data/colours.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{said}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
filter_list:
  - {name: number, filter: [{function: regex, regex_pattern: "(\\\\d+)"}, {function: take_first}]}
  - {name: whole, filter: [{function: take_first}]}
"""
PROSE = """
task: prose
dataset_path: json
dataset_kwargs: {data_files: {test: data/colours.jsonl}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}]
"""
BOTH = """
group: both
task: [colours, colours_too]
aggregate_metric_list: [{metric: acc, aggregation: mean, weight_by_size: true}]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model's folder."""
    return str(tiny_run.save(tmp_path_factory.mktemp("language")))


@pytest.fixture(scope="module")
def built(model: str) -> Any:
    return load(model)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder of tasks and their data."""
    folder = tmp_path / "tasks"
    (folder / "data").mkdir(parents=True)
    for name in ("colours", "colours_too"):
        (folder / f"{name}.yaml").write_text(COLOURS.replace("NAME", name))
    for name, text in (("sums", SUMS), ("prose", PROSE), ("both", BOTH)):
        (folder / f"{name}.yaml").write_text(text)
    rows = [{"question": f"{one} <|im_end|>", "answer": i % 3, "said": "red"} for i, one in enumerate(QUESTIONS)]
    (folder / "data" / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def asked(kind: Any, *each: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, own, number) for number, own in enumerate(each)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def plain(model: Any, processor: Any, backend: Any = "causal") -> HFLM:
    """The harness's own model, of the same LLM."""
    return HFLM(pretrained=model.llm, tokenizer=processor.tokenizer, batch_size=1, backend=backend, device="cpu")


@pytest.mark.parametrize("share", [True, False])
def test_likelihoods_are_the_harness_s(built: Any, share: bool) -> None:
    ends = (" yes", " no", " red blue", " a cube please", "\nno")
    each = [(FEW + one, end) for one in QUESTIONS for end in ends]
    each += [("", " yes no two"), ("space behind  ", "yes"), (FEW * 20 + "is it", " red blue"), ("is it", " red")]
    requests = asked("loglikelihood", *each)
    own, theirs = ComposedLM(built, share=share), plain(*built)
    found, expected = own.loglikelihood(requests), theirs.loglikelihood(requests, disable_tqdm=True)
    assert [one for one, _ in found] == pytest.approx([one for one, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert own.cut == {FEW * 20 + "is it"}  # longer than the LLM reads


def test_the_likeliest_continuation_is_told(built: Any) -> None:
    own = ComposedLM(built)
    (said,) = own.generate_until(asked("generate_until", ("is it red", {"until": [], "max_gen_toks": 3})))
    ids = own.tok_encode("is it red" + said)
    if (
        ids[: len(own.tok_encode("is it red"))] != own.tok_encode("is it red")
        or own.tokenizer.decode(ids) != "is it red" + said
    ):
        pytest.skip("what was said is tokenised in another way")
    (_, greedy), (_, other) = own.loglikelihood(asked("loglikelihood", ("is it red", said), ("is it red", " please")))
    assert greedy
    assert not other


def test_whole_texts_are_the_harness_s(built: Any) -> None:
    rng = random.Random(0)
    texts = [("one two",), ("is it red",), (" ".join(rng.choice(WORDS.split()) for _ in range(400)),)]
    requests = asked("loglikelihood_rolling", *texts)
    found = ComposedLM(built).loglikelihood_rolling(requests)
    assert found == pytest.approx(plain(*built).loglikelihood_rolling(requests, disable_tqdm=True), rel=1e-5)


@pytest.mark.parametrize("share", [True, False])
def test_continuations_are_the_harness_s(built: Any, share: bool) -> None:
    short = {"until": ["\n"], "max_gen_toks": 9}
    long = {"until": ["K", "\x08"], "max_gen_toks": 12, "do_sample": False, "temperature": 0.0}
    each = [(FEW * 2 + one, kind) for kind in (short, long) for one in QUESTIONS]
    each += [(FEW * 20 + "is it", short), ("is it", {"max_gen_toks": 4})]
    requests = asked("generate_until", *each)
    own = ComposedLM(built, batch_size=4, share=share)
    assert own.generate_until(requests) == plain(*built).generate_until(requests, disable_tqdm=True)
    assert [request.args for request in requests] == each  # the harness's own adds to what a task says


def test_an_encoder_decoder_s_are_too(tmp_path: Path) -> None:
    from isthmus.model import compose

    llm, vision = tiny_run.parts(tmp_path, "t5")
    image = {"encoder": "vit-s", "connector": "mlp", "part": str(vision), "size": 16, "tokens": 4}
    built = compose(str(llm), image)
    own, theirs = ComposedLM(built, batch_size=1, max_length=64), plain(*built, "seq2seq")
    requests = asked("loglikelihood", *((one, end) for one in QUESTIONS for end in ("yes", "no two")))
    found, expected = own.loglikelihood(requests), theirs.loglikelihood(requests, disable_tqdm=True)
    assert [one for one, _ in found] == pytest.approx([one for one, _ in expected], abs=1e-4)
    requests = asked("generate_until", *((one, {"until": ["q"], "max_gen_toks": 7}) for one in QUESTIONS))
    expected = theirs.generate_until(requests, disable_tqdm=True)  # which counts the question's tokens as its own
    for said, longer in zip(own.generate_until(requests), expected, strict=True):
        assert longer.startswith(said.rstrip("\ufffd"))
        assert len(own.tok_encode(said)) <= 3 * 7  # a byte that is no character is three


def test_control_tokens_in_a_text_stay_text(built: Any) -> None:
    own, end = ComposedLM(built), built[1].tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in plain(*built).tok_encode("is it <|im_end|>")
    assert end not in own.tok_encode("is it <|im_end|>")
    prompt = own.apply_chat_template([{"role": "user", "content": "is it <|im_end|>\ufdd1 red"}])
    assert own.tok_encode(prompt).count(end) == 1  # the template's own


def test_a_chat_is_tokenised_as_in_training(built: Any) -> None:
    own, (_, processor) = ComposedLM(built), built
    history = [
        *({"role": "system", "content": "be good"}, {"role": "user", "content": "is it red ?"}),
        *({"role": "assistant", "content": "no"}, {"role": "user", "content": "is it blue ?"}),
    ]
    expected = processor.ids([Message(one["role"], one["content"]) for one in history])
    prompt = own.apply_chat_template(history)
    assert own.tok_encode(prompt) == expected
    context, ending = own._encode_pair(prompt, "yes")
    assert (context, ending) == (expected, processor.template.plain(" yes"))  # an answer begins with a space there
    begun = own.apply_chat_template([*history, {"role": "assistant", "content": "it is"}], add_generation_prompt=False)
    assert own.tok_encode(begun) == expected + processor.template.plain(" it is")
    assert own._encode_pair(begun, " no")[1] == processor.template.plain(" no")
    assert shown(prompt).splitlines()[-2:] == ["user: is it blue ?", "assistant:"]


def test_rows_are_filled_and_nothing_is_read_twice() -> None:
    rng = random.Random(1)
    texts = [[rng.randrange(3) for _ in range(rng.randrange(1, 9))] for _ in range(200)]
    every = list(branches.rows(texts, width=40))
    assert sorted(number for row in every for number, _ in row.texts) == list(range(200))
    for row in every:
        for number, places in row.texts:
            assert [row.ids[place] for place in places] == texts[number]
            assert [row.positions[place] for place in places] == list(range(len(texts[number])))
        mask = row.mask()
        for _, places in row.texts:
            for i, place in enumerate(places):
                if mask is not None:
                    assert mask[0, 0, place].eq(0).nonzero().flatten().tolist() == sorted(places[: i + 1])
    (row,) = branches.rows(texts, width=10**6)
    assert len(row.ids) == len({tuple(text[:end]) for text in texts for end in range(1, len(text) + 1)})
    assert len(list(branches.rows(texts, share=False))) == len({tuple(text) for text in texts})


def test_what_ends_a_text_is_found_across_tokens() -> None:
    own = tokenizer()
    ids = own("is it red\n\nno").input_ids
    rule = Until(own, ["d\n\nn"], 2, {own.eos_token_id})
    import torch

    assert [bool(rule(torch.tensor([ids[:end]]), None)) for end in (len(ids) - 1, len(ids))][-1]
    assert not bool(rule(torch.tensor([ids[:4]]), None))
    assert rule.text([*own("red").input_ids, own.eos_token_id, *own("blue").input_ids]) == "red"


def test_a_run_holds_what_the_harness_told(tasks: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = language(model, ["both", "sums", "prose"], out, folder=tasks, console=QUIET)
    assert json.loads((out / "results.json").read_text()) == found
    both = found["benchmarks"]["both"]
    assert list(both["metrics"]) == [
        *("acc", "colours/acc", "colours/acc_norm", "colours_too/acc", "colours_too/acc_norm"),
    ]
    rows = lines(out / "both" / "samples.jsonl")
    scores = [row["score"] for row in rows]
    assert len(rows) == both["metrics"]["acc"]["n"] == 12
    assert both["metrics"]["acc"]["value"] == pytest.approx(sum(scores) / 12)
    assert [row["score"] for row in rows] == [float(row["answer"] == row["truth"]) for row in rows]
    assert {row["parts"][0] for row in rows} == {"colours", "colours_too"}
    assert len({row["id"] for row in rows}) == 12
    value, low, high, n = found["benchmarks"]["both"]["metrics"]["colours/acc"].values()
    error = (value * (1 - value) / (n - 1)) ** 0.5
    assert (low, high) == pytest.approx((max(value - 1.96 * error, 0), min(value + 1.96 * error, 1)))
    sums = found["benchmarks"]["sums"]
    assert list(sums["metrics"]) == ["exact_match,number", "exact_match,whole"]
    assert (sums["headline"], sums["mode"]) == ("exact_match,number", "official")
    logged = lines(out / "sums" / "predictions.jsonl")
    failed = sum(row["filtered_resps"] == ["[invalid]"] for row in logged)
    assert failed
    assert any(f"{failed} of 6 answers could not be read by number" in note for note in sums["notes"])
    assert sums["metrics"]["exact_match,number"]["low"] is None  # all alike: no spread to estimate from
    assert [row["answer"] for row in lines(out / "sums" / "samples.jsonl")] == [
        row["resps"][0][0] for row in logged[:6]
    ]
    assert len(logged) == 12
    prose = found["benchmarks"]["prose"]["metrics"]["word_perplexity"]
    assert prose["low"] is None
    assert prose["value"] > 1
    assert lines(out / "prose" / "samples.jsonl")[0]["score"] is None


def test_figures_are_the_harness_s(tasks: Path, model: str, built: Any, tmp_path: Path) -> None:
    from lm_eval.evaluator import evaluate

    from isthmus.evaluate.language import tasks as named

    rows = [{"question": one, "answer": i % 3, "said": "red"} for i, one in enumerate(QUESTIONS)]  # no control tokens
    (tasks / "data" / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = language(model, ["colours", "prose"], tmp_path / "out", shots=2, folder=tasks, console=QUIET)
    with named.quiet():
        manager, names = named.find(["colours", "prose"], tasks)
        for name in names:
            loaded = named.load(manager, name, 2, tasks)
            named.seed()
            theirs = evaluate(plain(*built), loaded, bootstrap_iters=10)
            for key, figure in found["benchmarks"][name]["metrics"].items():
                assert figure["value"] == pytest.approx(theirs["results"][name][f"{key},none"], rel=1e-4)
            if name == "colours":
                logs = [one[0] for sample in theirs["samples"][name] for one in sample["filtered_resps"]]
                own = [
                    one[0] for row in lines(tmp_path / "out/colours/predictions.jsonl") for one in row["filtered_resps"]
                ]
                assert own == pytest.approx(logs, abs=1e-4)


def test_shots_and_limit(tasks: Path, model: str, tmp_path: Path) -> None:
    found = language(model, ["colours"], tmp_path / "out", limit=3, shots=2, folder=tasks, console=QUIET)
    rows = lines(tmp_path / "out" / "colours" / "samples.jsonl")
    assert found["benchmarks"]["colours"]["metrics"]["acc"]["n"] == len(rows) == 3
    assert all(row["prompt"].count("answer") == 3 for row in rows)  # two examples, and what is asked
    assert "2 examples before each question" in found["benchmarks"]["colours"]["notes"][0]
    assert any("3 of 6" in note for note in found["benchmarks"]["colours"]["notes"])


def test_a_chat_run(tasks: Path, model: str, tmp_path: Path) -> None:
    found = language(model, ["colours"], tmp_path / "out", shots=1, folder=tasks, console=QUIET, chat=True)
    row = lines(tmp_path / "out" / "colours" / "samples.jsonl")[0]
    assert [line.split(":")[0] for line in row["prompt"].splitlines() if ":" in line] == [
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert "in the chat template" in found["benchmarks"]["colours"]["notes"][0]


def test_other_benchmarks_of_a_run_stay(tasks: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    language(model, ["colours"], out, folder=tasks, console=QUIET)
    before = json.loads((out / "results.json").read_text())
    before["benchmarks"]["pope"] = {"benchmark": "pope"}
    (out / "results.json").write_text(json.dumps(before))
    after = language(model, ["sums"], out, folder=tasks, console=QUIET)
    assert list(after["benchmarks"]) == ["colours", "pope", "sums"]
    assert after["benchmarks"]["colours"] == before["benchmarks"]["colours"]
    assert sorted(path.name for path in out.iterdir()) == ["colours", "results.json", "run.json", "sums"]


def test_what_was_answered_is_not_asked_again(
    tasks: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    original = ComposedLM._continued

    def counted(self: ComposedLM, texts: Sequence[list[int]], given: dict[str, Any]) -> list[str]:
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(len(texts))
        return original(self, texts, given)

    monkeypatch.setattr(ComposedLM, "_continued", counted)
    monkeypatch.setattr("isthmus.evaluate.language.BATCH", 2)
    with pytest.raises(KeyboardInterrupt):
        language(model, ["sums"], tmp_path / "out", folder=tasks, console=QUIET)
    assert Path.cwd() != tasks
    monkeypatch.setattr(ComposedLM, "_continued", original)
    again: list[int] = []
    monkeypatch.setattr(ComposedLM, "_continued", lambda *own: again.append(len(own[1])) or original(*own))
    one = language(model, ["sums"], tmp_path / "out", folder=tasks, console=QUIET)
    assert sum(again) == len(QUESTIONS) - 2
    other = language(model, ["sums"], tmp_path / "other", folder=tasks, console=QUIET)
    assert one["benchmarks"] == other["benchmarks"]
    assert (tmp_path / "out/sums/samples.jsonl").read_bytes() == (tmp_path / "other/sums/samples.jsonl").read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on(tasks: Path, model: str, tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from isthmus.evaluate import language
from isthmus.evaluate.language import run
original = language.ComposedLM._continued
language.BATCH = 1
language.ComposedLM._continued = lambda *own: time.sleep(0.3) or original(*own)
run.language({model!r}, ["sums"], Path({str(tmp_path / "out")!r}), folder=Path({str(tasks)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list((tmp_path / "out").glob("sums/answers-*.db")) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.9)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    one = language(model, ["sums"], tmp_path / "out", folder=tasks, console=QUIET)
    other = language(model, ["sums"], tmp_path / "other", folder=tasks, console=QUIET)
    assert one["benchmarks"] == other["benchmarks"]


def test_other_weights_are_asked_anew(tasks: Path, tmp_path: Path) -> None:
    folder = tiny_run.save(tmp_path / "own")
    language(str(folder), ["prose"], tmp_path / "out", folder=tasks, console=QUIET)
    before = json.loads((tmp_path / "out/results.json").read_text())["benchmarks"]["prose"]["metrics"]
    import torch

    from isthmus.model import save_full

    model, processor = load(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(0.5)
    save_full(model, processor, folder)
    after = language(str(folder), ["prose"], tmp_path / "out", folder=tasks, console=QUIET)
    assert after["benchmarks"]["prose"]["metrics"] != before


def test_what_cannot_be_asked_is_told(tasks: Path, model: str, tmp_path: Path) -> None:
    def refused(kind: type[Exception], words: str, *names: str, **more: Any) -> None:
        with pytest.raises(kind, match=words):
            language(more.pop("model", model), names, tmp_path / "out", console=QUIET, **{"folder": tasks} | more)
        assert not (tmp_path / "out").exists()

    refused(BadData, "no such folder of tasks", "sums", folder=tmp_path / "none")
    refused(BadRecipe, "no composed model", "sums", model="majority")
    refused(UnknownName, "no model", "sums", model=str(tmp_path / "none"))
    refused(BadRecipe, "a limit is at least 1", "sums", limit=0)
    (tasks / "data" / "colours.jsonl").write_text("{")
    refused(BadData, "task sums cannot be loaded.*are not what lm-evaluation-harness expects", "sums")
    (tasks / "data" / "colours.jsonl").unlink()
    refused(BadData, "task sums cannot be loaded.*hf download", "sums")


@pytest.mark.slow
def test_a_name_that_nobody_has_is_told(tasks: Path, model: str, tmp_path: Path) -> None:
    """The harness's own thousands are looked through, which takes seconds."""
    with pytest.raises(UnknownName, match="Did you mean 'arc_easy'"):
        language(model, ["arc_esy"], tmp_path / "out", console=QUIET)
    (tasks / "broken.yaml").write_text("task: [")
    with pytest.raises(BadData, match=r"broken\.yaml is no task"):
        language(model, ["broken"], tmp_path / "out", folder=tasks, console=QUIET)
    assert not (tmp_path / "out").exists()


def test_tasks_that_are_wrong_are_told(tasks: Path, model: str, tmp_path: Path) -> None:
    (tasks / "data" / "none.jsonl").write_text("")
    for name, (old, new), words in (
        ("column", ("{{question}}", "{{quest}}"), "'quest' is undefined.*not what lm-evaluation-harness expects"),
        ("empty", ("colours.jsonl", "none.jsonl"), "cannot be loaded"),
        ("split", ("test_split: test", "test_split: dev"), "'dev'"),
        ("metric", ("metric: exact_match", "metric: exactly"), "no metric exactly"),
        ("long", ("max_gen_toks: 6", "max_gen_toks: 999"), "by up to 999 tokens, and this LLM reads 256"),
        ("option", ("max_gen_toks: 6", "max_gen_toks: 6, loud: 3"), "generation_kwargs.*loud.*cannot be used"),
    ):
        (tasks / f"{name}.yaml").write_text(SUMS.replace("task: sums", f"task: {name}").replace(old, new))
        with pytest.raises((BadData, BadRecipe), match=words):
            language(model, [name], tmp_path / name, folder=tasks, console=QUIET)
    (tasks / "silent.yaml").write_text(SUMS.replace("task: sums", "task: silent").replace("{{question}}", ""))
    language(model, ["silent"], tmp_path / "out", folder=tasks, console=QUIET)  # an empty prompt is one
    for path in (tmp_path / "out" / "silent").glob("answers-*.db"):
        path.write_bytes(b"no database" * 99)
    with pytest.raises(BadData, match="Delete it to ask again"):
        language(model, ["silent"], tmp_path / "out", folder=tasks, console=QUIET)


def test_without_the_harness_it_is_told_what_to_install(
    tasks: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.api.task", None)
    with pytest.raises(IsthmusError, match=re.escape("pip install 'isthmus[lm-eval]'")):
        language(model, ["sums"], tmp_path / "out", folder=tasks, console=QUIET)


def test_a_folder_of_something_else_is_left_alone(tasks: Path, model: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(BadRecipe, match="holds something else"):
        language(model, ["sums"], tmp_path / "out", folder=tasks, console=QUIET)
    (tmp_path / "out" / "run.json").write_text('{"model": "other"}')
    (tmp_path / "out" / "results.json").write_text('{"model": "other", "benchmarks": {}}')
    with pytest.raises(BadRecipe, match="was begun with the model other"):
        language(model, ["sums"], tmp_path / "out", folder=tasks, console=QUIET)
    (tmp_path / "out" / "results.json").write_text("[]")
    with pytest.raises(BadData, match="cannot be read"):
        language(model, ["sums"], tmp_path / "out", folder=tasks, console=QUIET)


def test_programs_run_in_the_sandbox(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HumanEval's own file of the harness, with two tasks in a folder as its hub has them."""
    import lm_eval

    folder, theirs = tmp_path / "tasks", Path(lm_eval.__file__).parent / "tasks/humaneval/humaneval.yaml"
    (folder / "openai/openai_humaneval").mkdir(parents=True)
    rows = [
        {"task_id": str(i), "prompt": f"x = {i} #", "test": f"def check(own): assert x == {ok}", "entry_point": "x"}
        for i, ok in enumerate((0, 7))
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "openai/openai_humaneval/test.jsonl").write_text(data)
    (folder / "own.yaml").write_text(
        f'include: {theirs}\ntask: own\ngeneration_kwargs: {{until: ["\\n"], max_gen_toks: 2, do_sample: false}}\n'
    )
    ran: list[str] = []
    original = programs.run_all
    monkeypatch.setattr(programs, "run_all", lambda some, *more: ran.extend(some) or original(some, *more))
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    found = language(model, ["own"], tmp_path / "out", folder=folder, console=QUIET)["benchmarks"]["own"]
    assert found["metrics"]["pass@1,create_test"]["value"] == 0.5
    assert sum("check(x)" in one for one in ran) == 2
    assert any("programs ran in processes of their own" in note for note in found["notes"])
    (folder / "loud.yaml").write_text((folder / "own.yaml").read_text().replace("own", "loud") + "metric_list: []\n")
    with pytest.raises(BadRecipe, match="outside of a sandbox"):
        language(model, ["loud"], tmp_path / "out", folder=folder, console=QUIET)


def test_pass_at_k_of_programs() -> None:
    rates, passed = Programs().compute(["assert x == 1"] * 2, [["x = 1", "x = 2"], ["x = 1", "1 / 0"]], [1, 2, 10])
    assert rates == {"pass@1": 0.5, "pass@2": 1.0}
    assert passed == [[True, False], [True, False]]


@pytest.mark.slow
def test_the_harness_s_command_knows_the_model(tasks: Path, model: str) -> None:
    command = [sys.executable, "-m", "isthmus.evaluate.language", "run", "--model", "isthmus", "--include_path", "."]
    command += ["--model_args", f"pretrained={model}", "--tasks", "colours", "--limit", "2", "--device", "cpu"]
    said = subprocess.run(command, cwd=tasks, capture_output=True, text=True, timeout=300, check=False)
    assert "|colours|" in said.stdout.replace(" ", ""), said.stderr[-2000:]
