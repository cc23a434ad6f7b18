"""The embedded server with a verifier that is wrong now and then: it accepts one draft token too many.

Checks of losslessness must notice it. `start_broken(EmbeddedOptions(), every=5)` is used like `embedded.launch.start`.
"""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nemo_skills_specdec.embedded.launch import announced_url, environment_of
from nemo_skills_specdec.embedded.options import EmbeddedOptions, to_json
from nemo_skills_specdec.processes import RunningServer, running_server


@contextlib.contextmanager
def start_broken(options: EmbeddedOptions, *, every: int) -> Iterator[RunningServer]:
    """Starts a server that accepts every `every`-th draft token that it ought to refuse."""
    command = [sys.executable, __file__, str(every), to_json(options)]
    with running_server(
        command, name="the broken server", find_url=announced_url, environment=environment_of(options)
    ) as server:
        yield server


def too_many(verify: Callable[..., tuple[int, int]], every: int) -> Callable[..., tuple[int, int]]:
    """A verifier of chains that lets every `every`-th refused draft token pass."""
    refusals = itertools.count(1)

    def broken(draft: Sequence[int], *rest: Any) -> tuple[int, int]:
        accepted, following = verify(draft, *rest)
        if accepted == len(draft) or next(refusals) % every:
            return accepted, following
        # What follows the token that ought not to be there, by the target's own choice.
        if len(rest) == 1:
            return accepted + 1, rest[0][accepted + 1]
        _, target, uniform = rest
        return accepted + 1, verify([], [], lambda row: target(accepted + 1 + row), uniform)[1]

    return broken


if __name__ == "__main__":
    from nemo_skills_specdec.embedded import engine
    from nemo_skills_specdec.embedded.__main__ import main

    for name in ("verify", "verify_greedy"):
        setattr(engine, name, too_many(getattr(engine, name), int(sys.argv[1])))
    sys.exit(main(sys.argv[2:]))
