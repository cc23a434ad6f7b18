from pathlib import Path

import pytest
from embedded_helpers import write_pair

from nemo_skills_specdec.embedded.engine import Models, load_models
from nemo_skills_specdec.embedded.options import EmbeddedOptions


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random target, a noisy copy as draft, and a tokenizer."""
    folder = tmp_path_factory.mktemp("pair")
    write_pair(folder)
    return folder


@pytest.fixture(scope="session")
def models(pair: Path) -> Models:
    return load_models(EmbeddedOptions(model_dir=str(pair), draft_length=4))


@pytest.fixture(scope="session")
def shipped() -> Models:
    """The pair that comes with the package."""
    return load_models(EmbeddedOptions(draft_length=4))
