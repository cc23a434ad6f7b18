"""Trees run on the embedded engine: counts by rank, and predictions that hold."""

import msgspec
import numpy as np
import pytest

from nemo_skills_specdec.embedded.draft_tree import parse_tree
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.trees.measured import _expected, _rates_after
from nemo_skills_specdec.trees.rank_rates import expected_length, rates_of_counts

HOW = {"max_tokens": 32, "temperature": 0.0}


@pytest.fixture(scope="module")
def prompts():
    from nemo_skills_specdec.prompts.sets.mini import load_mini

    return [row.messages[:1] for row in load_mini("small")][::2]


@pytest.fixture(scope="module")
def probe(prompts):
    from nemo_skills_specdec.embedded.draft_tree import parse_tree
    from nemo_skills_specdec.trees.measured import run_tree

    return run_tree(parse_tree("4x2x1x1x1"), prompts, **HOW)


def test_counts_by_rank_are_those_of_the_steps(probe, prompts):
    counts, rates = probe.counts, probe.rates(source="here")
    assert len(probe.prompts) == len(prompts)
    assert counts.num_draft_tokens == counts.num_drafts * probe.tree.size
    assert rates.offered[0] == (counts.num_drafts,) * 4
    assert [sum(row) for row in rates.accepted] == list(counts.accepted_per_position)
    assert rates.rates[0][0] > rates.rates[0][1] > 0


def test_an_even_tree_is_foretold_exactly_from_its_own_rates_without_a_parent(probe):
    from nemo_skills_specdec.trees.rank_rates import expected_length

    simple = msgspec.structs.replace(probe.rates(source="here"), after=None)
    assert expected_length(probe.tree, simple) == pytest.approx(probe.counts.acceptance_length)


def test_three_trees_accept_what_was_foretold_within_the_interval(probe, prompts):
    from nemo_skills_specdec.embedded.draft_tree import chain, parse_tree
    from nemo_skills_specdec.trees.best_tree import best_tree
    from nemo_skills_specdec.trees.measured import predict, run_tree

    rates = probe.rates(source="here")
    lengths = []
    for tree in (best_tree(rates, nodes=8, levels=5), parse_tree("3x1x1"), chain(4)):
        prediction = predict(probe, run_tree(tree, prompts, **HOW))
        assert prediction.within, prediction
        assert prediction.predicted_interval.low < prediction.predicted < prediction.predicted_interval.high
        assert prediction.difference_interval.low < prediction.predicted - prediction.measured
        lengths.append(prediction.measured)
    assert lengths[0] > lengths[2], "the best tree of 8 nodes accepts more than the chain of 4"


def test_a_prediction_from_wrong_rates_is_noticed(probe, prompts):
    from nemo_skills_specdec.embedded.draft_tree import chain
    from nemo_skills_specdec.trees.measured import predict, run_tree

    # Second choices taken for first ones, on the two levels that have second choices.
    def mistaken(table):
        return tuple(tuple((row[1], row[0], *row[2:]) for row in rows) for rows in table[:2]) + table[2:]

    swapped = msgspec.structs.replace(probe, accepted=tuple(mistaken(table) for table in probe.accepted))
    assert not predict(swapped, run_tree(chain(4), prompts, **HOW)).within


def test_a_run_is_repeatable_and_sampling_has_seeds(prompts):
    from nemo_skills_specdec.embedded.draft_tree import parse_tree
    from nemo_skills_specdec.trees.measured import run_tree

    tree = parse_tree("2x1")
    first, again, other = (
        run_tree(tree, prompts[:4], max_tokens=16, temperature=1.0, seed=seed).prompts for seed in (1, 1, 50)
    )
    assert first == again != other


def test_a_prediction_needs_the_same_prompts(probe, prompts):
    from nemo_skills_specdec.embedded.draft_tree import chain
    from nemo_skills_specdec.trees.measured import predict, run_tree

    with pytest.raises(UsageError, match="same prompts"):
        predict(probe, run_tree(chain(1), prompts[:2], max_tokens=4))
    with pytest.raises(UsageError, match="no prompt"):
        run_tree(chain(1), [], max_tokens=4)


def test_the_expectation_of_a_table_of_many_rows_is_that_of_each_row():
    probe, rng = parse_tree("3x2x1"), np.random.default_rng(2)
    offered = np.zeros((5, 3, 3, 3))
    offered[:, 0, 0, :] = 1000
    offered[:, 1, :, :2] = rng.integers(200, 300, (5, 3, 1))
    offered[:, 2, :2, 0] = rng.integers(100, 150, (5, 2))
    accepted = np.floor(offered * rng.uniform(0.1, 0.3, offered.shape))
    table = np.stack([offered, accepted], axis=1).reshape(5, -1)
    tree = parse_tree("2x2x1x1")
    for index, found in enumerate(_expected(tree, table, probe)):
        after = _rates_after(offered[index : index + 1], accepted[index : index + 1])[0].tolist()
        rates = rates_of_counts(
            offered[index].sum(axis=1).astype(int).tolist(),
            accepted[index].sum(axis=1).astype(int).tolist(),
            after=after,
        )
        assert found == pytest.approx(expected_length(tree, rates))
