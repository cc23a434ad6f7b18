"""The loop that sends and reads: one thread, sockets that never wait, and nothing done between two reads but keeping.

Chunks are time-stamped and their HTTP framing is followed, since that tells where an answer ends; decoding is the
`Finisher`'s. Nothing that a server may have worked on is sent twice.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from select import POLLIN, POLLOUT

from nemo_skills_specdec.client.connection import KERNEL_STAMPS, STAMP_BYTES, Connection, read_stamp
from nemo_skills_specdec.client.delays import DelayCounts
from nemo_skills_specdec.client.exchange import Exchange
from nemo_skills_specdec.client.faults import one_line
from nemo_skills_specdec.client.finish import Finisher
from nemo_skills_specdec.client.http_response import READ_BYTES, FramingError, HttpResponse
from nemo_skills_specdec.client.in_flight import InFlight
from nemo_skills_specdec.client.pacer import Pacer
from nemo_skills_specdec.client.poller import Poller
from nemo_skills_specdec.client.pool import ConnectionPool
from nemo_skills_specdec.client.sse import read_done
from nemo_skills_specdec.client.turn import Ending, Turn, Work
from nemo_skills_specdec.client.turn_queue import TurnQueue
from nemo_skills_specdec.client.waker import Waker
from nemo_skills_specdec.records import Outcome

_OPEN_BEFORE_SECONDS = 10.0
"""How long the window waits for the connections that it needs first; the rest is opened within it."""
_CLOSED_BEFORE_SECONDS = 0.5
"""A kept connection that breaks sooner than this after a request was never read by anybody."""
_DRAIN_SECONDS = 2.0
"""How long after `[DONE]` the end of the HTTP response is awaited before its connection is given up."""
_TICK_SECONDS = 0.05
_LARGE = 4096
"""Chunks from here on are counted at once; the sizes of smaller ones are looked at every second."""
_SENDS_IN_A_ROW = 8
"""Before what has arrived is read, and a server on the same core may run."""
_REFUSALS_TO_GIVE_UP = 8
_SECONDS_TO_GIVE_UP = 15.0


class ClientLoop:
    """Works through a schedule.

    Attributes:
        ended_at: when it was over, in seconds since the epoch.
        gave_up: why no further conversation was started, if nothing accepted a connection, or nothing did any more.
        kernel_times: whether the kernel gave the times of arrival.
        lateness: from the arrival of bytes until they were read.
        dispatch: from when a request could be sent until it was.
        finisher: where what came back goes.
    """

    def __init__(
        self,
        work: Work,
        clock: Callable[[], float],
        stop: threading.Event,
        on_exchange: Callable[[Exchange], None] | None,
        *,
        keep: bool,
    ) -> None:
        self.ended_at = clock()
        self.pacer = Pacer(work.starts, work.places, work.max_seconds)
        self.pacer.begin(self.ended_at)
        self.gave_up: str | None = None
        self.kernel_times = KERNEL_STAMPS
        self.lateness, self.dispatch = DelayCounts(), DelayCounts()
        self._work, self._clock, self._stop = work, clock, stop
        self._poller = Poller()
        self.pool = ConnectionPool(work.endpoint, work.context, self._poller, clock, work.timeout_seconds)
        self._waker = Waker()
        self._poller.register(self._waker.descriptor, POLLIN)
        self._in_flight = InFlight(work.timeout_seconds)
        self._queue = TurnQueue()
        self._awaited = 0
        self._refusals = 0
        self._skew = time.time() - clock()
        self._second = self._tick_at = self.ended_at
        self.finisher = Finisher(work, on_exchange, self._waker.wake, keep=keep)

    def run(self) -> bool:
        """Sends everything; whether it was stopped before its end. What the caller's `on_exchange` raises comes out."""
        interrupted = False
        try:
            self._open_before()
            self._second = self._clock()
            self.pacer.begin(self._second)
            while not self.pacer.done or self._in_flight or self._queue or self._awaited:
                more = self._start_due()
                if self._queue:
                    self.pool.open(len(self._queue))
                if more:
                    os.sched_yield()
                self._read(0.0 if more else self.pacer.next_at(self._tick_at))
                if self._clock() >= self._tick_at:
                    self._tick()
                if self._stop.is_set() and not interrupted:
                    interrupted = True
                    self._interrupt()
        finally:
            self.ended_at = self._clock()
            self._count_delays()
            self.pool.close()
            self.finisher.close()
            self._poller.close()
            self._waker.close()
        if self.finisher.error is not None:
            raise self.finisher.error
        return interrupted

    def _read(self, until: float) -> None:
        """Takes in what arrives until then, or until there is something else to do; at least what is there already.

        This is the hot path. It calls little and touches little memory.
        """
        wall, clock, poll = time.time, self._clock, self._poller.poll
        at_chunks, late, skew = self.pool.at_chunks, self.lateness.pending, self._skew
        self._turned_up = False
        now = clock()
        while not self._turned_up:
            ready = poll(max(until - now, 0.0))
            if not self.kernel_times:
                now = clock()
            for descriptor, events in ready:
                try:
                    recvmsg, keep, keep_time = at_chunks[descriptor]
                    data, stamps, _, _ = recvmsg(READ_BYTES, STAMP_BYTES)
                except KeyError:
                    self._attend(descriptor, events)
                    continue
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._lost(self.pool.by_descriptor[descriptor], error.strerror or str(error))
                    continue
                if stamps:
                    seconds, nanoseconds = read_stamp(stamps[0][2])
                    at = seconds + nanoseconds * 1e-9
                    late.append(wall() - at)
                    at -= skew
                else:
                    at = clock()
                    if data:
                        self.kernel_times = False
                        late.append(at - now)
                # Nearly every read is one whole chunk of a few hundred bytes.
                cut = data.find(b"\r\n")
                try:
                    if cut > 0 and 0 < int(data[:cut], 16) == len(data) - cut - 4 < _LARGE and data[-2:] == b"\r\n":
                        keep(data[cut + 2 : -2])
                        keep_time(at)
                        continue
                except ValueError:
                    pass
                self._take_in(self.pool.by_descriptor[descriptor], data, at, ended=not data)
            now = clock()
            if now >= until:
                break
        while self.pool.opened:
            self._refusals = 0
            self._use(self.pool.opened.popleft())
        while self.pool.failures:
            self._unreachable(self.pool.failures.popleft())
        self.pool.close_dropped()

    def _attend(self, descriptor: int, events: int) -> None:
        """Looks after connections that are not at the beginning of a chunk, and after the finisher."""
        connection = self.pool.by_descriptor.get(descriptor)
        if connection is None:
            self._turned_up = True
            self._take_back()
            return
        if connection.response is None:
            self._turned_up = True
            self.pool.attend(connection)
            return
        if events & POLLOUT:
            self.pool.flush(connection)
        if not events & ~POLLOUT:
            return
        try:
            data, stamp = connection.receive()
        except OSError as error:
            self._lost(connection, error.strerror or str(error))
            return
        if data or connection.ended:
            if stamp:
                self.lateness.pending.append(time.time() - stamp)
            self._take_in(connection, data, stamp - self._skew if stamp else self._clock(), ended=connection.ended)

    def _take_in(self, connection: Connection, data: bytes, at: float, *, ended: bool) -> None:
        """Takes what was read from a connection whose response goes on, or ends with it."""
        response = connection.response
        assert response is not None
        self.pool.at_chunks.pop(connection.descriptor, None)
        try:
            whole = response.feed(data, at) or (ended and response.end())
        except FramingError as error:
            self._end(connection, "failed", str(error))
            return
        if not whole:
            if ended:
                self._lost(connection, "")
            elif response.at_chunk and not (connection.secured or connection.unsent):
                self.pool.at_chunks[connection.descriptor] = (
                    connection.recvmsg,
                    response.pieces.append,
                    response.times.append,
                )
            return
        turn = self._in_flight.pop(connection)
        connection.used = True
        self._over(turn, "answered", at)
        if response.closes or ended or connection.unsent:
            self.pool.drop(connection)
        else:
            self._use(connection)

    def _start_due(self) -> bool:
        """Starts what is due; whether there may be more of it."""
        if self.gave_up:
            self.pacer.end()
        for _ in range(_SENDS_IN_A_ROW):
            due = self.pacer.take(self._clock())
            if due is None:
                return False
            request = self._work.requests[due.index]
            self._send(Turn(due.index, 0, request, [], due.scheduled_at, due.ready_at, due.ready_at))
        return True

    def _send(self, turn: Turn) -> None:
        connection = self.pool.take()
        if connection is None:
            self._queue.add(turn)
        else:
            self._transmit(connection, turn)

    def _use(self, connection: Connection) -> None:
        """Gives a connection to whoever waits for one."""
        turn = self._queue.take(kept=connection.used)
        if turn is None:
            self.pool.give(connection)
        else:
            self._transmit(connection, turn)

    def _transmit(self, connection: Connection, turn: Turn) -> None:
        connection.response = turn.response = HttpResponse(self._work.answer_limit)
        turn.sent_at = self._clock()
        self._in_flight.add(connection, turn)
        if not turn.num_resends:
            self.dispatch.pending.append(turn.sent_at - turn.ready_at)
        self.pool.write(connection, turn.request)

    def _lost(self, connection: Connection, detail: str) -> None:
        """The connection broke. One kept by a server that closed it all the same was read by nobody."""
        turn = self._in_flight[connection]
        soon = self._clock() - turn.sent_at < _CLOSED_BEFORE_SECONDS
        if not (connection.used and soon and turn.response is not None and turn.response.size == 0):
            self._end(connection, "lost", detail)
            return
        self._forget(connection)
        self._turned_up = True
        turn.num_resends += 1
        turn.response = None
        self._queue.add(turn)

    def _end(self, connection: Connection, outcome: Outcome, detail: str = "") -> None:
        turn = self._in_flight[connection]
        self._forget(connection)
        self._over(turn, outcome, self._clock(), detail)

    def _forget(self, connection: Connection) -> None:
        self._in_flight.pop(connection)
        self.pool.drop(connection)

    def _over(self, turn: Turn, outcome: Outcome, at: float, detail: str = "") -> None:
        self._turned_up = True
        awaited = turn.number + 1 < len(self._work.turns[turn.index])
        if awaited:
            self._awaited += 1
        else:
            self.pacer.give_back(at)
        turn.request = b""
        self.finisher.put(Ending(turn, outcome, at, detail, awaited))

    def _take_back(self) -> None:
        """Goes on with conversations that the finisher has decided on."""
        if not self._waker.was_woken():
            return  # not the finisher: an event of a connection that was dropped a moment ago
        while self.finisher.returned:
            turn, ended_at = self.finisher.returned.popleft()
            self._awaited -= 1
            if turn is None:
                self.pacer.give_back(ended_at)
            elif self.finisher.stopping:
                self._over(turn, "interrupted", self._clock())
            else:
                self._send(turn)

    def _unreachable(self, why: str) -> None:
        """No connection could be opened: whoever waited for it first has failed."""
        turn = self._queue.take(kept=False)
        if turn is None:
            return
        now = self._clock()
        self._over(turn, "unreachable", now, why)
        self._refusals += 1
        never = not self.pool.connected and now - self.pacer.started_at > _SECONDS_TO_GIVE_UP
        # While answers still come the server is there, whatever keeps it from accepting connections.
        if never or (self._refusals >= _REFUSALS_TO_GIVE_UP and not len(self._in_flight)):
            self.gave_up = one_line(why, self._work.secrets)
            for turn in self._queue.empty():
                self._over(turn, "unreachable", now, why)

    def _tick(self) -> None:
        """What is looked after now and then: time-outs, connections, delays."""
        if self.finisher.error is not None:
            raise self.finisher.error
        now = self._clock()
        self._skew = time.time() - self._clock()
        self._tick_at = now + _TICK_SECONDS
        while (overdue := self._in_flight.overdue(now)) is not None:
            self._end(overdue, "timed_out")
        if now - self._second >= 1:
            self._second = now
            self._count_delays()
            self._sweep(now)
        self.pool.expire()
        self.pool.open(len(self._queue) + max(self.pacer.due_soon(now) - self.pool.num_idle, 0))

    def _count_delays(self) -> None:
        self.lateness.count()
        self.dispatch.count()

    def _sweep(self, now: float) -> None:
        """Looks at the answers in flight: at their sizes, and whether they are over but for HTTP.

        Some servers do not end the HTTP response after `[DONE]`.
        """
        for connection, turn in self._in_flight.items():
            response = turn.response
            if response is None or not response.times:
                continue
            try:
                response.count()
            except FramingError as error:
                self._end(connection, "failed", str(error))
                continue
            quiet = now - response.times[-1] > _DRAIN_SECONDS
            if quiet and (done_at := read_done(response.pieces, response.times)) is not None:
                self._forget(connection)
                self._over(turn, "answered", done_at)

    def _open_before(self) -> None:
        """Opens the connections that are needed at once. What fails here is tried again when it is needed."""
        left = self.pacer.due_soon(self._clock())
        until = self._clock() + _OPEN_BEFORE_SECONDS
        while left or self.pool.num_opening:
            if self._clock() > until or self._stop.is_set() or (self.pool.failed and not self.pool.connected):
                break
            left -= self.pool.open(left + self.pool.num_opening)
            if self.pool.lowered is not None:
                left = 0
            self._read(self._clock() + _TICK_SECONDS)
            self.pool.expire()
        self.pool.keep_idle()

    def _interrupt(self) -> None:
        """Stops sending, and aborts what is in flight."""
        self.finisher.stopping = True
        self.pacer.end()
        for connection, _ in self._in_flight.items():
            self._end(connection, "interrupted")
        for turn in self._queue.empty():
            if turn.number == 0 and not turn.num_resends:
                self.pacer.started[turn.index] = 0
            else:
                self._over(turn, "interrupted", self._clock())
        self.pool.close_dropped()
