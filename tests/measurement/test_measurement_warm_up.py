"""Requests before the window."""

import pytest
import requests

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.errors import ServerError
from nemo_skills_specdec.measurement.warm_up import MAX_TOKENS, warm_up, warm_up_requests


@pytest.mark.parametrize(("concurrency", "requests"), [(1, 4), (4, 4), (64, 64), (None, 4)])
def test_a_server_is_warmed_up_with_the_batch_that_it_will_see(concurrency, requests):
    assert warm_up_requests(LoadOptions(concurrency=concurrency, request_rate=2.0)) == requests


def test_every_answered_request_is_given_back_and_is_short():
    request, load = RequestOptions(model="specdec-mini", max_tokens=500), LoadOptions(concurrency=6)
    with start(EmbeddedOptions()) as server:
        as_many_as_in_flight = warm_up(server.base_url, request, load, count=None, headers={})
        two = warm_up(server.base_url, request, load, count=2, headers={})
        served = requests.get(f"{server.base_url}/ledger", timeout=30).json()["requests"]
    assert (len(as_many_as_in_flight), len(two), len(served)) == (6, 2, 8)
    assert max(row["generated"] for row in served) <= MAX_TOKENS


def test_a_server_that_answers_nothing_is_named():
    request = RequestOptions(model="m")
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9 answered no request"):
        warm_up("http://127.0.0.1:9", request, LoadOptions(concurrency=1), count=1, headers={})
