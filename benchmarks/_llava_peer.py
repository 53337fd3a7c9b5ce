"""The peers: the same model as transformers' own Llava, trained by transformers' `Trainer` or by TRL's `SFTTrainer`."""

from __future__ import annotations

import dataclasses
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import BaseModelOutputWithPooling

from isthmus.connectors.mlp import Connector
from isthmus.data.packing import Row, Template, alone, pack
from isthmus.media import load
from isthmus.train.recipe import Lora, Stage
from isthmus.train.setup import Run
from isthmus.types import IGNORE_INDEX, Sample

IMAGE = "<repo_name>"  # a token that no text here has: Llava looks its placeholder up, so it must be in the vocabulary


class Tower(nn.Module):
    """An encoder whose patch features are standardised and shuffled as our connector does it before its layers."""

    def __init__(self, encoder: nn.Module, connector: Connector) -> None:
        super().__init__()
        self.encoder, self.shuffle = encoder, connector.fewer
        self.register_buffer("mean", connector.mean)
        self.register_buffer("std", connector.std)

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Features [B, M, D r^2] as the last of the hidden states, where Llava looks for them."""
        x_BND = self.encoder(pixel_values).last_hidden_state[:, 1:]
        return BaseModelOutputWithPooling(hidden_states=(self.shuffle((x_BND - self.mean) / self.std),))


class Scaled(nn.Module):
    """A linear layer with our connector's gain and offset: the same parameters, so that both learn alike."""

    def __init__(self, linear: nn.Linear, gain: nn.Parameter, offset: Tensor) -> None:
        super().__init__()
        self.linear, self.gain = linear, gain
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's outputs, scaled and moved."""
        return self.linear(x) * self.gain + self.offset


