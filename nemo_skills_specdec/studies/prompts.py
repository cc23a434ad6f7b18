"""The prompts that a benchmark description stands for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from nemo_skills_specdec.errors import UsageError
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


def server_tokenizer(base_url: str, model: str, headers: dict[str, str]) -> CountTokens | None:
    """A count of tokens by the server's own tokenizer; None if it offers none."""
    bodies = [{"model": model, "prompt": "x"}, {"content": "x"}]
    for body in bodies:
        key = "prompt" if "prompt" in body else "content"

        def count(text: str, body: dict[str, str] = body, key: str = key) -> int:
            answer = requests.post(f"{base_url}/tokenize", json={**body, key: text}, headers=headers, timeout=60)
            answer.raise_for_status()
            told = answer.json()
            number = told.get("count")
            return int(number) if isinstance(number, int) else len(told["tokens"])

        try:
            if count("two words") > 0:
                return count
        except (requests.exceptions.RequestException, KeyError, TypeError, ValueError):
            continue
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
