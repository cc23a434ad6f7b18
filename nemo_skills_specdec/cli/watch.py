"""`ns-specdec watch`: acceptance of production traffic, from the counters alone."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_skills_specdec.cli._engine_options import TlsFlags
from nemo_skills_specdec.cli._streams import write_json, write_line
from nemo_skills_specdec.errors import UsageError, WriteError
from nemo_skills_specdec.option_groups import spread

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from nemo_skills_specdec.watch.recording import Line
    from nemo_skills_specdec.watch.run import WatchOptions, WatchResult
    from nemo_skills_specdec.watch.session import Round

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_HISTORY = 60
"""Rounds in a sparkline."""


@spread
def watch(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Servers, or their /metrics endpoints.")],
    *,
    interval: Annotated[str, typer.Option(metavar="DURATION", help="Time between two readings, such as 5s.")] = "5s",
    for_: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="Stop after this time, such as 1h or 90s. Default: Ctrl-C."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Append every interval and event to this file, as JSON lines.")
    ] = None,
    min_al: Annotated[
        float | None, typer.Option(min=1.0, help="Exit with 1 if the acceptance length is below this.")
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Judge --min-al over the last DURATION at any time, and stop at once. Default: over the whole watch, "
            "at its end.",
        ),
    ] = None,
    tls: TlsFlags,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the API key, if any.")
    ] = "SPECDEC_API_KEY",
    quiet: Annotated[bool, typer.Option("--quiet", help="Show the summary alone.")] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object and nothing else.")
    ] = False,
) -> None:
    """Watch the acceptance of running servers from their counters; no prompt is sent.

    Ends after --for, with Ctrl-C or SIGTERM, and prints a summary.
    """
    from nemo_skills_specdec.engines.fetch import bearer
    from nemo_skills_specdec.redaction import redacting, secrets_of
    from nemo_skills_specdec.tls import chosen_context
    from nemo_skills_specdec.watch.alarm import Alarm
    from nemo_skills_specdec.watch.run import WatchOptions

    if within is not None and min_al is None:
        raise UsageError("--within is about --min-al; give both")
    headers = bearer(os.environ.get(api_key_env))
    options = WatchOptions(
        urls=urls,
        every=_seconds(interval, "--interval"),
        seconds=_seconds(for_, "--for") if for_ is not None else None,
        alarm=Alarm(min_al=min_al, within=_seconds(within, "--within") if within is not None else None)
        if min_al is not None
        else None,
        headers=headers,
        tls=chosen_context(tls.ca_file, insecure=tls.insecure),
    )
    secrets = secrets_of(urls, headers)
    with redacting(secrets):
        result, failure = _run(options, record, secrets, quiet=quiet or json_output)
    _finish(result, options, json_output=json_output)
    if failure is not None:
        raise WriteError(f"{failure}; the recording lacks what came after")


def _run(
    options: WatchOptions, record: Path | None, secrets: Sequence[str], *, quiet: bool
) -> tuple[WatchResult, str | None]:
    """The watch, shown on stderr, and why its recording broke off; what there is of it is on disk then."""
    from rich.live import Live

    from nemo_skills_specdec.cli._screen import screen
    from nemo_skills_specdec.client.interrupt import first_signal
    from nemo_skills_specdec.redaction import redacted_bytes
    from nemo_skills_specdec.watch.recording import encoded, open_recording
    from nemo_skills_specdec.watch.run import watch as run_watch

    stop = threading.Event()
    console = screen(stderr=True, width=None)
    console.soft_wrap = True
    log = open_recording(record) if record is not None else None
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not quiet else None
    told: list[str] = []
    show = _shower(console, live, options.every) if not quiet else lambda latest, result: None

    def keep(line: Line) -> None:
        if log is None:
            return
        log.append(redacted_bytes(encoded(line), secrets))
        if log.failure is not None and not told:
            told.append(f"ns-specdec: {log.failure}; the watch goes on without a recording")
            console.print(told[0])

    try:
        with first_signal(stop.set):
            if live is not None:
                live.start()
            result = run_watch(options, show=show, keep=keep, stop=stop)
    finally:
        if live is not None:
            live.stop()
        if log is not None:
            log.close()
    return result, log.failure if log is not None else None


def _shower(console: Console, live: Live | None, every: float) -> Callable[[Round, WatchResult], None]:
    """What shows each round: a view that is drawn anew, or lines where there is no terminal."""
    from nemo_skills_specdec.report.watch_text import live_view, round_lines

    history: deque[Round] = deque(maxlen=_HISTORY)

    def show(latest: Round, result: WatchResult) -> None:
        if live is None:
            for line in round_lines(latest, result):
                console.print(line)
            return
        history.append(latest)
        live.update(live_view(latest, result, list(history), every=every), refresh=True)

    return show


def _finish(result: WatchResult, options: WatchOptions, *, json_output: bool) -> None:
    import msgspec

    from nemo_skills_specdec.cli._screen import screen
    from nemo_skills_specdec.report.watch_text import breach_line, summary_view
    from nemo_skills_specdec.watch.summary import summary_of

    if json_output:
        write_json(msgspec.json.encode(summary_of(result)))
    else:
        screen().print(summary_view(result))
    if options.alarm is None:
        return
    if result.breach is not None:
        write_line(f"ns-specdec: {breach_line(result.breach)}", stderr=True)
        raise typer.Exit(1)
    if result.total.num_drafts is None:
        raise UsageError("--min-al cannot be judged: the metrics give no acceptance length that can be added up")


def _seconds(text: str, option: str) -> float:
    """A duration such as `90`, `90s`, `1h` or `1h30m`, in seconds.

    Raises:
        UsageError: it is none, or not above 0.
    """
    found = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found is not None else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise UsageError(f"{option} {text!r} is not a duration; write e.g. 90s, 5m, 1h or 1h30m")
    return total
