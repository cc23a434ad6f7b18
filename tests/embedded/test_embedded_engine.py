import itertools

import numpy as np
import pytest
from embedded_helpers import BOS, EOS, GREEDY, engine, generate, run, texts

import nemo_skills_specdec.embedded.engine as engine_module
from nemo_skills_specdec.acceptance import counts_from_histogram, total
from nemo_skills_specdec.embedded.llama import KeyValueCache
from nemo_skills_specdec.embedded.sampling import SamplingParams, probabilities
from nemo_skills_specdec.embedded.sequence import StopCriteria
from nemo_skills_specdec.errors import UsageError

PROMPTS = [[BOS, *((7 * i + j * j) % 300 + 3 for j in range(3 + i % 9))] for i in range(24)]
CODE = "def get(self, key):\n    return self.data.get(key)\n\ndef set(self, key, value):\n    self.data"
PROSE = "It was a truth that every body in the village knew, and that nobody in the village would own, that"


def forever(max_tokens: int) -> StopCriteria:
    return StopCriteria(max_tokens, ignore_eos=True)


@pytest.mark.parametrize("method", ["draft_model", "ngram"])
def test_greedy_text_is_the_same_with_and_without_speculation(models, method):
    plain = texts(generate(engine(models, method="none"), PROMPTS, 40))
    speculative = engine(models, method=method, draft_length=4, prompt_lookup_min=1)
    assert texts(generate(speculative, PROMPTS, 40)) == plain
    assert speculative.ledger.totals.accepted_tokens > 50, "the case must accept drafts, or it shows nothing"


@pytest.mark.parametrize("method", ["draft_model", "ngram"])
def test_greedy_text_of_the_shipped_pair_is_the_same_with_and_without_speculation(shipped, method):
    prompts = [[BOS, *shipped.tokenizer.encode(text)] for text in (CODE, PROSE)]
    plain = texts(generate(engine(shipped, method="none"), prompts, 60, ignore_eos=True))
    assert texts(generate(engine(shipped, method=method), prompts, 60, ignore_eos=True)) == plain


@pytest.mark.parametrize("method", ["draft_model", "ngram", "none"])
@pytest.mark.parametrize("shape", [GREEDY, SamplingParams(temperature=0.8, top_p=0.9)], ids=["greedy", "sampled"])
def test_a_request_gives_the_same_text_alone_and_in_a_batch(models, method, shape):
    together = texts(generate(engine(models, method=method), PROMPTS, 20, shape))
    alone = []
    for i, prompt in enumerate(PROMPTS[:6]):
        single = engine(models, method=method)
        sequence = single.submit("r", prompt, shape, StopCriteria(20), seed=i)
        run(single)
        alone.append(sequence.tokens[len(prompt) :])
    assert alone == together[:6]


def test_a_seed_repeats_a_text_and_another_seed_changes_it(models):
    def sample(seed):
        sampling = engine(models)
        sequence = sampling.submit("r", PROMPTS[0], SamplingParams(), forever(20), seed=seed)
        run(sampling)
        return sequence.tokens

    assert sample(5) == sample(5)
    assert sample(5) != sample(6)


class Exact:
    """Exact distribution of short texts, by walking the tree of all continuations that have mass."""

    def __init__(self, models, shape):
        self._model = models.target
        self._shape = shape

    def next_token(self, tokens):
        memory = KeyValueCache(self._model.config, slots=1, capacity=len(tokens))
        x = self._model.forward(memory, np.array([tokens]), np.array([0]))[-1:]
        return probabilities(self._model.logits(x), [self._shape])[0].astype(np.float64)

    def texts(self, prompt, length):
        found = {(): 1.0}
        for _ in range(length):
            longer = {}
            for text, chance in found.items():
                p = self.next_token([*prompt, *text])
                for token in np.flatnonzero(p):
                    longer[(*text, int(token))] = chance * p[token]
            found = longer
        return found


