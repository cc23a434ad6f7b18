"""Draft trees: their shape, one pass over all branches, lossless verification, and the ledger's account of ranks."""

import asyncio
import itertools

import numpy as np
import pytest
from embedded_helpers import BOS, GREEDY, engine, generate, texts
from embedded_http import chat, serving, summed
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.embedded.draft_tree import DraftTree, chain, format_tree, parse_tree, tree_of_paths
from nemo_skills_specdec.embedded.engine import load_models
from nemo_skills_specdec.embedded.llama import KeyValueCache, TreeAttention
from nemo_skills_specdec.embedded.options import EmbeddedOptions, check, from_json, to_json
from nemo_skills_specdec.embedded.sampling import (
    SamplingParams,
    acceptance_probability,
    residual,
    sample_without_replacement,
    verify_tree,
    verify_tree_greedy,
)
from nemo_skills_specdec.embedded.sequence import StopCriteria
from nemo_skills_specdec.embedded.tree_drafter import DraftTreeModel
from nemo_skills_specdec.errors import UsageError

PROMPTS = [[BOS, *((7 * i + j * j) % 300 + 3 for j in range(3 + i % 9))] for i in range(24)]
TREES = {
    "even": "3x2x1x1",
    "ragged": "[[0],[1],[2],[0,0],[0,1],[2,0],[0,0,0],[2,0,0],[2,0,1]]",
    "flat": "8",
}


@pytest.fixture(scope="module")
def tree_models(pair):
    """The pair of `models`, with room for the largest tree here."""
    return load_models(EmbeddedOptions(model_dir=str(pair), draft_tree="3x2x1x1"))


@st.composite
def trees(draw, most=12):
    """Trees of any shape."""
    parents = [0]
    for _ in range(draw(st.integers(0, most - 1))):
        parents.append(draw(st.integers(parents[-1], len(parents))))
    return DraftTree(tuple(parents))


@given(trees())
def test_a_tree_survives_being_written_down_in_any_order(tree):
    assert parse_tree(format_tree(tree)) == tree
    assert tree_of_paths(reversed(tree.paths)) == tree


@given(trees())
def test_levels_children_ranks_and_ancestry_describe_the_same_tree(tree):
    paths = [(), *tree.paths]
    assert [node for level in tree.levels for node in level] == list(range(tree.size + 1))
    for depth, level in enumerate(tree.levels):
        assert all(len(paths[node]) == depth == tree.depths[node] for node in level)
    for node, children in enumerate(tree.children):
        assert [paths[child] for child in children] == [(*paths[node], rank) for rank in range(len(children))]
    ancestry = tree.ancestry()
    for a, b in itertools.product(range(tree.size + 1), repeat=2):
        assert ancestry[a, b] == (paths[a][: len(paths[b])] == paths[b])


@pytest.mark.parametrize(
    "text",
    [
        "2x1",
        "[[0],[1],[0,0],[1,0]]",
        "[(0,), (1,), (0, 0), (1, 0)]",
        '{"name": "n", "nodes": [[1], [0], [1, 0], [0, 0]]}',
    ],
)
def test_all_notations_of_one_tree_are_read_alike(text):
    assert parse_tree(text) == DraftTree((0, 0, 1, 2))


def test_a_chain_is_a_tree_without_siblings():
    assert parse_tree("1x1x1") == chain(3)
    assert chain(3).is_chain()
    assert (chain(3).depth, chain(3).breadth, chain(3).size) == (3, 1, 3)
    assert not parse_tree("2x1").is_chain()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[0],[0,1]]", "not its sibling"),
        ("[[0],[1,0]]", "not its parent"),
        ("[[0],[0]]", "repeated"),
        ("[]", "has 0"),
        ("[[]]", "not a node"),
        ("[[-1]]", "not a node"),
        ("wide", "list of paths"),
        ('{"tree": 1}', "list of lists"),
        ("40x40", "at most 1024"),
        ("2x0", "at least 1"),
        ("x".join("1" * 70), "at most 64"),
    ],
)
def test_what_is_no_tree_is_refused_with_the_reason(text, words):
    with pytest.raises(UsageError, match=words):
        parse_tree(text)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("text", TREES.values(), ids=TREES.keys())
