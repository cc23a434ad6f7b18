"""The examples of docs/python.md run, one after the other, as a reader would type them."""

import re
from pathlib import Path

import pytest
import requests

import nemo_skills_specdec as sd
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.errors import UsageError

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 8
    with start(EmbeddedOptions()) as server:
        Path("before.txt").write_text(requests.get(f"{server.base_url}/metrics", timeout=30).text)
        names = {"url": server.base_url}
        for example in examples:
            if "after.txt" in example:
                Path("after.txt").write_text(requests.get(f"{server.base_url}/metrics", timeout=30).text)
            exec(example, names)
    printed = capsys.readouterr().out
    assert "vllm" in printed
    assert "not distinguishable" in printed
    assert names["counts"].acceptance_length == 2.5


@pytest.mark.parametrize("name", sd.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(sd, name).__doc__
    assert name in dir(sd)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        sd.evaluat  # noqa: B018


def test_an_option_that_does_not_exist_is_refused_with_its_nearest_relative():
    with pytest.raises(UsageError, match="unknown key `concurrencies`"):
        sd.evaluate("http://127.0.0.1:9", concurrencies=4)
