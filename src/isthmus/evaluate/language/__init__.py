"""A composed model as a model of lm-evaluation-harness (Gao et al., github.com/EleutherAI/lm-evaluation-harness).

Tasks about language alone are asked of the whole model, as it talks, not of the LLM it was made from. Text is tokenised
as that harness does for a plain LLM, except that control tokens typed in it stay text. With a chat template, what is
asked becomes messages, which are tokenised as in training (`data.packing.Template`).

`python -m isthmus.evaluate.language run --model isthmus --model_args pretrained=default --tasks NAME` is the harness's
own command line, which then knows this model.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from isthmus import load_with_processor
from isthmus.data.packing import packs
from isthmus.errors import BadData, BadRecipe
from isthmus.evaluate.language import branches
from isthmus.evaluate.language.text import CLOSE, OPEN, Until
from isthmus.model.reuse import shared
from isthmus.types import Message

BATCH = 16  # texts that are continued together
GENERATED = 256  # tokens, where a task does not say, as the harness has it
READS = 2048  # tokens, where the LLM's configuration does not say, as the harness has it
WORTH = 32  # tokens that many texts begin with are read once
Progress = Callable[[str, int, int], None]  # what is done, how many of it, of how many


@register_model("isthmus")
class ComposedLM(TemplateLM):  # type: ignore[misc]
    """Log-likelihoods and continuations of texts, of one model on one device.

    Args:
        pretrained: a name that `load_with_processor` takes, or a pair of model and processor.
        batch_size: texts that are continued at once.
        device: where it runs; by default the first GPU, if there is one.
        max_length: how many tokens are read, if fewer than the LLM can.
        share: whether what several texts begin with is read once.
        progress: called after each batch.
    """

    def __init__(
        self,
        pretrained: Any = "default",
        batch_size: int | str | None = None,
        device: str | None = None,
        max_length: int | None = None,
        max_batch_size: int | None = None,
        share: bool = True,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        named = isinstance(pretrained, str)
        self.composed, self.processor = load_with_processor(pretrained) if named else pretrained
        if not torch.cuda.is_available():  # the harness names a GPU by default, whether there is one or not
            device = "cpu" if device is None or str(device).startswith("cuda") else device
        self._device = torch.device(device or "cuda")
        self.composed.eval().to(self._device)
        self.tokenizer, self.template = self.processor.tokenizer, self.processor.template
        self.config = self.composed.config.get_text_config(decoder=True)
        self.backend = "seq2seq" if self.composed.config.is_encoder_decoder else "causal"
        self.batch_size = int(batch_size) if batch_size and str(batch_size).isdigit() else BATCH
        self.max_length = self._reads(max_length)
        self.share, self.progress = share, progress or (lambda what, done, total: None)
        self.cut: set[str] = set()  # texts of which the beginning was left out

    def _reads(self, asked: int | None) -> int:
        names = ("n_positions", "max_position_embeddings", "n_ctx")
        reads = next((n for name in names if (n := getattr(self.config, name, None))), READS)
        if asked is not None and not 1 < int(asked) <= reads:
            raise BadRecipe(f"max_length={asked}: this LLM reads between 2 and {reads:,} tokens")
        return int(asked or reads)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What a text without a context is read after."""
        start = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else int(start)

    @property
    def tokenizer_name(self) -> str:
        """What keeps prepared requests of one model apart from another's."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    @property
    def max_gen_toks(self) -> int:
        """Tokens of a continuation, where its task does not say."""
        return GENERATED

    def chat_template(self, chat_template: bool | str = False) -> str:
        """What stands around messages, for the record."""
        return repr(self.template.frame)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages as a prompt, which `tok_encode` makes tokens of; the last one is an answer that is to be continued,
        unless a new one is opened.

        A system message goes before the user's words where the LLM's own template has no place for one.
        """
        history = [dict(message) for message in chat_history]
        if self.template.frame.system is None and history[0]["role"] == "system":
            told = history.pop(0)["content"]
            history[0]["content"] = f"{told}\n\n{history[0]['content']}"
        if wrong := {one["role"] for one in history} - {"system", "user", "assistant"}:
            raise BadData(f"a message's role is {', '.join(wrong)}, which is none of system, user, assistant")
        begun = None if add_generation_prompt else history.pop()["content"]
        return f"{OPEN}{json.dumps([history, begun])}{CLOSE}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Tokens of a text, begun as the tokenizer begins one, or of messages and a text that continues their last."""
        if string.startswith(OPEN) and CLOSE in string:
            written, _, more = string[len(OPEN) :].partition(CLOSE)
            history, begun = json.loads(written)
            ids: list[int] = self.template.conversation([Message(one["role"], one["content"]) for one in history])
            text = more if begun is None else f"{begun}{more}"
            space = "" if not text or text[:1].isspace() else self.template.frame.space
            return [*ids, *self.template.plain(space + text)]
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer(string, split_special_tokens=True, **special).input_ids)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """The log-likelihood of each continuation, and whether it is the likeliest; see the base class."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """The log-likelihood of whole texts, each token after as many others as the LLM reads; see the base class."""
        windows = []
        for number, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            every = get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, context_len=1)
            windows += [(number, *make_disjoint_window(window)) for window in every]
        found = self._loglikelihood_tokens([(None, before, after) for _, before, after in windows])
        sums = [0.0] * len(requests)
        for (number, *_), (own, _) in zip(windows, found, strict=True):
            sums[number] += own
        for request, own in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, own)
        return sums

    @torch.inference_mode()
    def _loglikelihood_tokens(self, requests: Sequence[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        """For each (texts, context, continuation), the latter as tokens, what `loglikelihood` tells."""
        requests = [(texts, before or [self.prefix_token_id], after) for texts, before, after in requests]
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        done = 0
        for some in self._scored(requests):
            for number, own in some:
                found[number] = own
                if requests[number][0] is not None:
                    self.cache_hook.add_partial("loglikelihood", requests[number][0], own)
            done += len(some)
            self.progress("likelihoods", done, len(requests))
        return found

    def _scored(self, requests: Sequence[Any]) -> Iterator[list[tuple[int, tuple[float, bool]]]]:
        """The log-likelihoods of some requests after another, each with its number."""
        for texts, before, after in requests:
            if not after:
                raise BadData(f"there is no text to score after {texts!r:.200}")
            if len(before) + len(after) > self.max_length + 1 and texts is not None:
                self.cut.add(texts[0])
        if self.backend == "seq2seq":
            yield from self._answers_scored(requests)
            return
        texts = [(before + after)[-(self.max_length + 1) :][:-1] for _, before, after in requests]
        for row in branches.rows(texts, self._shares(max(map(len, texts), default=0))):
            needed = sorted({place for number, places in row.texts for place in places[-len(requests[number][2]) :]})
            where = {place: i for i, place in enumerate(needed)}
            inputs: dict[str, Any] = {
                "input_ids": torch.tensor([row.ids]),
                "position_ids": torch.tensor([row.positions]),
            }
            inputs |= {"attention_mask": row.mask(), "logits_to_keep": torch.tensor(needed)}
            logits = self.composed(**send_to_device(inputs, self._device), use_cache=False).logits[0].float()
            total, best = logits.logsumexp(-1), logits.argmax(-1).tolist()
            some = []
            for number, places in row.texts:
                after = requests[number][2]
                own = [where[place] for place in places[-len(after) :]]
                logs = logits[own, after[-len(own) :]] - total[own]
                some.append((number, (float(logs.sum()), [best[place] for place in own] == after)))
            yield some

    def _answers_scored(self, requests: Sequence[Any]) -> Iterator[list[tuple[int, tuple[float, bool]]]]:
        """As `_scored`, of an encoder-decoder: it reads the context, and answers with the continuation."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for number, (_, before, _) in enumerate(requests):
            alike.setdefault(tuple(before[-self.max_length :]), []).append(number)
        for before, numbers in alike.items():
            some = []
            ids = torch.tensor([before or (self.eot_token_id,)], device=self._device)
            for number in numbers:
                after = torch.tensor([requests[number][2][-self.max_length :]], device=self._device)
                logs = self.composed(input_ids=ids, labels=after).logits.float().log_softmax(-1)
                greedy = bool((logs.argmax(-1) == after).all())
                some.append((number, (float(logs.gather(-1, after[..., None]).sum()), greedy)))
            yield some

    def _shares(self, longest: int) -> bool:
        """Whether texts of so many tokens may share what they begin with.

        Layers that look back a bounded number of tokens count those of other branches too.
        """
        window = getattr(self.config, "sliding_window", None)
        return self.share and packs(self.composed) and (window is None or longest <= window)

    @torch.inference_mode()
    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """How each text goes on, up to the first of its task's stop strings or the token that ends a text."""
        said = [""] * len(requests)
        ids = [self.tok_encode(request.args[0]) or [self.prefix_token_id] for request in requests]
        kinds = [json.dumps(request.args[1], sort_keys=True, default=str) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: (kinds[i], -len(ids[i]), requests[i].args[0]))
        done = 0
        for _, alike in itertools.groupby(order, key=kinds.__getitem__):
            every = list(alike)
            for batch in (every[i : i + self.batch_size] for i in range(0, len(every), self.batch_size)):
                given = copy.deepcopy(requests[batch[0]].args[1])  # stop strings are put into it
                for number, text in zip(batch, self._continued([ids[i] for i in batch], given), strict=True):
                    context = requests[number].args[0]
                    said[number] = text.removeprefix(self.template.frame.space) if context.startswith(OPEN) else text
                    if len(ids[number]) > self._room(given):
                        self.cut.add(context)
                    self.cache_hook.add_partial("generate_until", requests[number].args, said[number])
                done += len(batch)
                self.progress("answers", done, len(requests))
        return said

    def _room(self, given: dict[str, Any]) -> int:
        """Tokens that are left for a text which is to be continued."""
        longest = int(normalize_gen_kwargs(given, GENERATED)["max_gen_toks"])
        if self.backend == "seq2seq":
            return self.max_length
        if longest >= self.max_length:
            raise BadRecipe(
                f"the task continues texts by up to {longest:,} tokens, and this LLM reads {self.max_length:,} in all."
                " Lower max_gen_toks of its generation_kwargs in a task of your own (--tasks-folder)"
            )
        return self.max_length - longest

    def _continued(self, texts: Sequence[list[int]], given: dict[str, Any]) -> list[str]:
        """The continuations of texts under the same settings, which are those of the harness."""
        room, options = self._room(given), dict(normalize_gen_kwargs(given, GENERATED))
        eos = self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False)
        until = handle_stop_sequences(options.pop("until", None), eos=eos)
        longest = int(options.pop("max_gen_toks"))
        if not options.get("do_sample"):
            options = {"do_sample": False} | {k: v for k, v in options.items() if k not in ("temperature", "do_sample")}
        inputs, start = self._begun([text[-room:] for text in texts], longest)
        start = 1 if self.backend == "seq2seq" else start
        rule = Until(self.tokenizer, [text for text in until if text], start, self._ends())
        options |= {"max_new_tokens": longest, "stopping_criteria": [rule], "pad_token_id": self.processor.pad}
        try:
            out: Any = self.composed.generate(**inputs, **options)
        except ValueError as error:  # transformers' word for options that it does not know
            raise BadRecipe(f"the task's generation_kwargs {given} cannot be used: {error}") from error
        return [postprocess_generated_text(rule.text(row[start:]), until, None) for row in out.tolist()]

    def _ends(self) -> set[int]:
        """The tokens at which `generate` itself ends a text."""
        own = self.composed.generation_config.eos_token_id
        return {self.eot_token_id, *(own if isinstance(own, list) else [] if own is None else [own])}

    def _begun(self, texts: Sequence[list[int]], more: int) -> tuple[dict[str, Any], int]:
        """What `generate` is given for up to so many `more` tokens, with what all texts begin with read already; and
        how long its rows are."""
        first = min(texts, default=[])
        known = min(branches.common(first, max(texts, default=[])), min(map(len, texts)) - 1)
        longest = max(map(len, texts))
        if len(texts) == 1 or known < WORTH or not self._shares(longest + more):
            known = 0
        fill = [longest - len(text) for text in texts]
        rows = [text[:known] + [self.processor.pad] * n + text[known:] for n, text in zip(fill, texts, strict=True)]
        masks = [[1] * known + [0] * n + [1] * (len(text) - known) for n, text in zip(fill, texts, strict=True)]
        inputs = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}
        inputs = send_to_device(inputs, self._device)
        if known:
            ids, mask = inputs["input_ids"][:1, :known], inputs["attention_mask"][:1, :known]
            inputs |= shared(self.composed, ids, mask, ids.new_zeros(len(texts)), {})
        return inputs, longest
