"""One text in the making: its tokens, how it is sampled, when it ends."""

import time
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np

from nemo_skills_specdec.embedded.ledger import RequestSteps
from nemo_skills_specdec.embedded.logprobs import EmittedLogprob
from nemo_skills_specdec.embedded.sampling import SamplingParams
from nemo_skills_specdec.embedded.tokenizer import IncrementalDetokenizer

FinishReason = Literal["stop", "length", "abort", "error"]


class StopCriteria(msgspec.Struct, frozen=True):
    """When a text ends.

    Attributes:
        max_tokens: longest text, in tokens; the engine lowers it to what the context holds.
        stop: strings that end the text; they are not part of it.
        stop_token_ids: tokens that end the text, besides the model's own.
        ignore_eos: do not end at the model's end token.
    """

    max_tokens: int
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False


@dataclass(slots=True, eq=False)
class Sequence:
    """State of one text.

    Attributes:
        tokens: prompt and text; the last one is not yet in the caches.
        truncated: prompt tokens cut off on the left, because the context is full.
        ends: tokens that end this text.
        top_logprobs: most likely tokens to note beside each token; None notes no log-probabilities.
        logprobs: of the text so far.
        matched: what ended the text: a stop string, or a token id.
        arrived: `time.perf_counter()` at submission; the other times read the same clock, None until they happen.
    """

    request_id: str
    tokens: list[int]
    prompt_length: int
    truncated: int
    params: SamplingParams
    criteria: StopCriteria
    ends: frozenset[int]
    detokenizer: IncrementalDetokenizer
    rng: np.random.Generator
    steps: RequestSteps
    engine: int
    streaming: bool = False
    top_logprobs: int | None = None
    logprobs: list[EmittedLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    matched: str | int | None = None
    arrived: float = field(default_factory=time.perf_counter)
    scheduled: float | None = None
    first_token: float | None = None
    last_token: float | None = None

    @property
    def generated(self) -> int:
        """Tokens of the text so far."""
        return len(self.tokens) - self.prompt_length

    def extend(self, tokens: list[int]) -> tuple[int, str]:
        """Adds tokens up to the end of the text, and notes whether and why it ended.

        Returns:
            How many were added, and the text that became certain.
        """
        added = self._before_end(tokens)
        kept = tokens[:added]
        if self.detokenizer.watches_for_stop:
            pieces = []
            for count, token in enumerate(kept, start=1):
                pieces.append(self.detokenizer.push([token]))
                if self.detokenizer.stopped_by is not None:
                    added, kept = count, kept[:count]
                    self.finish_reason, self.matched = "stop", self.detokenizer.stopped_by
                    break
            text = "".join(pieces)
        else:
            text = self.detokenizer.push(kept)
        self.tokens += kept
        if self.finish_reason is not None:
            text += self.detokenizer.finish()
            if self.detokenizer.stopped_by is not None:
                self.finish_reason, self.matched = "stop", self.detokenizer.stopped_by
        return added, text

    def _before_end(self, tokens: list[int]) -> int:
        room = self.criteria.max_tokens - self.generated
        for count, token in enumerate(tokens, start=1):
            if token in self.ends:
                self.finish_reason, self.matched = "stop", token
                return count
            if count == room:
                self.finish_reason = "length"
                return count
        return len(tokens)


class StepOutput(msgspec.Struct, frozen=True):
    """What one engine step did to one sequence.

    Attributes:
        prefill: the token came from the prefill, not from a decode step.
        emitted: tokens that became part of the text.
        generated: tokens of the text so far.
        text: text that became certain.
        interval: seconds since the sequence's previous token, or since its arrival for the first.
        finish_reason: None while the text goes on.
        logprobs: of the emitted tokens, if asked for.
    """

    sequence: Sequence
    prefill: bool
    drafted: int
    accepted: int
    emitted: int
    generated: int
    text: str
    interval: float
    finish_reason: FinishReason | None
    logprobs: list[EmittedLogprob]


class StepReport(msgspec.Struct, frozen=True):
    """One engine step.

    Attributes:
        prefilled: prompt tokens computed.
        outputs: in the order they happened; at most one a sequence.
    """

    engine: int
    prefilled: int
    outputs: list[StepOutput]
