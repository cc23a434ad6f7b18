import pytest

from nemo_skills_specdec.client.endpoint import endpoint_url
from nemo_skills_specdec.errors import UsageError


@pytest.mark.parametrize(
    ("url", "api", "expected"),
    [
        ("http://h:8000", "chat", "http://h:8000/v1/chat/completions"),
        ("h:8000", "chat", "http://h:8000/v1/chat/completions"),
        ("http://h:8000/", "completions", "http://h:8000/v1/completions"),
        ("http://h:8000/v1/", "chat", "http://h:8000/v1/chat/completions"),
        ("https://h/llm/v1", "chat", "https://h/llm/v1/chat/completions"),
        ("https://h/api/v3", "chat", "https://h/api/v3/chat/completions"),
        ("http://h/v1/chat/completions", "chat", "http://h/v1/chat/completions"),
        ("http://[::1]:80", "chat", "http://[::1]:80/v1/chat/completions"),
        ("http://h/?key=1", "chat", "http://h/v1/chat/completions?key=1"),
    ],
)
def test_the_endpoint_is_found_from_any_form_of_the_address(url, api, expected):
    assert endpoint_url(url, api) == expected


@pytest.mark.parametrize("url", ["", "ftp://h", "http://", "http://h:99999", "http://h:port", "/path"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match="not an http address"):
        endpoint_url(url, "chat")