def test_one_pass_over_a_tree_equals_reading_every_branch_by_itself(tree_models, text, batch):
    tree, model = parse_tree(text), tree_models.target
    rng = np.random.default_rng(4)
    memory = KeyValueCache(model.config, slots=batch, capacity=80)
    prefixes = [[BOS, *rng.integers(2, 320, 5 + 4 * i).tolist()] for i in range(batch)]
    for slot, prefix in enumerate(prefixes):
        model.forward(memory, np.array([prefix[:-1]]), np.array([0]), first_slot=slot)
    drafted = rng.integers(2, 320, (batch, tree.size))
    tokens = np.column_stack([[prefix[-1] for prefix in prefixes], drafted])
    tree_attention = TreeAttention(offset=0, depths=np.array(tree.depths), visible=tree.ancestry())
    starts = np.array([len(prefix) - 1 for prefix in prefixes])
    together = model.forward(memory, tokens, starts, tree_attention=tree_attention).reshape(batch, tree.size + 1, -1)
    ancestry = tree.ancestry()
    for slot, prefix in enumerate(prefixes):
        for node in range(tree.size + 1):
            branch = [int(token) for token in tokens[slot, 1:][ancestry[node, 1:]]]
            alone = KeyValueCache(model.config, slots=1, capacity=80)
            x = model.forward(alone, np.array([prefix + branch]), np.array([0]))
            np.testing.assert_allclose(together[slot, node], x[-1], atol=2e-5)


@pytest.mark.parametrize("text", TREES.values(), ids=TREES.keys())
def test_greedy_text_is_the_same_with_a_tree_and_without_speculation(tree_models, text):
    plain = texts(generate(engine(tree_models, method="none"), PROMPTS, 40))
    speculative = engine(tree_models, draft_tree=text)
    assert texts(generate(speculative, PROMPTS, 40)) == plain
    totals = speculative.ledger.totals
    assert totals.accepted_tokens > 100, "the case must accept drafts, or it shows nothing"
    assert sum(rates[1] for rates in totals.accepted_by_rank) > 20, "and second choices too"


@pytest.mark.parametrize("shape", [GREEDY, SamplingParams(temperature=0.8, top_p=0.9)], ids=["greedy", "sampled"])
def test_a_tree_without_branches_is_the_chain_it_looks_like(tree_models, shape):
    tree, plain = engine(tree_models, draft_tree="1x1x1"), engine(tree_models, draft_length=3)
    if shape.greedy:
        assert texts(generate(tree, PROMPTS, 30, shape)) == texts(generate(plain, PROMPTS, 30, shape))
        assert tree.ledger.totals.counts() == plain.ledger.totals.counts()
    else:
        generate(tree, PROMPTS * 3, 20, shape)
        generate(plain, PROMPTS * 3, 20, shape)
        # Other random numbers, the same distribution: within four standard errors of some 700 steps each.
        lengths = [e.ledger.totals.counts().acceptance_length for e in (tree, plain)]
        assert lengths[0] == pytest.approx(lengths[1], abs=0.2)


@pytest.mark.parametrize("shape", [GREEDY, SamplingParams(temperature=0.8, top_p=0.9)], ids=["greedy", "sampled"])
def test_a_request_gives_the_same_text_alone_and_in_a_batch_with_trees(tree_models, shape):
    together = texts(generate(engine(tree_models, draft_tree=TREES["ragged"]), PROMPTS, 20, shape))
    for i, prompt in enumerate(PROMPTS[:6]):
        single = engine(tree_models, draft_tree=TREES["ragged"])
        sequence = single.submit("r", prompt, shape, StopCriteria(20), seed=i)
        while single.busy:
            single.step()
        assert sequence.tokens[len(prompt) :] == together[i]


def test_a_tree_fits_behind_a_text_that_fills_the_context(tree_models):
    sequence = generate(engine(tree_models, draft_tree="3x2x1x1"), [PROMPTS[0]], 10_000, ignore_eos=True)[0]
    plain = generate(engine(tree_models, method="none"), [PROMPTS[0]], 10_000, ignore_eos=True)[0]
    assert len(sequence.tokens) == tree_models.context
    assert sequence.tokens == plain.tokens


