"""Generation for a batch of prompts. Each prompt gets the answer that it would get alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from dcap.core.errors import ConfigError
from dcap.core.progress import SignOfLife
from dcap.core.words import counted
from dcap.data.encode import END, IMAGE_PAD, PAD, mrope_positions
from dcap.model.continuation import Continuation
from dcap.model.decoding import Decoding
from dcap.model.patch_embedding import pixels_for
from dcap.model.sampling import TokenChoice


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """One question, about one image or about none.

    Attributes:
        input_ids: int64 (L,), image placeholders included.
        pixel_values: float32 (N, 1536) patches. `None`: no image.
        grid_thw: Patch grid of the image: frames, rows, columns. `None`: no image.
    """

    input_ids: npt.NDArray[np.int64]
    pixel_values: npt.NDArray[np.float32] | None = None
    grid_thw: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer of the model.

    Attributes:
        text: The answer without the end token, and without the text of ``Decoding.stop`` that ended it. Other special
            tokens stay.
        token_ids: The tokens that were written, without the end token, but with those of a text that ended it.
        finished: False when it was stopped before it ended by itself.
        logprobs: Log-probability of each token under the model's own distribution. `None`: not asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    finished: bool
    logprobs: tuple[float, ...] | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens that were written."""
        return len(self.token_ids)

    @property
    def finish(self) -> Literal["stop", "length"]:
        """Why the answer ended: by itself, or because it had too many tokens."""
        return "stop" if self.finished else "length"


class Constraint(Protocol):
    """What one answer may be. It follows the answer as that is written.

    Where several tokens are forced, they go through the model in one pass. Its end is a token too, ``<|im_end|>``.
    """

    def forced(self) -> Sequence[int]:
        """Return the tokens that must come next. Empty: there is a choice."""
        ...

    def allowed(self) -> npt.NDArray[np.bool_] | None:
        """Return which tokens may come next where there is a choice. `None`: all.

        Returns:
            bool (V,), or shorter, with one token at least.
        """
        ...

    def advance(self, tokens: Sequence[int]) -> None:
        """Take note of tokens that were written, forced ones too."""
        ...


@dataclass(frozen=True, slots=True)
class GenerationCounts:
    """Work of a generator so far."""

    answers: int = 0
    """Answers that are complete."""
    tokens: int = 0
    """Tokens of those answers."""
    passes: int = 0
    """Forward passes, each of a whole batch."""
    row_passes: int = 0
    """Rows of those passes, summed: the forward passes that answers would take alone."""

    def __sub__(self, earlier: GenerationCounts) -> GenerationCounts:
        return GenerationCounts(
            answers=self.answers - earlier.answers,
            tokens=self.tokens - earlier.tokens,
            passes=self.passes - earlier.passes,
            row_passes=self.row_passes - earlier.row_passes,
        )


