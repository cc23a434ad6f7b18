"""Losslessness: where answers part, what counts as a change, and an engine whose verifier is broken on purpose."""

import sys
from pathlib import Path

import numpy as np
import pytest
from compared_runs import record, row
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.compare.divergence import agreement
from nemo_skills_specdec.compare.losslessness import losslessness, sign_test
from nemo_skills_specdec.compare.sampled_outputs import compare_samples
from nemo_skills_specdec.embedded import engine as engine_module
from nemo_skills_specdec.embedded.engine import load_models
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.sampling import SamplingParams, verify, verify_greedy
from nemo_skills_specdec.embedded.sequence import StopCriteria
from nemo_skills_specdec.records import GeneratedToken

sys.path.append(str(Path(__file__).parent.parent / "embedded"))
import embedded_helpers
from embedded_helpers import engine, generate, texts, write_pair


def tokens(*names, **tops):
    return [GeneratedToken(name, -0.5, ((name, -0.5), *tops.get(name, ()))) for name in names]


def answer(name="a", text="x", **more):
    return row(record(name, text=text, **more))


def test_the_first_difference_is_a_character_where_no_tokens_are_stored():
    found = agreement(answer(text="the cat sat"), answer(text="the car sat")).divergence
    assert (found.position, found.unit, found.kind) == (6, "character", "unknown")
    assert (found.baseline, found.run) == ("t sat", "r sat")


@pytest.mark.parametrize(
    ("top", "kind", "gap"),
    [
        ({"b": (("x", -0.6),)}, "near-tie", 0.1),
        ({"b": (("x", -2.0),)}, "real change", 1.5),
        ({"b": (("y", -3.0),)}, "real change", 2.5),
        ({}, "near-tie", 0.0),
    ],
)
def test_a_difference_by_token_is_a_near_tie_or_a_real_change(top, kind, gap):
    if not top:
        top = {"b": (("x", -0.5),)}
    found = agreement(answer(logprobs=tokens("a", "b", "c", **top)), answer(logprobs=tokens("a", "x", "c"))).divergence
    assert (found.position, found.unit, found.kind) == (1, "token", kind)
    assert found.gap == pytest.approx(gap)


def test_an_answer_that_ends_earlier_differs_where_it_ends():
    found = agreement(answer(text="abc"), answer(text="ab")).divergence
    assert (found.position, found.baseline, found.run) == (2, "c", "")


def test_turns_after_one_that_differs_are_not_compared():
    baseline = row(record("a", text="same"), record("a", turn=1, text="x"), record("a", turn=2, text="y"))
    run = row(record("a", text="same"), record("a", turn=1, text="z"), record("a", turn=2, text="y"))
    found = agreement(baseline, run)
    assert (found.divergence.turn, found.length) == (1, 4)
    assert agreement(baseline, baseline).divergence is None


@given(st.text(max_size=30), st.text(max_size=30))
def test_the_place_of_a_difference_is_the_length_of_the_common_beginning(a, b):
    found = agreement(answer(text=a), answer(text=b))
    common = found.length
    assert a[:common] == b[:common]
    assert (found.divergence is None) == (a == b)


@pytest.mark.parametrize(
    ("more", "fewer", "p"), [(0, 0, 1.0), (5, 0, 1 / 32), (4, 0, 1 / 16), (3, 2, 0.5), (0, 3, 1.0)]
)
def test_the_sign_test_is_exact(more, fewer, p):
    assert sign_test(more, fewer) == pytest.approx(p)


def answers(*texts):
    return [answer(str(n), text=text) for n, text in enumerate(texts)]


def test_what_differs_as_the_baseline_from_itself_is_no_change():
    baseline = answers("aaaa", "bbbb", "cccc", "dddd")
    run, itself = answers("aaaa", "bxxx", "cccc", "dddd"), answers("axxx", "bbbb", "cccc", "dddd")
    found = losslessness(baseline, run, itself)
    assert found.verdict == "no more different than the baseline from itself"
    assert (found.earlier, found.later, found.needed) == (1, 1, 7)
    assert found.run.identical == 0.75
    assert found.findings == []


def test_seven_that_only_the_run_changes_are_a_change_and_six_are_not():
    baseline = answers(*["abcdef"] * 9)
    six = losslessness(baseline, answers(*["abXdef"] * 6, *["abcdef"] * 3), baseline)
    assert six.verdict == "no more different than the baseline from itself"
    run = answers(*["abXdef"] * 7, *["abcdef"] * 2)
    found = losslessness(baseline, run, baseline)
    assert found.verdict == "more different than the baseline from itself"
    assert [finding.code for finding in found.findings] == ["outputs_changed"]
    assert found.run.positions == (2, 2, 2)


def by_token(number, changed, gap):
    """Answers `a b c` to nine prompts, the first `changed` of them with another token, `gap` nats less probable."""
    top = {"b": (("x", -0.5 - gap),)}
    words = [("a", "x", "c") if n < changed else ("a", "b", "c") for n in range(number)]
    return [answer(str(n), logprobs=tokens(*word, **top)) for n, word in enumerate(words)]


