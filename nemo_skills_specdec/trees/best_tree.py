"""The draft tree with the largest expected acceptance length, and the arguments engines take for a tree."""

from __future__ import annotations

import heapq
import json

from nemo_skills_specdec.embedded.draft_tree import MOST_LEVELS, MOST_NODES, DraftTree, Path, tree_of_paths
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.trees.rank_rates import RankRates, isotonic


def best_tree(rates: RankRates, *, nodes: int, levels: int) -> DraftTree:
    """The tree of at most `nodes` nodes and `levels` levels that maximises E[AL] in the product model.

    A node needs its parent and its siblings of lower rank, and is never likelier than these, if rates do not rise with
    the rank. So the likeliest nodes of all form a tree by themselves, and no other choice of as many nodes has a larger
    sum. Taking the likeliest candidate again and again, from a heap, finds them in O(N log N).

    Args:
        rates: measured acceptance; rates that rise with the rank are smoothed first (`isotonic`).
        nodes: N, the root not counted.
        levels: L.

    Returns:
        The tree; smaller than asked for if no further node is ever accepted.

    Raises:
        UsageError: a size is out of range, or the drafter's first choice is never accepted.
    """
    if not 1 <= nodes <= MOST_NODES or not 1 <= levels <= MOST_LEVELS:
        raise UsageError(
            f"a tree cannot have {nodes} nodes and {levels} levels; nodes must be 1 to {MOST_NODES}, levels 1 to "
            f"{MOST_LEVELS}"
        )
    smooth = isotonic(rates)
    chosen: list[Path] = []
    candidates: list[tuple[float, Path, float]] = []

    def offer(path: Path, reach: float) -> None:
        """Adds a candidate; `reach` is the probability of its parent."""
        probability = reach * smooth.at(len(path) - 1, path[-1], path[-2] if len(path) > 1 else 0)
        if probability > 0 and len(path) <= levels:
            heapq.heappush(candidates, (-probability, path, reach))

    offer((0,), 1.0)
    while candidates and len(chosen) < nodes:
        negative, path, reach = heapq.heappop(candidates)
        chosen.append(path)
        offer((*path[:-1], path[-1] + 1), reach)
        offer((*path, 0), -negative)
    if not chosen:
        raise UsageError("the first choice was never accepted, so every draft tree is worth nothing")
    return tree_of_paths(chosen)


def engine_arguments(tree: DraftTree) -> dict[str, str]:
    """What to give each engine to draft this tree, or why it cannot."""
    sglang = (
        f"--speculative-num-steps {tree.depth} --speculative-eagle-topk {tree.breadth} "
        f"--speculative-num-draft-tokens {tree.size + 1}"
    )
    if tree.is_chain():
        vllm = f"--speculative-config '{json.dumps({'num_speculative_tokens': tree.depth})}' (and method, model)"
        return {"sglang": sglang, "vllm": vllm}
    return {
        "sglang": f"{sglang} (upper bounds only: SGLang grows a new tree in every step from the drafter's own "
        "probabilities)",
        "vllm": "vLLM drafts chains only",
    }
