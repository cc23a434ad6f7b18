"""The service: engines behind queues, stepped on the event loop, one channel a request.

Steps run on the event loop itself, with turns for the network between them: a step is short (milliseconds), and a
second thread would only fight for the interpreter.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from collections.abc import Sequence as Items

from nemo_skills_specdec.embedded.engine import Engine, load_models
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.protocol import GenerationRequest
from nemo_skills_specdec.embedded.sequence import Sequence, StepOutput, StepReport
from nemo_skills_specdec.errors import SpecdecError

logger = logging.getLogger(__name__)

NETWORK_TURNS = 4
"""Event-loop turns between two steps: accepting, reading, handling and answering a request takes one each."""


class EngineFailedError(SpecdecError):
    """A step raised; the server answers 500 from then on."""


class Channel:
    """What a request's handler reads: the steps of its sequences, and their texts.

    Attributes:
        sequences: sample by sample.
    """

    def __init__(self, sequences: list[Sequence], *, live: bool) -> None:
        self.sequences = sequences
        self._live = live
        self._open = len(sequences)
        self._pieces: dict[Sequence, list[str]] = {sequence: [] for sequence in sequences}
        self._queue: asyncio.Queue[StepOutput | None] = asyncio.Queue()
        self.failed = False

    def deliver(self, output: StepOutput) -> None:
        """Takes one step; a handler that does not stream is only woken by the last one."""
        self._pieces[output.sequence].append(output.text)
        if output.finish_reason is not None:
            self._open -= 1
        if self._live or not self._open:
            self._queue.put_nowait(output)

    def fail(self) -> None:
        """Ends the channel because the engine did."""
        self.failed = True
        self._queue.put_nowait(None)

    async def outputs(self) -> AsyncIterator[StepOutput]:
        """Steps as they come, until every sequence has ended.

        Raises:
            EngineFailedError: the engine broke down.
        """
        while True:
            output = await self._queue.get()
            if output is None:
                raise EngineFailedError("the engine failed; see the server's log and restart it")
            yield output
            if not self._open and self._queue.empty():
                return

    async def finished(self) -> None:
        """Waits until every sequence has ended."""
        async for _ in self.outputs():
            pass

    def text(self, sequence: Sequence) -> str:
        """The text of one sequence so far."""
        return "".join(self._pieces[sequence])


class Service:
    """Engines, and who gets what they produce.

    Attributes:
        engines: each has its own sequences, cache and ledger; the weights are shared.
        failed: set when a step raised.
    """

    def __init__(self, options: EmbeddedOptions) -> None:
        self.options = options
        self.models = load_models(options)
        self.engines = [Engine(self.models, options, index=index) for index in range(options.data_parallel_size)]
        self.failed = False
        self._observers: list[Callable[[StepReport], None]] = []
        self._abort_observers: list[Callable[[Sequence], None]] = []
        self._channels: dict[Sequence, Channel] = {}
        self._turn = 0
        self._work = asyncio.Event()

    def watch(self, on_step: Callable[[StepReport], None], on_abort: Callable[[Sequence], None]) -> None:
        """Calls back after every step and for every aborted sequence."""
        self._observers.append(on_step)
        self._abort_observers.append(on_abort)

    def submit(self, request: GenerationRequest, names: Items[str]) -> Channel:
        """Queues every sample of a request on the engine whose turn it is.

        Args:
            names: one for each sample.

        Raises:
            UsageError: the engine refuses a prompt; nothing stays queued.
            EngineFailedError: the engine broke down earlier.
        """
        if self.failed:
            raise EngineFailedError("the engine failed; see the server's log and restart it")
        engine = self.engines[self._turn % len(self.engines)]
        sequences: list[Sequence] = []
        try:
            for sample, name in enumerate(names):
                sequences.append(
                    engine.submit(
                        name,
                        request.prompt,
                        request.params,
                        request.criteria,
                        seed=None if request.seed is None else request.seed + sample,
                        streaming=request.stream,
                        top_logprobs=request.top_logprobs,
                    )
                )
        except SpecdecError:
            for sequence in sequences:
                engine.abort(sequence)
            raise
        self._turn += 1
        channel = Channel(sequences, live=request.stream)
        self._channels.update(dict.fromkeys(sequences, channel))
        self._work.set()
        return channel

    def abort(self, channel: Channel) -> None:
        """Drops what is unfinished; called when the client has gone."""
        for sequence in channel.sequences:
            self._channels.pop(sequence, None)
            if self.engines[sequence.engine].abort(sequence):
                for observe in self._abort_observers:
                    observe(sequence)

    async def run(self) -> None:
        """Steps the engines while there is work; ends only by cancellation."""
        while True:
            busy = [engine for engine in self.engines if engine.busy]
            if not busy or self.failed:
                self._work.clear()
                await self._work.wait()
                continue
            for engine in busy:
                try:
                    report = engine.step()
                except Exception:
                    logger.exception("engine %d failed", engine.index)
                    self._fail()
                    break
                for observe in self._observers:
                    observe(report)
                for output in report.outputs:
                    self._deliver(output)
            for _ in range(NETWORK_TURNS):
                await asyncio.sleep(0)

    def _deliver(self, output: StepOutput) -> None:
        channel = self._channels.get(output.sequence)
        if channel is None:
            return
        if output.finish_reason is not None:
            del self._channels[output.sequence]
        channel.deliver(output)

    def _fail(self) -> None:
        self.failed = True
        for channel in set(self._channels.values()):
            channel.fail()
        self._channels.clear()