def test_near_ties_alone_are_no_change_though_the_baseline_repeats_itself():
    baseline = by_token(9, 0, 0.1)
    found = losslessness(baseline, by_token(9, 9, 0.1), baseline)
    assert found.verdict == "more different than the baseline from itself, but at near-ties"
    assert (found.earlier, found.earlier_at_near_ties, found.run.real_changes) == (9, 9, 0)
    assert [(finding.code, finding.severity) for finding in found.findings] == [
        ("outputs_differ_at_near_ties", "warning")
    ]


def test_real_changes_are_a_change_whatever_near_ties_there_are():
    baseline = by_token(9, 0, 3.0)
    found = losslessness(baseline, by_token(9, 9, 3.0), baseline)
    assert (found.verdict, found.earlier_at_near_ties) == ("more different than the baseline from itself", 0)


def test_without_a_second_baseline_a_difference_decides_nothing():
    baseline = answers("aaaa", "bbbb")
    assert losslessness(baseline, baseline).verdict == "identical"
    found = losslessness(baseline, answers("aaaa", "bbxx"))
    assert found.verdict == "undecided"
    assert "--self" in found.findings[0].message


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "pair"
    write_pair(folder)
    return load_models(EmbeddedOptions(model_dir=str(folder), draft_length=4))


PROMPTS = [[0, *np.random.default_rng(n).integers(3, 259, 6).tolist()] for n in range(30)]


def greedy(models, **options):
    found = texts(generate(engine(models, **options), PROMPTS, 40))
    return [answer(str(n), logprobs=[GeneratedToken(str(t), 0.0) for t in text]) for n, text in enumerate(found)]


def sampled(models, seed, **options):
    running, sampling = engine(models, **options), SamplingParams(temperature=1.0)
    sequences = [
        running.submit(f"{seed}-{n}", prompt, sampling, StopCriteria(40), seed=1000 * seed + n, top_logprobs=1)
        for n, prompt in enumerate(PROMPTS[:20])
    ]
    embedded_helpers.run(running)
    return [
        answer(str(n), logprobs=[GeneratedToken(str(t.token), t.logprob) for t in sequence.logprobs])
        for n, sequence in enumerate(sequences)
    ]


def test_the_correct_engine_changes_no_greedy_answer(models):
    found = losslessness(greedy(models, method="none"), greedy(models, draft_length=4), greedy(models, method="none"))
    assert found.verdict == "identical"


def test_a_verifier_that_now_and_then_accepts_one_token_too_many_is_caught(models, monkeypatch):
    baseline = greedy(models, method="none")
    calls = iter(range(10**9))

    def too_many(draft, best):
        accepted, following = verify_greedy(draft, best)
        if accepted < len(draft) and next(calls) % 10 == 0:
            return accepted + 1, best[accepted + 1]
        return accepted, following

    monkeypatch.setattr(engine_module, "verify_greedy", too_many)
    found = losslessness(baseline, greedy(models, draft_length=4), baseline)
    assert found.verdict == "more different than the baseline from itself"
    assert found.findings[0].severity == "invalid"


def test_samples_of_the_correct_engine_are_of_one_distribution(models):
    baseline = [sampled(models, seed, method="none") for seed in range(6)]
    for first in (6, 12, 18):
        found = compare_samples(
            baseline, [sampled(models, seed, draft_length=4) for seed in range(first, first + 6)], with_power=False
        )
        assert not found.different
    assert found.detectable_nats < 0.2
    assert (found.prompts, found.answers) == (20, 240)


def test_the_power_is_the_share_of_tokens_that_would_have_been_noticed():
    repeat = [answer(str(n), text=" ".join([f"w{n}"] * 10)) for n in range(6)]
    found = compare_samples([repeat] * 4, [repeat] * 4)
    assert not found.different
    # Every answer says one word ten times, so a word of another prompt stands out.
    assert found.detectable <= 0.2
    assert found.detectable_nats is None


def test_samples_of_a_verifier_that_accepts_too_many_are_not(models, monkeypatch):
    baseline = [sampled(models, seed, method="none") for seed in range(6)]
    calls = iter(range(10**9))

    def too_many(draft, q, p, uniform):
        accepted, following = verify(draft, q, p, uniform)
        if accepted < len(draft) and next(calls) % 3 == 0:
            return accepted + 1, int(p(accepted + 1).argmax())
        return accepted, following

    monkeypatch.setattr(engine_module, "verify", too_many)
    run = [sampled(models, seed, draft_length=4) for seed in range(6, 12)]
    assert compare_samples(baseline, run, with_power=False).different


def test_a_single_run_of_each_cannot_be_tested():
    rows = answers("a b c", "d e f")
    assert compare_samples([rows], [rows, rows]) is None