def llava(ours: Any, processor: Any) -> tuple[LlavaForConditionalGeneration, int]:
    """Llava made of the modules of `ours` (not copies of them), and the token that holds its slots."""
    connector, image = ours.connectors["image"], processor.tokenizer.convert_tokens_to_ids(IMAGE)
    config = LlavaConfig(
        vision_config=ours.encoders["image"].config,
        text_config=ours.llm.config,
        image_token_index=image,
        image_seq_length=connector.num_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower = Tower(ours.encoders["image"], connector)
    projector = model.model.multi_modal_projector
    projector.linear_1 = connector.linear_1
    projector.linear_2 = Scaled(connector.linear_2, connector.gain, connector.offset)
    model.model.language_model, model.lm_head = ours.llm.model, ours.llm.lm_head
    assert not any(p.is_meta for p in (*model.parameters(), *model.buffers()))
    return model, image


class Peer:
    """Llava built from the modules of `run`, LoRA by PEFT, and its training.

    Of a step's samples it takes `at_once` (all of them where that is not said), and accumulates gradients.
    """

    def __init__(self, run: Run, stage: Stage, seed: int, at_once: int | None = None) -> None:
        self.run, self.stage, self.at_once = run, stage, at_once or stage.batch
        model, image = llava(run.model, run.processor)
        projector = model.model.multi_modal_projector
        self.template: Template = dataclasses.replace(run.processor.template, placeholders={"image": image})
        torch.manual_seed(seed)
        how = stage.train["llm"]
        assert isinstance(how, Lora)
        lora = LoraConfig(r=how.lora, lora_alpha=how.lora * how.scale, target_modules=r".*language_model\..*_proj")
        self.model = get_peft_model(model, lora)
        projector.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(projector.parameters()), "lr": stage.train["image.connector"]},
                {"params": self.adapter(), "lr": how.lr},
            ],
            weight_decay=0.0,
            fused=True,
        )
        self.pixels: dict[str, Tensor] = {}

    def adapter(self) -> list[nn.Parameter]:
        """LoRA's weights, in the order of the LLM's layers."""
        return [weight for name, weight in self.model.named_parameters() if re.search(r"\.lora_[AB]\.", name)]

    def prepare(self, steps: Sequence[Sequence[Sample]]) -> None:
        """Keep the pictures' pixels in memory, so that drawing and resizing them are no part of the peer's time."""
        for sample in (sample for step in steps for sample in step if sample.media and sample.id not in self.pixels):
            self.pixels[sample.id] = self.run.processor.preprocess([load(sample.media[0])])[0]

    def rows(self, step: Sequence[Sample]) -> Iterator[tuple[Row, Tensor | None]]:
        """One example for each conversation or separate pair: tokens with the picture's placeholders, and pixels."""
        for sample in step:
            for own in [sample] if sample.chained else alone(sample):
                yield pack(own, self.template), self.pixels.get(sample.id)

    def divided(self, steps: Sequence[Sequence[Sample]]) -> list[Sequence[Sample]]:
        """The steps' samples as they are taken at once."""
        return [step[i : i + self.at_once] for step in steps for i in range(0, len(step), self.at_once)]

    def collate(self, steps: Sequence[Sequence[Sample]]) -> dict[str, Tensor]:
        """A batch, padded on the right."""
        rows, pixels = zip(*self.rows([sample for step in steps for sample in step]), strict=True)
        length = max(len(row.ids) for row in rows)
        fill = [length - len(row.ids) for row in rows]
        shown = [own for own in pixels if own is not None]
        return {
            "input_ids": torch.tensor([row.ids + [0] * n for row, n in zip(rows, fill, strict=True)]),
            "labels": torch.tensor([row.labels + [IGNORE_INDEX] * n for row, n in zip(rows, fill, strict=True)]),
            "attention_mask": torch.tensor([[1] * (length - n) + [0] * n for n in fill]),
        } | ({"pixel_values": torch.stack(shown)} if shown else {})

    def fit(self, steps: Sequence[Sequence[Sample]], rate: Callable[[int], float]) -> tuple[float, float]:
        """Train on the pairs of each of our steps in turn; wall and CPU seconds of the steps themselves.

        `Trainer`'s start is not counted, nor is its fetching of the first batch.
        """
        self.prepare(steps)
        clock = Clock(len(steps))
        self.train(steps, rate, clock)
        return clock.wall, clock.cpu

    def train(self, steps: Sequence[Sequence[Sample]], rate: Callable[[int], float], watch: TrainerCallback) -> None:
        """Train on our steps, whose media are prepared, with `watch` told of each."""
        with tempfile.TemporaryDirectory() as folder:
            schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)
            self.trainer(steps, folder, optimizers=(self.optimizer, schedule), callbacks=[watch]).train()

    def trainer(self, steps: Sequence[Sequence[Sample]], folder: str, **more: Any) -> Trainer:
        """`Trainer`, one item of whose data is what it takes at once."""
        arguments = TrainingArguments(folder, **self.arguments(len(steps)))
        return Trainer(self.model, arguments, self.collate, train_dataset=self.divided(steps), **more)

    def arguments(self, steps: int) -> dict[str, Any]:
        """What trainers are told: our steps in our order, our clipping, fp32, nothing written."""
        return {
            "max_steps": steps, "per_device_train_batch_size": 1, "train_sampling_strategy": "sequential",
            "gradient_accumulation_steps": self.stage.batch // self.at_once,
            "max_grad_norm": self.stage.clip, "remove_unused_columns": False, "use_cpu": True,
            "dataloader_pin_memory": False, "save_strategy": "no", "logging_strategy": "no", "report_to": [],
            "disable_tqdm": True,
        }  # fmt: skip

    @torch.no_grad()
    def first_loss(self, step: Sequence[Sample]) -> float:
        """The trainer's own loss of one of our steps, before any training and without dropout."""
        self.prepare([step])
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.trainer([step], folder)
            self.model.eval()
            batches = [self.collate([part]) for part in self.divided([step])]
            counts = [int((batch["labels"][:, 1:] != IGNORE_INDEX).sum()) for batch in batches]
            losses = [float(trainer.compute_loss(self.model, batch)) for batch in batches]
            return sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)

    @torch.no_grad()
    def loss(self, sample: Sample) -> list[float]:
        """The loss of each pair of a sample: the mean over its answer's tokens."""
        self.prepare([[sample]])
        self.model.eval()
        each = (Sample(sample.id, sample.media, (turn,)) for turn in sample.turns)
        return [self.model(**self.collate([[one]])).loss.item() for one in each]


class TrlPeer(Peer):
    """The same Llava, trained by TRL's `SFTTrainer`.

    It gets our rows ready made, as `Trainer` does, which saves it the tokenising that its own collator does in every
    step. Packing and training without padding it refuses for data with images; gradient checkpointing, its default,
    is off.
    """

    def trainer(self, steps: Sequence[Sequence[Sample]], folder: str, **more: Any) -> Trainer:
        """`SFTTrainer`, one item of whose data is the number of what it takes at once."""
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        arguments = SFTConfig(
            folder, **self.arguments(len(steps)), bf16=False, gradient_checkpointing=False, max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        )  # fmt: skip
        parts = self.divided(steps)
        numbers = Dataset.from_dict({"part": list(range(len(parts)))})
        self.model.get_base_model().__dict__.pop("forward", None)  # each trainer puts its own over the one before
        return SFTTrainer(
            self.model, arguments, lambda items: self.collate([parts[item["part"]] for item in items]),
            train_dataset=numbers, processing_class=self.run.processor.tokenizer, **more,
        )  # fmt: skip


class Clock(TrainerCallback):
    """Seconds from the beginning of the first step to the end of the last one."""

    def __init__(self, steps: int) -> None:
        self.steps, self.wall, self.cpu = steps, 0.0, 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start, before the first step."""
        if state.global_step == 0:
            self.wall, self.cpu = -time.perf_counter(), -time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop, after the last step."""
        if state.global_step == self.steps:
            self.wall += time.perf_counter()
            self.cpu += time.process_time()
