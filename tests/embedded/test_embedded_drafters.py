import json
from pathlib import Path

import numpy as np
import pytest
from embedded_helpers import BOS, GREEDY, engine, generate

from nemo_skills_specdec.embedded.drafters import DraftModel, PromptLookup
from nemo_skills_specdec.embedded.llama import KeyValueCache
from nemo_skills_specdec.embedded.sampling import SamplingParams
from nemo_skills_specdec.embedded.sequence import StopCriteria


def proposals(tokens, *, shortest, longest, draft_length, models):
    sequence = engine(models).submit("r", [BOS], GREEDY, StopCriteria(50))
    sequence.tokens = tokens
    lookup = PromptLookup(shortest=shortest, longest=longest, draft_length=draft_length)
    return lookup.propose([sequence])[0]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([1, 2, 3, 4, 2, 3], [4, 2, 3]),  # the last two tokens occurred once; only three tokens follow
        ([9, 1, 2, 7, 8, 1, 2, 5, 6, 1, 2], [7, 8, 1, 2]),  # the earliest occurrence wins
        ([4, 1, 2, 9, 1, 2, 5, 4, 1, 2], [9, 1, 2, 5]),  # three matching tokens beat two
        ([5, 5, 5], [5]),  # an occurrence may overlap the end; one token follows it
        ([1, 2, 3, 4, 5], []),
        ([1], []),
    ],
)
def test_lookup_proposes_what_followed_the_longest_earliest_match(tokens, expected, models):
    draft = proposals(tokens, shortest=2, longest=3, draft_length=4, models=models)
    assert draft.tokens == expected
    assert draft.distributions == [None] * len(expected)


def test_lookup_ignores_matches_shorter_than_allowed(models):
    assert proposals([1, 2, 3, 2], shortest=2, longest=3, draft_length=4, models=models).tokens == []
    assert proposals([1, 2, 3, 2], shortest=1, longest=3, draft_length=4, models=models).tokens == [3, 2]


def test_lookup_of_a_growing_text_equals_lookup_from_scratch(models):
    rng = np.random.default_rng(3)
    sequence = engine(models).submit("r", [BOS], GREEDY, StopCriteria(50))
    lookup = PromptLookup(shortest=2, longest=4, draft_length=5)
    tokens = rng.integers(0, 3, 6).tolist()
    for _ in range(60):
        tokens = tokens + rng.integers(0, 3, rng.integers(1, 4)).tolist()
        sequence.tokens = tokens
        fresh = proposals(tokens, shortest=2, longest=4, draft_length=5, models=models)
        assert lookup.propose([sequence])[0].tokens == fresh.tokens


def test_a_finished_text_leaves_nothing_behind_in_the_lookup(models):
    ngram = engine(models, method="ngram")
    generate(ngram, [[BOS, 5, 6, 5, 6]] * 3, 8)
    assert ngram._drafter._tables == {}


def test_the_draft_model_proposes_its_own_greedy_continuation_whatever_was_accepted(models):
    """The draft cache must be right after full, partial and no acceptance: compare with reading everything afresh."""
    drafting = engine(models, method="draft_model", draft_length=4)
    asked = []
    original = DraftModel.propose

    def recording(self, sequences):
        drafts = original(self, sequences)
        asked.extend((list(s.tokens), d.tokens) for s, d in zip(sequences, drafts, strict=True))
        return drafts

    drafting._drafter.propose = recording.__get__(drafting._drafter)
    generate(drafting, [[BOS, i, 7, 9] for i in range(20, 36)], 40)
    accepted = {a for steps in drafting.ledger.requests() for a in steps.accepted}
    assert accepted == {0, 1, 2, 3, 4}, "the case must cover every number of accepted tokens"
    model = models.draft
    for tokens, draft in asked[::9]:
        text = list(tokens)
        for proposed in draft:
            memory = KeyValueCache(model.config, slots=1, capacity=len(text))
            logits = model.logits(model.forward(memory, np.array([text]), np.array([0]))[-1:])[0]
            assert logits[proposed] >= logits.max() - 1e-3
            text.append(proposed)


def test_sampled_drafts_come_with_the_distribution_they_were_drawn_from(models):
    drafting = engine(models, method="draft_model", draft_length=3)
    drafting.submit("greedy", [BOS, 4, 5], GREEDY, StopCriteria(9), seed=0)
    drafting.submit("sampled", [BOS, 4, 5], SamplingParams(top_k=3), StopCriteria(9), seed=1)
    drafting.step()
    greedy, sampled = drafting._drafter.propose(drafting._running)
    assert greedy.distributions == [None] * 3
    for token, distribution in zip(sampled.tokens, sampled.distributions, strict=True):
        assert np.count_nonzero(distribution) == 3
        assert distribution[token] > 0


RECORDED = json.loads((Path(__file__).parents[1] / "data/embedded/vllm_ngram_steps.json").read_text())["requests"]


@pytest.mark.parametrize("recorded", RECORDED, ids=range(len(RECORDED)))
def test_lookup_drafts_what_a_real_vllm_drafted_step_by_step(recorded, models):
    """Replays a text that vLLM generated: after each of its steps our lookup must draft as many tokens as its own."""
    sequence = engine(models).submit("r", [BOS], GREEDY, StopCriteria(50))
    lookup = PromptLookup(shortest=2, longest=4, draft_length=4)
    whole = recorded["prompt"] + recorded["generated"]
    done = len(recorded["prompt"]) + 1
    drafted, accepted = [], []
    while done < len(whole):
        sequence.tokens = whole[:done]
        draft = lookup.propose([sequence])[0].tokens
        ahead = whole[done : done + len(draft)]
        right = next((i for i, pair in enumerate(zip(draft, ahead, strict=False)) if pair[0] != pair[1]), len(ahead))
        if draft:
            drafted.append(len(draft))
            accepted.append(right)
        done += right + 1
    assert drafted == recorded["per_step_drafted"]
    assert accepted[:-1] == recorded["per_step_accepted"][:-1]
    # In the last step vLLM may have accepted tokens past the end of the text, which the text does not show.
    assert accepted[-1] <= recorded["per_step_accepted"][-1]
