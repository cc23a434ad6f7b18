"""Ada-LEval: the most helpful of many answers (stackselect), and parts of a book in their order (textsort)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import Flavor, RawRow, number_at, record_of
from nemo_skills_specdec.prompts.speed_bench.sources.plain_files import records_at
from nemo_skills_specdec.prompts.speed_bench.texts import Texts
from nemo_skills_specdec.prompts.speed_bench.tokens import Encoder, fitted

_SEED = 42
_FIELDS = ["question", "all_answers", "answer"]


def load_stackselect(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Finds the questions by their id in the file that `source` names."""
    records = records_at(access, [(row.source, row.src_id) for row in rows], "Ada-LEval", _FIELDS, key="question_id")

    def turns(row: RawRow) -> list[str]:
        encoder, budget = rules.measure(row)
        record = record_of(row, records, (row.source, row.src_id), row.source)
        answers = [str(answer) for answer in record["all_answers"]]
        prompt = selection(
            str(record["question"]), answers, str(record["answer"]), budget, encoder, rules.texts, rules.flavor
        )
        return [fitted(encoder, prompt, budget, rules.texts.pad)]

    return turns


def selection(
    question: str, answers: Sequence[str], right: str, budget: int, encoder: Encoder, texts: Texts, flavor: Flavor
) -> str:
    """The prompt with a question and as many answers as upstream takes, shuffled, the right one among them.

    The tokens of the answers are compared one by one, not added up, so nearly always all answers are taken and the
    whole is cut to the budget afterwards, which may cost the closing question.

    Args:
        right: designation of the right answer, e.g. `A3`.
        budget: tokens that the prompt may have.
        flavor: where the right answer is put before the others, `nemo-skills` puts it before *each* of them, as the
            upstream script does because its answers are an array and not a list.
    """
    try:
        good = int(right.strip("A")) - 1
        kept = answers[good]
    except (ValueError, IndexError) as error:
        raise DataError(
            f"Ada-LEval calls answer {right!r} right, of {len(answers)}; was the source changed?"
        ) from error

    def tokens(text: str) -> int:
        return len(encoder.encode(text, disallowed_special=()))

    head = texts.ss_head + texts.ss_after_head + question + "\n\n" + texts.ss_before_answers
    base = tokens(head) + tokens(texts.ss_tail) + tokens(f"{right}:\n\n{kept}\n\n")
    last = 0
    for index, answer in enumerate(answers):
        if index == good:
            continue
        if base + tokens(f"A{index + 1}:\n\n{answer}\n\n") > budget:
            break
        last = index
    chosen = list(answers[: last + 1])
    if last < good:
        chosen = [kept + answer for answer in chosen] if flavor == "nemo-skills" else [kept, *chosen]
    random.Random(_SEED).shuffle(chosen)
    return head + "".join(f"A{number}:\n\n{text}\n\n" for number, text in enumerate(chosen, start=1)) + texts.ss_tail


def load_textsort(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Takes the texts by their number in the file that `source` names."""
    records = records_at(access, [(row.source, number_at(row, 1)) for row in rows], "Ada-LEval", ["prompt"])

    def turns(row: RawRow) -> list[str]:
        encoder, budget = rules.measure(row)
        prompt = sorting(str(records[row.source, number_at(row, 1)]["prompt"]), rules.texts)
        return [fitted(encoder, prompt, budget, rules.texts.pad)]

    return turns


def sorting(prompt: str, texts: Texts) -> str:
    """The prompt with another instruction, which asks for the text and not for its order."""
    return prompt.replace(texts.ts_old, texts.ts_new, 1)


STACKSELECT = Source(marker="AdaLEval/stackselect", load=load_stackselect)
TEXTSORT = Source(marker="AdaLEval/textsort", load=load_textsort)