def test_the_drafter_proposes_its_likeliest_tokens_below_every_node_whatever_was_accepted(tree_models):
    """The draft cache must be right after any accepted path: compare with reading everything afresh."""
    drafting = engine(tree_models, draft_tree=TREES["ragged"])
    asked = []
    original = DraftTreeModel.propose

    def recording(self, sequences):
        drafts = original(self, sequences)
        asked.extend((list(s.tokens), list(d.tokens)) for s, d in zip(sequences, drafts, strict=True))
        return drafts

    drafting._drafter.propose = recording.__get__(drafting._drafter)
    generate(drafting, PROMPTS, 40)
    assert {a for steps in drafting.ledger.requests() for a in steps.accepted} == {0, 1, 2, 3}
    tree, model = parse_tree(TREES["ragged"]), tree_models.draft
    ancestry = tree.ancestry()
    for tokens, draft in asked[::23]:
        for node, children in enumerate(tree.children):
            if not children:
                continue
            text = tokens + [draft[other - 1] for other in range(1, node + 1) if ancestry[node, other]]
            memory = KeyValueCache(model.config, slots=1, capacity=len(text))
            logits = model.logits(model.forward(memory, np.array([text]), np.array([0]))[-1:])[0]
            best = np.sort(logits)[::-1]
            chosen = [draft[child - 1] for child in children]
            assert len(set(chosen)) == len(chosen)
            np.testing.assert_allclose(logits[chosen], best[: len(chosen)], atol=1e-3)


def distribution(size: int) -> st.SearchStrategy[np.ndarray]:
    weights = st.lists(st.integers(0, 8), min_size=size, max_size=size).filter(any)
    return weights.map(lambda w: (np.array(w) / sum(w)).astype(np.float32))


def draws(q: np.ndarray, count: int):
    """Every ordered draw of `count` different tokens without replacement, its chance, and each token's distribution."""
    ranking = np.argsort(-q, kind="stable").tolist()
    for order in itertools.permutations(range(len(q)), count):
        # Quantiles that lead to this order: the middle of each token's own span.
        left, numbers, chance = q.astype(np.float64), [], 1.0
        for token in order:
            total = left.sum()
            if left[token] == 0 or total == 0:
                break
            numbers.append((left[:token].sum() + left[token] / 2) / total)
            chance *= left[token] / total
            left = left.copy()
            left[token] = 0
        script = iter(numbers)
        if len(numbers) == count or (numbers and not left.any()):
            tokens, distributions = sample_without_replacement(q, ranking, count, script.__next__)
            if tokens == list(order):
                yield tokens, distributions, chance


def after_siblings(p, tokens, distributions):
    """Exact chances: of each sibling being accepted, and of each token being drawn after all were refused."""
    accepted, left, reach = [], p.astype(np.float64), 1.0
    for token, q in zip(tokens, distributions, strict=True):
        chance = acceptance_probability(left, q, token)
        accepted.append(reach * chance)
        rest = residual(left, q, token)
        reach *= 1 - chance
        left = rest / rest.sum() if rest.sum() > 0 else left
    return accepted, reach * left


@settings(max_examples=150, deadline=None)
@given(st.integers(3, 5).flatmap(lambda n: st.tuples(distribution(n), distribution(n), st.integers(1, n))))
def test_siblings_emit_exactly_the_target_distribution_for_every_drafter(case):
    p, q, count = case
    emitted, total = np.zeros(len(p)), 0.0
    for tokens, distributions, chance in draws(q, count):
        accepted, drawn = after_siblings(p, tokens, distributions)
        emitted[tokens] += chance * np.array(accepted)
        emitted += chance * drawn
        total += chance
    assert total == pytest.approx(1, abs=1e-5), "every draw must have been enumerated"
    np.testing.assert_allclose(emitted, p, atol=2e-5)