def chi_square(observed: dict, expected: dict, runs: int) -> tuple[float, int]:
    """Pearson's statistic and its degrees of freedom; outcomes expected fewer than 5 times are one outcome."""
    statistic, rest_observed, rest_expected, cells = 0.0, 0, 0.0, 0
    for text, chance in expected.items():
        if chance * runs < 5:
            rest_expected += chance * runs
            rest_observed += observed.get(text, 0)
        else:
            statistic += (observed.get(text, 0) - chance * runs) ** 2 / (chance * runs)
            cells += 1
    if rest_expected:
        statistic += (rest_observed - rest_expected) ** 2 / rest_expected
        cells += 1
    return statistic, cells - 1


SHAPES = {
    "top_k": SamplingParams(top_k=2),
    "top_p and temperature": SamplingParams(temperature=0.6, top_p=0.8, top_k=3),
}


@pytest.fixture(scope="module")
def repeating(models):
    """A prompt that ends in a loop of the target's own making, so that n-grams of it are often right."""
    start = [BOS, 40, 50, 60]
    return start + texts(generate(engine(models, method="none"), [start], 40, ignore_eos=True))[0]


def sample_many(sampling, prompt, shape, *, runs, length):
    """Counts of texts over many seeds; the first token always comes from the prefill."""
    counts = {}
    for block in range(0, runs, 64):
        for seed in range(block, min(block + 64, runs)):
            sampling.submit(str(seed), prompt, shape, forever(length), seed=seed)
        while sampling.busy:
            for output in sampling.step().outputs:
                if output.finish_reason:
                    text = tuple(output.sequence.tokens[len(prompt) :])
                    counts[text] = counts.get(text, 0) + 1
    return counts


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("method", ["draft_model", "ngram", "none"])
def test_sampled_texts_follow_the_exact_distribution_of_the_target(models, repeating, method, shape):
    runs, length = 1600, 4
    expected = Exact(models, shape).texts(repeating, length)
    sampling = engine(models, method=method, draft_length=3, prompt_lookup_min=1)
    observed = sample_many(sampling, repeating, shape, runs=runs, length=length)
    assert set(observed) <= set(expected)
    if method != "none":
        totals = sampling.ledger.totals
        assert 0 < totals.accepted_tokens < totals.draft_tokens, "drafts must be accepted and refused"
    statistic, freedom = chi_square(observed, expected, runs)
    # Far out in the tail of a chi-square (below 1 in 10,000), and the seeds are fixed.
    assert statistic < freedom + 4.5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("method", ["draft_model", "ngram"])
def test_the_distribution_test_notices_a_rule_that_forgets_the_residual(models, repeating, method, monkeypatch):
    monkeypatch.setattr("nemo_skills_specdec.embedded.sampling.residual", lambda p, q, token: p)
    shape = SHAPES["top_k"]
    sampling = engine(models, method=method, draft_length=3, prompt_lookup_min=1)
    observed = sample_many(sampling, repeating, shape, runs=1600, length=4)
    statistic, freedom = chi_square(observed, Exact(models, shape).texts(repeating, 4), 1600)
    assert statistic > freedom + 4.5 * (2 * freedom) ** 0.5


def test_text_ends_at_the_end_token_and_counts_it(models):
    sampling = engine(models, method="none")
    sequences = generate(sampling, [PROMPTS[3]] * 200, 60, SamplingParams(temperature=1.5))
    ended = [sequence for sequence in sequences if sequence.finish_reason == "stop"]
    assert ended, "the case must end some texts early"
    for sequence in ended:
        text = sequence.tokens[sequence.prompt_length :]
        assert text.index(EOS) == len(text) - 1
        assert sequence.matched == EOS
    others = generate(
        engine(models, method="none"), [PROMPTS[3]] * 200, 60, SamplingParams(temperature=1.5), ignore_eos=True
    )
    assert {sequence.finish_reason for sequence in others} == {"length"}


def test_a_stop_token_ends_the_text(models):
    whole = texts(generate(engine(models), [PROMPTS[0]], 20))[0]
    stopped = generate(engine(models), [PROMPTS[0]], 20, stop_token_ids=(whole[7],))[0]
    assert stopped.tokens[stopped.prompt_length :] == whole[: whole.index(whole[7]) + 1]
    assert (stopped.finish_reason, stopped.matched) == ("stop", whole[7])


