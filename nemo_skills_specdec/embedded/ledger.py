"""The ledger: every verification step of every request, written where verification happens.

It is what the server's counters and responses are checked against, so it is kept apart from both.
A request's first token comes from its prefill, without a draft; each later step drafts d >= 0 tokens, accepts a <= d of
them, and emits a + 1 tokens less those cut off after the end of the text (`overshoot`).
Hence generated = 1 + sum(emitted), and emitted = accepted + 1 - overshoot in each step.
"""

from array import array
from collections.abc import Sequence
from typing import Any

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.embedded.draft_tree import DraftTree


class RequestSteps:
    """Steps of one request.

    Attributes:
        request_id: the sequence's name; samples of one request get a suffix.
        first_tokens: 1 once the prefill has emitted its token.
        step: the engine's step number of each step.
        drafted: draft tokens of each step; 0 where the drafter had none.
        emitted: tokens that became part of the text.
        ranks: of a tree's accepted nodes, all steps one after the other (`accepted` says how many belong to each);
            empty for chains.
        finish_reason: stop, length, abort, error; None while running.
    """

    __slots__ = (
        "accepted", "drafted", "emitted", "engine", "finish_reason", "first_tokens", "prompt_tokens", "ranks",
        "request_id", "step",
    )  # fmt: skip

    def __init__(self, request_id: str, engine: int, prompt_tokens: int) -> None:
        self.request_id = request_id
        self.engine = engine
        self.prompt_tokens = prompt_tokens
        self.first_tokens = 0
        self.step = array("Q")
        self.drafted = array("H")
        self.accepted = array("H")
        self.emitted = array("H")
        self.ranks = array("H")
        self.finish_reason: str | None = None

    @property
    def generated(self) -> int:
        """Tokens of the text, the end token included."""
        return self.first_tokens + sum(self.emitted)

    @property
    def overshoot(self) -> int:
        """Tokens that were accepted or drawn, but lie after the end of the text."""
        return sum(self.accepted) + len(self.accepted) - sum(self.emitted)

    def histogram(self, draft_length: int, *, undrafted: bool) -> list[int]:
        """Entry j is the number of steps that accepted exactly j tokens, j = 0..draft_length."""
        counts = [0] * (draft_length + 1)
        for drafted, accepted in zip(self.drafted, self.accepted, strict=True):
            if drafted or undrafted:
                counts[accepted] += 1
        return counts

    def as_dict(self) -> dict[str, Any]:
        """The form of `GET /ledger`."""
        return {
            "request_id": self.request_id,
            "engine": self.engine,
            "prompt_tokens": self.prompt_tokens,
            "first_tokens": self.first_tokens,
            "generated": self.generated,
            "overshoot": self.overshoot,
            "finish_reason": self.finish_reason,
            "step": self.step.tolist(),
            "drafted": self.drafted.tolist(),
            "accepted": self.accepted.tolist(),
            "emitted": self.emitted.tolist(),
            **({"ranks": self.ranks.tolist()} if self.ranks else {}),
        }


class Totals:
    """Sums over all steps that an engine ever made; nothing is ever subtracted.

    Attributes:
        offered_by_rank: for a tree, at [depth][rank] the steps that reached a node of this depth (0 is the root) with a
            child of this rank.
        accepted_by_rank: those of them in which that child was accepted.
    """

    def __init__(self, positions: int, breadth: int = 0) -> None:
        self.requests = 0
        self.finished = 0
        self.aborted = 0
        self.prompt_tokens = 0
        self.first_tokens = 0
        self.decode_steps = 0
        self.drafted_steps = 0
        self.draft_tokens = 0
        self.accepted_tokens = 0
        self.accepted_per_position = [0] * positions
        self.emitted_tokens = 0
        self.overshoot_tokens = 0
        self.offered_by_rank = [[0] * breadth for _ in range(positions if breadth else 0)]
        self.accepted_by_rank = [[0] * breadth for _ in range(positions if breadth else 0)]

    def counts(self) -> AcceptanceCounts:
        """D, T, A and A_i of the drafted steps."""
        return AcceptanceCounts(
            num_drafts=self.drafted_steps,
            num_draft_tokens=self.draft_tokens,
            num_accepted_tokens=self.accepted_tokens,
            accepted_per_position=tuple(self.accepted_per_position),
        )

    def as_dict(self) -> dict[str, Any]:
        """The form of `GET /ledger`; `generated_tokens` are all tokens of all texts."""
        sums = {name: value for name, value in vars(self).items() if not (name.endswith("_by_rank") and not value)}
        return {**sums, "generated_tokens": self.first_tokens + self.emitted_tokens}


class Ledger:
    """Totals of one engine, and the steps of its running and its latest finished requests."""

    def __init__(self, engine: int, positions: int, *, keep: int, tree: DraftTree | None = None) -> None:
        """Opens an empty ledger.

        Args:
            positions: K, or a tree's depth; 0 without speculation.
            keep: finished requests whose steps are kept; older ones only stay in the totals.
            tree: what every step drafts; None for chains.
        """
        self.engine = engine
        self.totals = Totals(positions, tree.breadth if tree else 0)
        self._children = tree.children if tree else []
        self._ranks = tree.ranks if tree else []
        self.forgotten_requests = 0
        self._keep = keep
        # Dictionaries as ordered sets of records: a client may use one name for several requests.
        self._running: dict[RequestSteps, None] = {}
        self._finished: dict[RequestSteps, None] = {}

    def open(self, request_id: str, prompt_tokens: int) -> RequestSteps:
        """Starts the record of a request."""
        self.totals.requests += 1
        steps = RequestSteps(request_id, self.engine, prompt_tokens)
        self._running[steps] = None
        return steps

    def first_token(self, steps: RequestSteps) -> None:
        """Books the token that the prefill emitted, and the prompt behind it."""
        steps.first_tokens = 1
        self.totals.prompt_tokens += steps.prompt_tokens
        self.totals.first_tokens += 1

    def verified(
        self, steps: RequestSteps, step: int, *, drafted: int, accepted: int, emitted: int, nodes: Sequence[int] = ()
    ) -> None:
        """Books one decode step of one request; `nodes` are those of a tree that were accepted, from the root down."""
        steps.step.append(step)
        steps.drafted.append(drafted)
        steps.accepted.append(accepted)
        steps.emitted.append(emitted)
        totals = self.totals
        totals.decode_steps += 1
        totals.emitted_tokens += emitted
        totals.overshoot_tokens += accepted + 1 - emitted
        if drafted:
            totals.drafted_steps += 1
            totals.draft_tokens += drafted
            totals.accepted_tokens += accepted
            for position in range(accepted):
                totals.accepted_per_position[position] += 1
        if self._children:
            steps.ranks.extend(self._ranks[node] for node in nodes)
            for depth, node in enumerate((0, *nodes)):
                for rank in range(len(self._children[node])):
                    totals.offered_by_rank[depth][rank] += 1
            for depth, node in enumerate(nodes):
                totals.accepted_by_rank[depth][self._ranks[node]] += 1

    def close(self, steps: RequestSteps, finish_reason: str) -> None:
        """Ends the record of a request."""
        steps.finish_reason = finish_reason
        if finish_reason == "abort":
            self.totals.aborted += 1
        else:
            self.totals.finished += 1
        self._running.pop(steps, None)
        self._finished[steps] = None
        if len(self._finished) > self._keep:
            del self._finished[next(iter(self._finished))]
            self.forgotten_requests += 1

    def requests(self) -> list[RequestSteps]:
        """Finished requests, oldest first, then the running ones."""
        return [*self._finished, *self._running]