class Numbers:
    """Uniform numbers of a chosen path."""

    def __init__(self, numbers) -> None:
        self._numbers = iter(numbers)

    def __call__(self) -> float:
        return next(self._numbers)


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[distribution(3)] * 6))
def test_a_tree_of_two_levels_emits_exactly_the_joint_target_distribution(distributions):
    """The rule itself, run along every path of random numbers on a grid, against p(first) p(second | first)."""
    first, *after, q, q_below = distributions
    tree = parse_tree("2x1")
    children = tree.children
    joint = np.zeros((3, 3))
    grid = [(i + 0.5) / 24 for i in range(24)]
    for siblings, sibling_q, chance in draws(q, 2):
        for below in itertools.product(np.flatnonzero(q_below).tolist(), repeat=2):
            weight = chance * q_below[below[0]] * q_below[below[1]]
            draft = [*siblings, *below]
            p = np.array([first, after[siblings[0]], after[siblings[1]], first, first])
            accepted, drawn = after_siblings(first, siblings, sibling_q)
            # Nothing accepted: the second token of the text comes from the target in the next step.
            joint += weight * drawn[:, None] * np.array(after)
            for number, (sibling, reach) in enumerate(zip(siblings, accepted, strict=True)):
                if reach <= 1e-9:
                    continue
                below_p = acceptance_probability(p[number + 1], q_below, below[number])
                joint[sibling, below[number]] += weight * reach * below_p
                if below_p >= 1 - 1e-9:
                    continue
                refusals = [1 - 1e-9] * number
                for u in grid:
                    nodes, following = verify_tree(
                        children,
                        draft,
                        [*sibling_q, q_below, q_below],
                        p.__getitem__,
                        Numbers([*refusals, 0.0, 1 - 1e-9, u]),
                    )
                    assert nodes == [number + 1]
                    joint[sibling, following] += weight * reach * (1 - below_p) / len(grid)
    expected = first[:, None] * np.array(after)
    # The grid of 24 quantiles leaves at most 1/24 on each side of a boundary.
    np.testing.assert_allclose(joint, expected, atol=2 / 24)


def test_greedy_verification_follows_the_first_choices_through_the_tree():
    children = parse_tree("[[0],[1],[0,0],[1,0],[1,1]]").children
    draft = [5, 6, 7, 8, 9]
    assert verify_tree_greedy(children, draft, [6, 0, 9, 0, 0, 3]) == ([2, 5], 3)
    assert verify_tree_greedy(children, draft, [6, 0, 4, 0, 0, 3]) == ([2], 4)
    assert verify_tree_greedy(children, draft, [1, 0, 4, 0, 0, 3]) == ([], 1)


def test_a_distribution_with_too_few_tokens_is_filled_up_with_tokens_proposed_for_certain():
    q = np.array([0.0, 0.75, 0.25, 0.0], np.float32)
    tokens, distributions = sample_without_replacement(q, [1, 3, 0, 2], 4, Numbers([0.1, 0.5]))
    assert tokens == [1, 2, 3, 0]
    np.testing.assert_allclose(distributions[0], q)
    np.testing.assert_allclose(distributions[1], [0, 0, 1, 0])
    assert distributions[2:] == [None, None]


def sampled(models, prompt, shape, runs, length):
    """Counts of texts over many seeds, and their exact distribution by walking all continuations with mass."""
    from nemo_skills_specdec.embedded.sampling import probabilities

    sampling = engine(models, draft_tree=TREES["ragged"])
    observed = {}
    for start in range(0, runs, 64):
        sequences = [
            sampling.submit(str(seed), prompt, shape, StopCriteria(length, ignore_eos=True), seed=seed)
            for seed in range(start, min(start + 64, runs))
        ]
        while sampling.busy:
            sampling.step()
        for text in map(tuple, texts(sequences)):
            observed[text] = observed.get(text, 0) + 1
    expected = {(): 1.0}
    for _ in range(length):
        longer = {}
        for text, chance in expected.items():
            memory = KeyValueCache(models.target.config, slots=1, capacity=len(prompt) + length)
            x = models.target.forward(memory, np.array([[*prompt, *text]]), np.array([0]))[-1:]
            p = probabilities(models.target.logits(x), [shape])[0].astype(np.float64)
            longer |= {(*text, int(token)): chance * p[token] for token in np.flatnonzero(p)}
        expected = longer
    return observed, expected, sampling.ledger.totals


def too_unlikely(observed, expected, runs):
    """Whether Pearson's statistic lies far out in its tail (below 1 in 10,000)."""
    frequent = {text: chance * runs for text, chance in expected.items() if chance * runs >= 5}
    cells = [(observed.get(text, 0), mean) for text, mean in frequent.items()]
    rest = (runs - sum(count for count, _ in cells), runs - sum(frequent.values()))
    if rest[1] > 1e-6:
        cells.append(rest)
    freedom = len(cells) - 1
    statistic = sum((count - mean) ** 2 / mean for count, mean in cells)
    return statistic > freedom + 4.5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize(
    "shape", [SamplingParams(top_k=4), SamplingParams(temperature=0.8, top_p=0.9, top_k=5)], ids=["top_k", "top_p"]
)
def test_sampled_texts_of_a_tree_follow_the_exact_distribution_of_the_target(tree_models, shape):
    observed, expected, totals = sampled(tree_models, PROMPTS[2], shape, runs=1200, length=3)
    assert set(observed) <= set(expected)
    assert 0 < totals.accepted_tokens < totals.draft_tokens
    assert sum(rates[1] for rates in totals.accepted_by_rank) > 50, "second choices must be accepted too"
    assert not too_unlikely(observed, expected, 1200)