@pytest.mark.parametrize("method", ["draft_model", "none"])
def test_a_stop_string_ends_the_text_within_a_step(shipped, method):
    prompt = [BOS, *shipped.tokenizer.encode(CODE)]

    def text(stop):
        running = engine(shipped, method=method)
        running.submit("r", prompt, GREEDY, StopCriteria(60, stop=stop, ignore_eos=True))
        pieces, sequence = [], None
        while running.busy:
            for output in running.step().outputs:
                pieces.append(output.text)
                sequence = output.sequence
        return "".join(pieces), sequence

    whole, _ = text(())
    stop = whole[20:26]
    cut, sequence = text((stop,))
    assert cut == whole[: whole.index(stop)]
    assert (sequence.finish_reason, sequence.matched) == ("stop", stop)
    decoded = shipped.tokenizer.decode(sequence.tokens[sequence.prompt_length :])
    assert stop in decoded
    assert stop not in shipped.tokenizer.decode(sequence.tokens[sequence.prompt_length : -1])


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 7])
def test_texts_have_exactly_max_tokens(models, max_tokens):
    lengths = {len(text) for text in texts(generate(engine(models), PROMPTS, max_tokens, ignore_eos=True))}
    assert lengths == {max_tokens}


@pytest.mark.parametrize("method", ["draft_model", "ngram", "none"])
def test_the_ledger_accounts_for_every_token(models, method):
    running = engine(models, method=method, draft_length=4, prompt_lookup_min=1)
    sequences = generate(running, PROMPTS, 25)
    totals = running.ledger.totals
    records = running.ledger.requests()
    assert [record.generated for record in records] == [record.first_tokens + sum(record.emitted) for record in records]
    by_name = {record.request_id: record for record in records}
    for sequence in sequences:
        record = by_name[sequence.request_id]
        assert record.generated == sequence.generated
        assert record.finish_reason == sequence.finish_reason
        assert all(a <= d <= 4 for a, d in zip(record.accepted, record.drafted, strict=True))
        assert all(e == a + 1 for a, e in zip(record.accepted[:-1], record.emitted[:-1], strict=True))
    assert totals.first_tokens == len(PROMPTS)
    assert totals.prompt_tokens == sum(map(len, PROMPTS))
    generated = sum(sequence.generated for sequence in sequences)
    assert generated == totals.first_tokens + totals.decode_steps + totals.accepted_tokens - totals.overshoot_tokens
    summed = total(
        counts_from_histogram(
            record.histogram(4, undrafted=False), num_draft_tokens=sum(record.drafted), draft_length=4
        )
        for record in records
    )
    if method != "none":
        assert summed == totals.counts()
    else:
        assert totals.drafted_steps == totals.draft_tokens == totals.accepted_tokens == 0


def test_the_first_token_comes_without_a_draft_and_each_later_step_of_the_draft_model_with_one(models):
    running = engine(models, method="draft_model", draft_length=3)
    generate(running, PROMPTS, 12, ignore_eos=True)
    for record in running.ledger.requests():
        assert record.first_tokens == 1
        assert set(record.drafted) == {3}, "drafts are not shortened near max_tokens"


def test_tokens_accepted_past_the_end_are_dropped_but_stay_counted(models):
    running = engine(models, method="draft_model", draft_length=4)
    sequences = generate(running, PROMPTS, 6, ignore_eos=True)
    totals = running.ledger.totals
    assert totals.overshoot_tokens > 0
    assert sum(sequence.generated for sequence in sequences) == 6 * len(PROMPTS)


def test_more_requests_than_slots_wait_for_their_turn(models):
    running = engine(models, max_num_seqs=3)
    for i, prompt in enumerate(PROMPTS):
        running.submit(str(i), prompt, GREEDY, forever(9))
    assert running.num_waiting == len(PROMPTS)
    most = 0
    while running.busy:
        running.step()
        most = max(most, running.num_running)
    assert most == 3
    assert running.ledger.totals.finished == len(PROMPTS)


def test_texts_do_not_depend_on_how_many_slots_there_are(models):
    few = texts(generate(engine(models, max_num_seqs=2), PROMPTS, 15))
    many = texts(generate(engine(models, max_num_seqs=64), PROMPTS, 15))
    assert few == many


