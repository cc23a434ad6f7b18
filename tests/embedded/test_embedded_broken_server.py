"""The server with the broken verifier, which other tests rely on to be wrong."""

import numpy as np
import requests
from broken_server import start_broken, too_many
from embedded_http import chat

from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.sampling import verify, verify_greedy


def test_one_token_too_many_is_accepted_and_the_targets_choice_follows_it():
    broken = too_many(verify_greedy, 2)
    assert [broken([5, 6], [5, 9, 8]) for _ in range(3)] == [(1, 9), (2, 8), (1, 9)]
    assert broken([5, 6], [5, 6, 8]) == (2, 8)
    p = np.array([[0, 1, 0], [0, 0, 1]], np.float32)
    assert verify([0], [None], p.__getitem__, lambda: 0.5) == (0, 1)
    assert too_many(verify, 1)([0], [None], p.__getitem__, lambda: 0.5) == (1, 2)


def test_its_greedy_texts_differ_from_those_without_speculation():
    def texts(url: str) -> list[str]:
        bodies = [chat(text, max_tokens=48) for text in ("def get(self, key):", "It was a truth that", "import os\n")]
        answers = [requests.post(f"{url}/v1/chat/completions", json=body, timeout=60).json() for body in bodies]
        return [answer["choices"][0]["message"]["content"] for answer in answers]

    with start(EmbeddedOptions(method="none")) as right, start(EmbeddedOptions()) as speculating:
        assert texts(speculating.base_url) == texts(right.base_url)
        with start_broken(EmbeddedOptions(), every=5) as wrong:
            assert texts(wrong.base_url) != texts(right.base_url)
