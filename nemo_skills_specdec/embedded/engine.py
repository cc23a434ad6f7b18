"""The engine: continuous batching, prefill in pieces, and a verification step for all running sequences at once.

One step decodes one round for every running sequence (propose, verify in one pass of the target, accept, emit), then
prefills waiting requests, at most `MAX_NUM_BATCHED_TOKENS` tokens, so that running texts do not stall; these decode
from the next step on. As in vLLM a text's first token comes from its prefill, without a draft, and drafts are not
shortened near `max_tokens`: tokens accepted past the end of the text are dropped, but stay counted.
"""

import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Items
from itertools import accumulate
from pathlib import Path

import msgspec
import numpy as np

from nemo_skills_specdec.embedded.drafters import Draft
from nemo_skills_specdec.embedded.ledger import Ledger
from nemo_skills_specdec.embedded.llama import KeyValueCache, Llama, TreeAttention, load
from nemo_skills_specdec.embedded.logprobs import EmittedLogprob, token_logprobs
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.sampling import (
    SamplingParams,
    distributions_of,
    probabilities,
    sample,
    unnormalised,
    verify,
    verify_greedy,
    verify_tree,
    verify_tree_greedy,
)
from nemo_skills_specdec.embedded.sequence import FinishReason, Sequence, StepOutput, StepReport, StopCriteria
from nemo_skills_specdec.embedded.tokenizer import IncrementalDetokenizer, Tokenizer
from nemo_skills_specdec.embedded.tree_drafter import make_drafter
from nemo_skills_specdec.embedded.weights import Floats, read_config
from nemo_skills_specdec.errors import DataError, UsageError

MAX_NUM_BATCHED_TOKENS = 256
"""Prompt tokens computed in one step."""

RESERVED_FOR_TEXT = 16
"""Tokens of the context that a prompt must leave; longer prompts are cut on the left."""


class Models(msgspec.Struct, frozen=True):
    """What engines share: the tokenizer, the models, and the context they serve.

    Attributes:
        context: prompt and text together, in tokens.
        draft: None unless the method is `draft_model`.
    """

    tokenizer: Tokenizer
    target: Llama
    draft: Llama | None
    context: int
    capacity: int


def load_models(options: EmbeddedOptions) -> Models:
    """Reads the model folder of the options, or the pair of this package.

    Raises:
        DataError: a file is missing or unfit, or the two models do not share a vocabulary.
    """
    folder = Path(options.model_dir) if options.model_dir is not None else Path(__file__).parent / "models"
    config = read_config(folder / "target")
    context = min(options.max_model_len or config.max_position_embeddings, config.max_position_embeddings)
    capacity = context + (options.proposed if options.speculative else 0) + 1
    tokenizer = Tokenizer(folder, size=config.vocab_size)
    target = load(folder / "target", positions=capacity)
    drafter = Path(options.draft_dir) if options.draft_dir is not None else folder / "draft"
    draft = load(drafter, positions=capacity) if options.method == "draft_model" else None
    if draft is not None and draft.config.vocab_size != config.vocab_size:
        raise DataError(
            f"{folder} and {drafter} differ in vocab_size ({config.vocab_size}, {draft.config.vocab_size}); "
            "use a pair that shares its tokenizer"
        )
    return Models(tokenizer=tokenizer, target=target, draft=draft, context=context, capacity=capacity)


