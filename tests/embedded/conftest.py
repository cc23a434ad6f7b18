import os

import pytest

# Matrices this small are slower on several threads, much slower on a busy machine. Read when numpy is first imported,
# so everything that imports it is imported inside the fixtures.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """A folder with a random target, a noisy copy as draft, and a tokenizer."""
    from embedded_helpers import write_pair

    folder = tmp_path_factory.mktemp("pair")
    write_pair(folder)
    return folder


@pytest.fixture(scope="session")
def models(pair):
    from nemo_skills_specdec.embedded.engine import load_models
    from nemo_skills_specdec.embedded.options import EmbeddedOptions

    return load_models(EmbeddedOptions(model_dir=str(pair), draft_length=4))


@pytest.fixture(scope="session")
def shipped():
    """The pair that comes with the package."""
    from nemo_skills_specdec.embedded.engine import load_models
    from nemo_skills_specdec.embedded.options import EmbeddedOptions

    return load_models(EmbeddedOptions(draft_length=4))