class Generator:
    """A model, its tokenizer and a bound on answers.

    Attributes:
        counts: Work so far.

    Args:
        model: A ``Qwen3VLForConditionalGeneration`` in eval mode, on its device.
        tokenizer: Its tokenizer.
        max_new_tokens: Stop an answer after this many tokens, where no `Decoding` is given.

    Raises:
        ConfigError: `max_new_tokens` is not positive.
    """

    def __init__(self, model: Any, tokenizer: Any, max_new_tokens: int) -> None:
        self.decoding = Decoding(max_new_tokens=max_new_tokens)
        self.model = model
        self.tokenizer = tokenizer
        self.image_id, self.pad_id, self.end_id = map(tokenizer.convert_tokens_to_ids, (IMAGE_PAD, PAD, END))
        self.counts = GenerationCounts()

    @property
    def max_new_tokens(self) -> int:
        """Bound on answers, where no `Decoding` is given."""
        return self.decoding.max_new_tokens

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding | None = None,
        seeds: Sequence[int] | None = None,
        *,
        constraints: Sequence[Constraint | None] | None = None,
        batch_size: int | None = None,
    ) -> list[Generated]:
        """Return the answers to each prompt, in order: ``num_samples`` to the first one, then to the second.

        An answer that ends leaves the batch, so that the others go on without it.

        Args:
            prompts: The questions. Each is taken once, when its answers begin, so that the sequence may make them then.
            decoding: How to write the answers. `None`: greedy.
            seeds: Seed of each answer, such as `Decoding.sample_seed` gives. `None`: from its place in the list.
            constraints: What each answer may be, one object per answer. `None`: anything, all of them or one.
            batch_size: Most answers at a time, but at least those of one prompt. While prompts are left, new ones take
                the places of answers that end. `None`: all.

        Raises:
            ConfigError: `seeds` or `constraints` are not one per answer, or `batch_size` is not positive; or the model
                gives logits that are not finite.
        """
        decoding = decoding or self.decoding
        total = len(prompts) * decoding.num_samples
        for name, given in (("seeds", seeds), ("constraints", constraints)):
            if given is not None and len(given) != total:
                raise ConfigError(f"{name} must be one per answer, {total}, not {len(given)}")
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
        answers = [
            _Answer(
                seed=decoding.sample_seed(str(k), 0) if seeds is None else seeds[k],
                constraint=None if constraints is None else constraints[k],
            )
            for k in range(total)
        ]
        if answers:
            _Writing(self, decoding, prompts, answers, batch_size or total).run()
        return [self._generated(answer, decoding) for answer in answers]

    def batch(self, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        """Return the prompts as one left-padded batch on the model's device.

        ::

            pad pad  q1  q1  q1 | answer 1
            q2  q2   q2  q2  q2 | answer 2      left padding: every answer starts in the same column
        """
        length = max(len(prompt.input_ids) for prompt in prompts)
        ids = np.full((len(prompts), length), self.pad_id, np.int64)
        mask = np.zeros((len(prompts), length), np.int64)
        positions = np.zeros((3, len(prompts), length), np.int64)
        for row, prompt in enumerate(prompts):
            begin = length - len(prompt.input_ids)
            ids[row, begin:], mask[row, begin:] = prompt.input_ids, 1
            grids = [] if prompt.grid_thw is None else [prompt.grid_thw]
            positions[:, row, begin:] = mrope_positions((prompt.input_ids == self.image_id).astype(np.int64), grids)[1:]
        arrays = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        seen = [(p.pixel_values, p.grid_thw) for p in prompts if p.pixel_values is not None and p.grid_thw is not None]
        if seen:
            arrays["pixel_values"] = np.concatenate([pixels for pixels, _ in seen])
            arrays["image_grid_thw"] = np.array([grid for _, grid in seen], np.int64)
        tensors = {name: torch.from_numpy(array).to(self.model.device) for name, array in arrays.items()}
        if seen:
            tensors["pixel_values"] = pixels_for(self.model, tensors["pixel_values"])
        return tensors

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, special ones included."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _generated(self, answer: _Answer, decoding: Decoding) -> Generated:
        text = self.decode(answer.tokens)
        found = [place for stop in decoding.stop if (place := text.find(stop)) >= 0]
        return Generated(
            text=text[: min(found)] if found else text,
            token_ids=tuple(answer.tokens),
            finished=answer.finished,
            logprobs=tuple(answer.logprobs) if decoding.logprobs else None,
        )


@dataclass(eq=False, slots=True)
class _Answer:
    """An answer that is being written."""

    seed: int
    constraint: Constraint | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    done: bool = False
    """Whether no more tokens come."""
    finished: bool = False
    """Whether it ended by itself."""
    run: list[int] = field(default_factory=list)
    """Its last tokens, which the model has not seen yet."""


class _Writing:
    """The answers of one call: those that wait, and the batch of those that are being written.

    Args:
        generator: The model.
        decoding: How to write.
        prompts: The questions.
        answers: Filled here; ``num_samples`` for each prompt.
        batch_size: Most answers at a time.
    """

    def __init__(
        self,
        generator: Generator,
        decoding: Decoding,
        prompts: Sequence[Prompt],
        answers: Sequence[_Answer],
        batch_size: int,
    ) -> None:
        self._generator, self._decoding = generator, decoding
        self._prompts, self._answers, self._batch_size = prompts, answers, batch_size
        self._choose = TokenChoice(decoding)
        # The longest tail of tokens that can hold a whole stop text: a token is at least a byte.
        self._tail = max((len(stop.encode()) for stop in decoding.stop), default=0)
        self._begun = 0  # prompts that left the queue
        self._rows: list[_Answer] = []
        self._batch: Continuation | None = None
        self._seen: torch.Tensor | None = None

    def run(self) -> None:
        """Write all answers."""
        sign = SignOfLife()
        while self._rows or self._begun < len(self._prompts):
            self._admit()
            self._write()
            self._release()
            if self._rows:
                self._feed()
                self._release()
            sign.tell(self._state)

    def _state(self) -> str:
        """Return how far the answers are, in words."""
        done = sum(answer.done for answer in self._answers)
        written, most = max((len(row.tokens) for row in self._rows), default=0), self._decoding.max_new_tokens
        total = counted(len(self._answers), "answer")
        return (
            f"{done} of {total} complete; the longest of the others has {counted(written, 'token')} of at most {most}"
        )

    def _admit(self) -> None:
        """Let the prompts that wait take free places, several at a time, since their first pass is a long one."""
        samples, left = self._decoding.num_samples, len(self._prompts) - self._begun
        free = self._batch_size - len(self._rows)
        if not left or (self._rows and free < max(samples, -(-self._batch_size // 4))):
            return
        count = min(left, max(free // samples, 1))
        places = range(self._begun, self._begun + count)
        self._begun += count
        prompts = [self._prompts[k] for k in places]
        new = Continuation(self._generator.model, self._generator.batch(prompts))
        self._count(passes=1, row_passes=count)
        new.take([row for row in range(count) for _ in range(samples)])
        self._rows += self._answers[places.start * samples : places.stop * samples]
        if self._decoding.repetition_penalty != 1.0:
            seen = _seen([prompt.input_ids for prompt in prompts for _ in range(samples)], new.logits)
            self._seen = seen if self._seen is None else torch.cat([self._seen, seen])
        if self._batch is None:
            self._batch = new
        else:
            self._batch.join(new)

    def _write(self) -> None:
        """Choose the next token of every row, and add what must follow it."""
        assert self._batch is not None
        logits = self._batch.logits[:, -1].float()
        # The largest of a row is NaN where any is. No token may be chosen then, though one would be.
        if not torch.isfinite(logits.amax(dim=-1)).all():
            raise ConfigError(
                "model must give finite logits, and does not. Its weights are damaged, or too large for its precision: "
                "take an earlier checkpoint, or give --dtype float32"
            )
        forced = [_forced(row) for row in self._rows]
        choosing = [None if must else row.constraint for row, must in zip(self._rows, forced, strict=True)]
        allowed = _allowed(choosing, logits)
        free = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
        chosen = self._choose(free, self._seen, [(row.seed, len(row.tokens)) for row in self._rows]).tolist()
        for row, must, token in zip(self._rows, forced, chosen, strict=True):
            row.run = []
            self._append(row, must or [token])
            if not (must or row.done):
                self._append(row, _forced(row))
        if self._decoding.logprobs:
            self._score(logits[:, None], [row.run[:1] for row in self._rows])

    def _append(self, row: _Answer, tokens: Sequence[int]) -> None:
        """Add tokens to a row, up to its end."""
        if row.constraint is not None and tokens:
            row.constraint.advance(tokens)
        for token in tokens:
            if token in (self._generator.end_id, self._generator.pad_id):
                row.done = row.finished = True
                return
            row.tokens.append(token)
            row.run.append(token)
            if self._tail and self._is_stopped(row):
                row.done = row.finished = True
                return
            if len(row.tokens) >= self._decoding.max_new_tokens:
                row.done = True
                return

    def _is_stopped(self, row: _Answer) -> bool:
        tail = self._generator.decode(row.tokens[-self._tail :])
        return any(stop in tail for stop in self._decoding.stop)

    def _feed(self) -> None:
        """Show the model the new tokens of every row."""
        assert self._batch is not None
        runs, scores = [row.run for row in self._rows], self._decoding.logprobs
        self._batch.feed(runs, all_logits=scores)
        self._count(passes=1, row_passes=len(runs))
        if self._seen is not None:
            self._seen |= _seen(runs, self._seen)
        if scores:
            # The last tokens of each run were scored by what came before them in the run.
            width = max(map(len, runs))
            self._score(self._batch.logits[:, -width:-1].float(), [run[1:] for run in runs])

    def _score(self, logits: torch.Tensor, runs: Sequence[Sequence[int]]) -> None:
        """Note the log-probabilities of tokens, by the logits (B, K, V) whose last positions they were chosen at."""
        width = logits.shape[1]
        if not width:
            return
        ids = torch.tensor([[0] * (width - len(run)) + list(run) for run in runs], device=logits.device)
        found = logits.gather(2, ids[:, :, None])[:, :, 0] - logits.logsumexp(dim=2)
        for row, run, values in zip(self._rows, runs, found.tolist(), strict=True):
            row.logprobs += values[width - len(run) :]

    def _release(self) -> None:
        """Let the rows go whose answers are complete."""
        assert self._batch is not None
        scores = self._decoding.logprobs
        kept = [
            k for k, row in enumerate(self._rows) if not row.done or (scores and len(row.logprobs) < len(row.tokens))
        ]
        if len(kept) == len(self._rows):
            return
        gone = set(range(len(self._rows))) - set(kept)
        self._count(answers=len(gone), tokens=sum(len(self._rows[k].tokens) for k in gone))
        self._rows = [self._rows[k] for k in kept]
        if not kept:
            self._batch = self._seen = None
            return
        self._batch.take(kept)
        if self._seen is not None:
            self._seen = self._seen[kept]

    def _count(self, **more: int) -> None:
        counts = self._generator.counts
        self._generator.counts = replace(counts, **{name: getattr(counts, name) + n for name, n in more.items()})


def _seen(rows: Sequence[Sequence[int] | npt.NDArray[np.int64]], like: torch.Tensor) -> torch.Tensor:
    """Return which tokens each row holds, bool (B, V).

    Args:
        rows: The tokens.
        like: A tensor whose last dimension is V, on the device wanted.
    """
    out = torch.zeros(len(rows), like.shape[-1], dtype=torch.bool, device=like.device)
    places = list(chain.from_iterable([k] * len(row) for k, row in enumerate(rows)))
    tokens = list(chain.from_iterable(map(int, row) for row in rows))
    out[places, tokens] = True
    return out


def _forced(row: _Answer) -> list[int]:
    """Return the tokens that must come next in a row."""
    return [] if row.constraint is None else list(row.constraint.forced())


def _allowed(constraints: Sequence[Constraint | None], logits: torch.Tensor) -> torch.Tensor | None:
    """Return which tokens each row may choose, bool (B, V) like `logits`. `None`: all rows may choose any."""
    masks = [None if each is None else each.allowed() for each in constraints]
    if all(mask is None for mask in masks):
        return None
    out = np.zeros(logits.shape, np.bool_)
    for row, mask in enumerate(masks):
        if mask is None:
            out[row] = True
        else:
            out[row, : len(mask)] = mask
    return torch.from_numpy(out).to(logits.device)