class Engine:
    """Decodes requests; not thread-safe, every call comes from one thread.

    Attributes:
        index: number of this engine in its server.
        ledger: every step made.
        truncated_prompts: prompts cut on the left so far.
    """

    def __init__(self, models: Models, options: EmbeddedOptions, *, index: int = 0) -> None:
        self.index = index
        self.models = models
        self.draft_length = options.positions if options.speculative else 0
        self._dialect = options.dialect
        self._tree = options.tree if options.speculative else None
        self._children = self._tree.children if self._tree else []
        self._tree_attention = None
        if self._tree:
            depths = np.array(self._tree.depths)
            self._tree_attention = TreeAttention(offset=0, depths=depths, visible=self._tree.ancestry())
        self.ledger = Ledger(index, self.draft_length, keep=options.ledger_requests, tree=self._tree)
        self.truncated_prompts = 0
        self._slots = options.max_num_seqs
        self._cache = KeyValueCache(models.target.config, slots=self._slots, capacity=models.capacity)
        self._drafter = make_drafter(options, models.draft, capacity=models.capacity)
        self._seeds = np.random.SeedSequence(options.seed, spawn_key=(index,))
        self._waiting: deque[Sequence] = deque()
        self._prefilling: Sequence | None = None
        self._prefilled = 0
        self._prefill_slot = 0
        self._running: list[Sequence] = []
        self._step = 0

    @property
    def num_running(self) -> int:
        """Sequences that hold a slot."""
        return len(self._running) + (self._prefilling is not None)

    @property
    def num_waiting(self) -> int:
        """Sequences in the queue."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running or self._waiting or self._prefilling)

    def submit(
        self,
        request_id: str,
        prompt: list[int],
        params: SamplingParams,
        criteria: StopCriteria,
        *,
        seed: int | None = None,
        streaming: bool = False,
        top_logprobs: int | None = None,
    ) -> Sequence:
        """Puts a request into the queue.

        Args:
            request_id: unique among running requests.
            prompt: token ids; a prompt longer than the context less `RESERVED_FOR_TEXT` is cut on the left, its first
                token kept if it is the model's BOS token.
            params: how to sample.
            criteria: when to end; `max_tokens` is lowered to what the context holds.
            seed: makes the text repeatable; None takes one from the engine's own.
            streaming: only noted, for the metrics.
            top_logprobs: most likely tokens to note beside each token; None notes no log-probabilities.

        Raises:
            UsageError: the prompt is empty, or holds ids that the model does not know.
        """
        config = self.models.target.config
        if not prompt:
            raise UsageError("the prompt is empty; send at least one token")
        if min(prompt) < 0 or max(prompt) >= config.vocab_size:
            raise UsageError(f"the prompt holds token ids outside 0..{config.vocab_size - 1}")
        room = self.models.context - RESERVED_FOR_TEXT
        truncated = max(0, len(prompt) - room)
        if truncated:
            bos = [prompt[0]] if prompt[0] == config.bos_token_id else []
            prompt = bos + prompt[len(prompt) - room + len(bos) :]
            self.truncated_prompts += 1
        criteria = msgspec.structs.replace(
            criteria, max_tokens=min(criteria.max_tokens, self.models.context - len(prompt))
        )
        ends = frozenset(criteria.stop_token_ids) | (frozenset() if criteria.ignore_eos else config.eos_token_ids)
        source = np.random.SeedSequence(seed) if seed is not None else self._seeds.spawn(1)[0]
        sequence = Sequence(
            request_id=request_id,
            tokens=list(prompt),
            prompt_length=len(prompt),
            truncated=truncated,
            params=params,
            criteria=criteria,
            ends=ends,
            detokenizer=IncrementalDetokenizer(self.models.tokenizer.token_bytes, criteria.stop),
            rng=np.random.Generator(np.random.PCG64(source)),
            steps=self.ledger.open(request_id, len(prompt)),
            engine=self.index,
            streaming=streaming,
            top_logprobs=top_logprobs,
        )
        self._waiting.append(sequence)
        return sequence

    def abort(self, sequence: Sequence) -> bool:
        """Drops a request that nobody waits for; False if it had ended already."""
        if sequence.finish_reason is not None:
            return False
        sequence.finish_reason = "abort"
        if sequence is self._prefilling:
            self._prefilling, self._prefilled = None, 0
        elif sequence in self._running:
            self._release([self._running.index(sequence)])
        else:
            self._waiting.remove(sequence)
        self._close(sequence)
        return True

    def step(self) -> StepReport:
        """Decodes one round, then prefills a little."""
        self._step += 1
        outputs: list[StepOutput] = []
        if self._running:
            self._decode(outputs)
        prefilled = sum(self._prefill(outputs))
        return StepReport(self.index, prefilled, outputs)

    def _prefill(self, outputs: list[StepOutput]) -> Iterator[int]:
        budget = MAX_NUM_BATCHED_TOKENS
        while budget > 0:
            if self._prefilling is None:
                if not self._waiting or len(self._running) >= self._slots:
                    return
                self._prefilling, self._prefilled = self._waiting.popleft(), 0
                self._prefilling.scheduled = time.perf_counter()
                # The first free slot. None but a prefill takes one, and only one is under way.
                self._prefill_slot = len(self._running)
            sequence, start = self._prefilling, self._prefilled
            piece = np.array(sequence.tokens[start : start + budget])
            x = self.models.target.forward(
                self._cache, piece[None, :], np.array([start]), first_slot=self._prefill_slot
            )
            self._drafter.prefill(self._prefill_slot, piece, start)
            budget -= len(piece)
            self._prefilled += len(piece)
            yield len(piece)
            if self._prefilled == sequence.prompt_length:
                self._prefilling, self._prefilled = None, 0
                outputs.append(self._first_token(sequence, self.models.target.logits(x[-1:])))

    def _first_token(self, sequence: Sequence, logits: Floats) -> StepOutput:
        if sequence.params.greedy:
            token = int(logits[0].argmax())
        else:
            token = sample(probabilities(logits, [sequence.params])[0], sequence.rng.random())
        self.ledger.first_token(sequence.steps)
        output = self._emit(sequence, [token], prefill=True, drafted=0, accepted=0, logits=logits)
        if sequence.finish_reason is not None:
            self._close(sequence)
        else:
            slot = len(self._running)
            self._running.append(sequence)
            if slot != self._prefill_slot:
                # Sequences that ended meanwhile have left a gap.
                self._cache.move(self._prefill_slot, slot, sequence.prompt_length)
                self._drafter.move(self._prefill_slot, slot, sequence.prompt_length)
        return output

    def _decode(self, outputs: list[StepOutput]) -> None:
        running = self._running
        drafts = self._drafter.propose(running)
        lengths = [1 + len(draft.tokens) for draft in drafts]
        width = max(lengths)
        tokens = np.zeros((len(running), width), np.int64)
        for row, (sequence, draft) in enumerate(zip(running, drafts, strict=True)):
            tokens[row, : lengths[row]] = [sequence.tokens[-1], *draft.tokens]
        rows = None
        if min(lengths) < width:
            rows = np.flatnonzero((np.arange(width) < np.array(lengths)[:, None]).ravel())
        starts = np.array([len(sequence.tokens) - 1 for sequence in running])
        target = self.models.target
        logits = target.logits(
            target.forward(self._cache, tokens, starts, rows=rows, tree_attention=self._tree_attention)
        )

        firsts = [0, *accumulate(lengths)]
        ended: list[int] = []
        for slot, (sequence, draft, (nodes, following)) in enumerate(
            zip(running, drafts, self._verified(drafts, lengths, logits), strict=True)
        ):
            drafted, accepted = len(draft.tokens), len(nodes)
            if self._tree is not None:
                self._cache.keep(slot, int(starts[slot]), nodes)
                self._drafter.keep(slot, int(starts[slot]), nodes)
            chain = [*(draft.tokens[node - 1] for node in nodes), following]
            seen = None
            if sequence.top_logprobs is not None:
                seen = logits[[firsts[slot], *(firsts[slot] + node for node in nodes)]]
            output = self._emit(sequence, chain, prefill=False, drafted=drafted, accepted=accepted, logits=seen)
            self.ledger.verified(
                sequence.steps, self._step, drafted=drafted, accepted=accepted, emitted=output.emitted, nodes=nodes
            )
            outputs.append(output)
            if sequence.finish_reason is not None:
                ended.append(slot)
        finished = [running[slot] for slot in ended]
        self._release(ended)
        for sequence in finished:
            self._close(sequence)

    def _verified(self, drafts: list[Draft], lengths: list[int], logits: Floats) -> Iterator[tuple[Items[int], int]]:
        """For each sequence the accepted tokens, by their number in the draft from 1 on, and the token that follows."""
        running = self._running
        greedy = [sequence.params.greedy for sequence in running]
        best = logits.argmax(axis=1).tolist() if any(greedy) else []
        shaped = logits
        if not all(greedy):
            # Greedy rows are shaped too, with a stand-in, so that rows keep their places.
            params = [
                SamplingParams() if sequence.params.greedy else sequence.params
                for sequence, length in zip(running, lengths, strict=True)
                for _ in range(length)
            ]
            shaped = unnormalised(logits, params)
        start = 0
        for sequence, draft, length in zip(running, drafts, lengths, strict=True):
            rows = slice(start, start + length)
            start += length
            target, uniform = distributions_of(shaped[rows], sequence.params), sequence.rng.random
            if self._tree is not None:
                if sequence.params.greedy:
                    yield verify_tree_greedy(self._children, draft.tokens, best[rows])
                else:
                    yield verify_tree(self._children, draft.tokens, draft.distributions, target, uniform)
                continue
            if sequence.params.greedy:
                accepted, following = verify_greedy(draft.tokens, best[rows])
            else:
                accepted, following = verify(draft.tokens, draft.distributions, target, uniform)
            yield range(1, accepted + 1), following

    def _emit(
        self,
        sequence: Sequence,
        tokens: list[int],
        *,
        prefill: bool,
        drafted: int,
        accepted: int,
        logits: Floats | None,
    ) -> StepOutput:
        emitted, text = sequence.extend(tokens)
        logprobs: list[EmittedLogprob] = []
        if sequence.top_logprobs is not None and logits is not None:
            # vLLM tells what the model says, SGLang what the temperature makes of it.
            scaled = self._dialect == "sglang" and not sequence.params.greedy
            logprobs = token_logprobs(
                logits[:emitted],
                tokens[:emitted],
                sequence.top_logprobs,
                temperature=sequence.params.temperature if scaled else 1.0,
            )
            sequence.logprobs += logprobs
        now = time.perf_counter()
        since = sequence.arrived if sequence.last_token is None else sequence.last_token
        if sequence.first_token is None:
            sequence.first_token = now
        sequence.last_token = now
        return StepOutput(
            sequence=sequence,
            prefill=prefill,
            drafted=drafted,
            accepted=accepted,
            emitted=emitted,
            generated=sequence.generated,
            text=text,
            interval=now - since,
            finish_reason=sequence.finish_reason,
            logprobs=logprobs,
        )

    def _release(self, slots: list[int]) -> None:
        """Frees slots; the last running sequences move into the gaps, so that all sit side by side."""
        for slot in reversed(slots):
            last = self._running.pop()
            if slot < len(self._running):
                self._running[slot] = last
                self._cache.move(len(self._running), slot, len(last.tokens))
                self._drafter.move(len(self._running), slot, len(last.tokens))

    def _close(self, sequence: Sequence) -> None:
        reason: FinishReason = sequence.finish_reason or "error"
        self.ledger.close(sequence.steps, reason)
        self._drafter.forget(sequence)