def test_the_distribution_test_notices_a_rule_that_forgets_what_siblings_left(tree_models, monkeypatch):
    monkeypatch.setattr("nemo_skills_specdec.embedded.sampling.residual", lambda p, q, token: p)
    observed, expected, _ = sampled(tree_models, PROMPTS[2], SamplingParams(top_k=4), runs=1200, length=3)
    assert too_unlikely(observed, expected, 1200)


def test_the_ledger_accounts_for_every_node_depth_and_rank(tree_models):
    tree = parse_tree(TREES["ragged"])
    running = engine(tree_models, draft_tree=TREES["ragged"])
    generate(running, PROMPTS, 30)
    totals = running.ledger.totals
    assert totals.draft_tokens == tree.size * totals.drafted_steps
    assert [sum(row) for row in totals.accepted_by_rank] == totals.accepted_per_position
    assert totals.offered_by_rank[0] == [totals.drafted_steps] * 3
    offered, accepted = np.zeros((3, 3), int), np.zeros((3, 3), int)
    paths = set(tree.paths)
    for record in running.ledger.requests():
        ranks = iter(record.ranks)
        for count in record.accepted:
            path = tuple(itertools.islice(ranks, count))
            assert path in paths | {()}
            for depth in range(count + 1):
                for rank in range(3):
                    offered[depth % 3, rank] += depth < 3 and (*path[:depth], rank) in paths
            for depth, rank in enumerate(path):
                accepted[depth, rank] += 1
        assert next(ranks, None) is None
    assert totals.offered_by_rank == offered.tolist()
    assert totals.accepted_by_rank == accepted.tolist()


def test_a_chain_has_no_account_of_ranks(tree_models):
    running = engine(tree_models, draft_length=3)
    generate(running, PROMPTS[:3], 10)
    assert not any("rank" in name for name in running.ledger.totals.as_dict())
    assert not any("ranks" in record.as_dict() for record in running.ledger.requests())


def test_tree_options_survive_as_an_argument():
    options = EmbeddedOptions(dialect="sglang", draft_tree=TREES["ragged"])
    check(options)
    assert from_json(to_json(options), api_key=None) == options
    assert (options.positions, options.proposed) == (3, 9)
    assert (EmbeddedOptions(draft_length=5).positions, EmbeddedOptions(draft_length=5).proposed) == (5, 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dialect": "vllm", "draft_tree": "2x1"}, "vLLM verifies no trees"),
        ({"dialect": "sglang", "draft_tree": "2x1", "method": "ngram"}, "draft_model"),
        ({"dialect": "sglang", "draft_tree": "broken"}, "list of paths"),
    ],
)
def test_trees_where_they_cannot_be_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        check(EmbeddedOptions(**options))


def test_the_sglang_dialect_counts_trees_as_sglang_does():
    tree = parse_tree(TREES["ragged"])

    async def check_server():
        async with serving(dialect="sglang", draft_tree=TREES["ragged"]) as client:
            request = chat(return_spec_tokens_details=True, ignore_eos=True, temperature=0)
            _, body = await client.post("/v1/chat/completions", request)
            _, info = await client.get("/server_info")
            samples = await client.samples()
            return body["sglext"]["spec_tokens_details"], info, samples, client.service.engines[0].ledger

    details, info, samples, ledger = asyncio.run(check_server())
    record = ledger.requests()[0]
    assert details["spec_num_proposed_drafts"] == details["spec_verify_ct"] * tree.size == sum(record.drafted)
    assert details["spec_num_correct_drafts"] == sum(record.accepted)
    assert len(details["spec_correct_drafts_histogram"]) <= tree.depth + 1
    assert [info[f"speculative_{name}"] for name in ("num_steps", "eagle_topk", "num_draft_tokens")] == [3, 3, 10]
    assert summed(samples, "sglang:spec_verify_calls_total") == len(record.step)
