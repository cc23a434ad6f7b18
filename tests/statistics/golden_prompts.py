"""Prompts whose intervals are pinned: counts by arithmetic, unlike each other, some with two or three turns."""

from nemo_skills_specdec.acceptance import AcceptanceCounts, counts_from_histogram, total
from nemo_skills_specdec.statistics import Prompt


def turn(number: int) -> AcceptanceCounts:
    histogram = ((number * 7) % 11 + 3, (number * 5) % 7 + 2, (number * 3) % 5 + 1, (number * 11) % 13)
    return counts_from_histogram(histogram, num_draft_tokens=3 * sum(histogram))


def prompts(count: int) -> list[Prompt]:
    """Of four categories in turn; every third prompt has two turns and every seventh three."""
    made = []
    for number in range(count):
        turns = 3 if number % 7 == 6 else 2 if number % 3 == 2 else 1
        requests = tuple(turn(31 * number + 17 * index) for index in range(turns))
        made.append(Prompt(category="abcd"[number % 4], requests=requests))
    return made


def clusters(count: int) -> list[AcceptanceCounts]:
    return [total(prompt.requests) for prompt in prompts(count)]