def test_a_long_prompt_is_read_in_pieces_while_others_go_on(models, monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_NUM_BATCHED_TOKENS", 16)
    long_prompt = [BOS, *(i % 290 + 5 for i in range(70))]
    expected = texts(generate(engine(models, method="none"), [long_prompt], 8))[0]
    running = engine(models)
    first = running.submit("short", PROMPTS[0], GREEDY, forever(40))
    running.step()
    second = running.submit("long", long_prompt, GREEDY, StopCriteria(8))
    progress = []
    while second.first_token is None:
        before = first.generated
        running.step()
        progress.append(first.generated - before)
    assert len(progress) == 5
    assert min(progress) >= 1
    run(running)
    assert second.tokens[len(long_prompt) :] == expected


def test_max_tokens_is_lowered_to_what_the_context_holds(models):
    sequence = generate(engine(models), [PROMPTS[0]], 10_000, ignore_eos=True)[0]
    assert len(sequence.tokens) == models.context
    assert sequence.finish_reason == "length"


def test_a_prompt_that_leaves_no_room_is_cut_on_the_left_and_counted(models):
    prompt = [BOS, *(i % 290 + 5 for i in range(200))]
    running = engine(models)
    sequence = generate(running, [prompt], 5)[0]
    assert sequence.prompt_length == models.context - 16
    assert sequence.tokens[: sequence.prompt_length] == [BOS, *prompt[-(models.context - 17) :]]
    assert sequence.truncated == len(prompt) - (models.context - 16)
    assert running.truncated_prompts == 1
    plain = running.submit("p", prompt[1:], GREEDY, StopCriteria(5))
    assert plain.tokens == prompt[-(models.context - 16) :]


@pytest.mark.parametrize("prompt", [[], [5, 320], [-1]])
def test_an_impossible_prompt_is_refused(models, prompt):
    with pytest.raises(UsageError, match="prompt"):
        engine(models).submit("r", prompt, GREEDY, StopCriteria(5))


@pytest.mark.parametrize("when", [0, 1, 3])
def test_an_aborted_request_frees_its_place_and_leaves_others_alone(models, when):
    expected = texts(generate(engine(models), PROMPTS[:6], 20, ignore_eos=True))
    running = engine(models, max_num_seqs=4)
    sequences = [running.submit(str(i), prompt, GREEDY, forever(20), seed=i) for i, prompt in enumerate(PROMPTS[:6])]
    for _ in range(when):
        running.step()
    assert running.abort(sequences[1])
    assert not running.abort(sequences[1])
    assert running.abort(sequences[5])
    run(running)
    kept = [0, 2, 3, 4]
    assert texts([sequences[i] for i in kept]) == [expected[i] for i in kept]
    totals = running.ledger.totals
    assert (totals.requests, totals.finished, totals.aborted) == (6, 4, 2)
    assert sequences[1].finish_reason == "abort"


def test_aborting_while_a_prompt_is_read_in_pieces_keeps_the_engine_going(models, monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_NUM_BATCHED_TOKENS", 16)
    running = engine(models)
    long_one = running.submit("long", [BOS] * 60, GREEDY, StopCriteria(8))
    running.step()
    other = running.submit("other", PROMPTS[2], GREEDY, forever(8))
    assert running.abort(long_one)
    run(running)
    assert other.generated == 8
    assert long_one.generated == 0


def test_the_ledger_forgets_the_oldest_steps_but_never_the_totals(models):
    running = engine(models, ledger_requests=5)
    generate(running, PROMPTS, 4, ignore_eos=True)
    assert len(running.ledger.requests()) == 5
    assert running.ledger.forgotten_requests == len(PROMPTS) - 5
    assert running.ledger.totals.finished == len(PROMPTS)


def test_two_requests_may_carry_the_same_name(models):
    running = engine(models, method="ngram")
    twins = [running.submit("same", prompt, GREEDY, StopCriteria(6)) for prompt in PROMPTS[:2]]
    run(running)
    assert texts(twins) == texts(generate(engine(models, method="none"), PROMPTS[:2], 6))
    assert [record.request_id for record in running.ledger.requests()] == ["same", "same"]


def test_step_numbers_of_the_ledger_grow(models):
    running = engine(models)
    generate(running, PROMPTS[:4], 10)
    for record in running.ledger.requests():
        assert all(later > earlier for earlier, later in itertools.pairwise(record.step))
