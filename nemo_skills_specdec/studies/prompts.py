"""The prompts that a benchmark description stands for."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.engines.base import part_of
from nemo_skills_specdec.engines.fetch import base_url, fetch
from nemo_skills_specdec.errors import ServerError, UsageError
from nemo_skills_specdec.launch.start import Started
from nemo_skills_specdec.prompts.load import LoadedPrompts, load_with_findings
from nemo_skills_specdec.records import Finding, Message, PromptRow
from nemo_skills_specdec.studies.config import Benchmark

EMULATED = "emulated"
DEFAULT_EMULATED_PROMPTS = 100
_EMULATED_FINDING = Finding(
    code="emulated_prompts",
    severity="warning",
    message="The prompts are emulated: sentences of several texts cut to one length, so their speed is that of a "
    "load test, and their acceptance is that of no real traffic.",
)

CountTokens = Callable[[str], int]


def load_rows(benchmark: Benchmark, count_tokens: CountTokens | None = None) -> list[PromptRow]:
    """The prompts of a benchmark, filtered and limited.

    Args:
        count_tokens: the server's tokenizer, for `emulated` prompts.

    Raises:
        UsageError: there is no such benchmark or category, it is not prepared, or the file cannot be used.
    """
    return load_prompts(benchmark, count_tokens).rows


def load_prompts(benchmark: Benchmark, count_tokens: CountTokens | None = None) -> LoadedPrompts:
    """As `load_rows`, with the name of the set and what is to be said about the prompts."""
    if benchmark.name == EMULATED and benchmark.prompts is None:
        rows = emulated_rows(benchmark, count_tokens or _words)
        return LoadedPrompts(name=benchmark.label, rows=rows, findings=[_EMULATED_FINDING])
    return load_with_findings(
        Path(benchmark.prompts) if benchmark.prompts is not None else benchmark.name,
        config=benchmark.config,
        column=benchmark.column,
        data_dir=Path(benchmark.data_dir) if benchmark.data_dir is not None else None,
        categories=benchmark.categories,
        limit_per_category=benchmark.limit_per_category,
        num_prompts=benchmark.num_prompts,
    )


def emulated_rows(benchmark: Benchmark, count_tokens: CountTokens) -> list[PromptRow]:
    """Synthetic prompts of a given length, for load tests: sentences of the built-in prompts in random order.

    Each prompt starts with its own number, so that no prefix cache serves one with another's prefix. The text is real
    prose, since random tokens make models answer in loops and overstate what speculation gains; still it is no
    request that anybody would write, so its acceptance is that of no real traffic.

    Args:
        count_tokens: how long a text is. The prompt gets as long as it can be without exceeding the length asked for.
    """
    from nemo_skills_specdec.prompts.sets.mini import load_mini

    length = benchmark.prompt_tokens
    if length is None:
        raise UsageError("emulated prompts need their length; give prompt_tokens")
    words = " ".join(message.content for row in load_mini("small") for message in row.messages).split()
    source = random.Random(benchmark.seed)
    rows = []
    for number in range(benchmark.num_prompts or DEFAULT_EMULATED_PROMPTS):
        start = source.randrange(len(words))
        text = _cut_to(length, f"{number}.", words[start:] + words[:start], count_tokens)
        rows.append(
            PromptRow(
                question_id=f"emulated-{length}-{benchmark.seed}-{number}",
                category=f"emulated_{length}",
                messages=[Message("user", text)],
            )
        )
    return rows


def server_tokenizer(started: Started, model: str) -> CountTokens | None:
    """A count of tokens by the server's own tokenizer; None if it offers none."""
    for key, fields in (("prompt", {"model": model}), ("content", {})):

        def count(text: str, key: str = key, fields: dict[str, str] = fields) -> int:
            url = f"{base_url(started.base_url)}/tokenize"
            body = msgspec.json.encode({**fields, key: text})
            answer = fetch(url, started.headers, 60.0, body=body, tls=started.tls)
            told = part_of({"body": answer.json()}, "body")
            number, tokens = told.get("count"), told.get("tokens")
            if isinstance(number, int):
                return number
            if not isinstance(tokens, list):
                raise ServerError(answer.error or f"{answer.url} does not count tokens (HTTP status {answer.status})")
            return len(tokens)

        with contextlib.suppress(ServerError):
            if count("two words") > 0:
                return count
    return None


def _cut_to(length: int, opening: str, words: Sequence[str], count_tokens: CountTokens) -> str:
    """The longest text of the opening and so many words, repeated if need be, that is not longer than asked for."""
    many = list(words) * (length // max(len(words), 1) + 2)
    low, high = 0, min(len(many), length * 2)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(" ".join([opening, *many[:middle]])) <= length:
            low = middle
        else:
            high = middle - 1
    return " ".join([opening, *many[:low]])


def _words(text: str) -> int:
    """Where there is no tokenizer: three words are about four tokens of English."""
    return (len(text.split()) * 4 + 2) // 3
