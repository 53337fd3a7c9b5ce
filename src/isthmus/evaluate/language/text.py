"""Prompts and answers as text: what stands for messages in a prompt, and where an answer ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

OPEN, CLOSE = "\ufdd0", "\ufdd1"  # around messages in a prompt: no characters, so that no text has them


class Until:
    """Ends each text of a batch once it has one of some strings."""

    def __init__(self, tokenizer: Any, strings: Sequence[str], start: int, ends: set[int]) -> None:
        self.tokenizer, self.strings, self.start, self.ends = tokenizer, strings, start, ends
        self.back = max([0, *(len(text.encode()) for text in strings)]) + 8  # tokens are a byte long, or longer

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Which rows are done [B]."""
        tails = input_ids[:, self.start :][:, -self.back :].tolist()
        texts = [self.tokenizer.decode(tail, skip_special_tokens=False) for tail in tails]
        done = [any(string in text for string in self.strings) for text in texts]
        return torch.tensor(done, device=input_ids.device)

    def text(self, ids: Sequence[int]) -> str:
        """What was said, up to the first token that ends a text; what stands behind it only fills up the row."""
        end = next((i for i, token in enumerate(ids) if token in self.ends), len(ids))
        return str(self.tokenizer.decode(list(ids[:end]), skip_special_tokens=True))


def shown(prompt: str) -> str:
    """A prompt for people: of messages, who says what.

    >>> print(shown(f'{OPEN}[[{{"role": "user", "content": "Two?"}}], null]{CLOSE}'))
    user: Two?
    assistant:
    """
    if not (prompt.startswith(OPEN) and CLOSE in prompt):
        return prompt
    written, _, more = prompt[len(OPEN) :].partition(CLOSE)
    history, begun = json.loads(written)
    lines = [f"{one['role']}: {one['content']}" for one in history]
    return "\n".join([*lines, f"assistant: {begun or ''}{more}".rstrip()])
