"""The package in jobs: what is registered wherever it is installed, and what a job does that lacks something."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import nemo_skills_specdec
from nemo_skills_specdec.evaluator import shipping
from nemo_skills_specdec.evaluator.shipping import REQUIREMENTS, Shipment, register_package, shipment

ROOT = Path(nemo_skills_specdec.__file__).parents[1]


def package_in(folder):
    package = folder / "nemo_skills_specdec"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    return package


def git(folder, *words):
    own = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def packager(monkeypatch):
    """NeMo-Skills' registry of October 2025, which takes no name twice."""
    made = ModuleType("nemo_skills.pipeline.utils.packager")
    made.EXTERNAL_REPOS = {"nemo_skills": SimpleNamespace(name="nemo_skills", path=Path("/usr"))}
    made.RepoMetadata = SimpleNamespace

    def register(metadata):
        assert metadata.name not in made.EXTERNAL_REPOS
        made.EXTERNAL_REPOS[metadata.name] = metadata

    made.register_external_repo = register
    utils = ModuleType("nemo_skills.pipeline.utils")
    utils.packager = made
    for name in ("nemo_skills", "nemo_skills.pipeline"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "nemo_skills.pipeline.utils", utils)
    return made


def registered(packager):
    return {name: item.path for name, item in packager.EXTERNAL_REPOS.items() if name != "nemo_skills"}


def test_a_checkout_goes_as_it_was_committed(tmp_path):
    package = package_in(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    assert shipment(package) == Shipment("checkout", tmp_path)


def test_an_installed_package_outside_git_goes_as_its_folder(tmp_path):
    package = package_in(tmp_path / "venv" / "site-packages")
    assert shipment(package) == Shipment("package", package)


def test_a_package_in_the_environment_of_a_git_project_goes_as_a_copy(tmp_path, packager, monkeypatch):
    git(tmp_path, "init", "-q")
    package = package_in(tmp_path / ".venv" / "lib")
    monkeypatch.setattr(shipping, "PACKAGE", package)
    monkeypatch.setattr(shipping, "shipment", lambda: shipment(package))
    assert shipment(package) == Shipment("copy", package)
    register_package()
    (folder,) = registered(packager).values()
    # The archive of a folder outside git holds it under its own name.
    assert folder.name == "nemo_skills_specdec"
    assert shipping.git_root(folder) is None
    assert (folder / "__init__.py").exists()


def test_the_repository_of_a_mapped_folder_is_registered_beside_an_installed_package(tmp_path, packager, monkeypatch):
    package = package_in(tmp_path / "site-packages")
    checkout = tmp_path / "mine"
    folder = checkout / "dataset" / "mini"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    git(checkout, "init", "-q")
    git(checkout, "add", "-A")
    monkeypatch.setattr(shipping, "PACKAGE", package)
    monkeypatch.setattr(shipping, "shipment", lambda: shipment(package))
    for _ in range(2):
        register_package(folder)
    assert registered(packager) == {"nemo_skills_specdec": package, "nemo_skills_specdec_datasets": checkout}


def test_a_data_folder_in_a_project_does_not_take_the_project_along(tmp_path, packager, monkeypatch):
    git(tmp_path, "init", "-q")
    package = package_in(tmp_path.parent / f"{tmp_path.name}-site")
    folder = tmp_path / "data" / "mini"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr(shipping, "PACKAGE", package)
    monkeypatch.setattr(shipping, "shipment", lambda: shipment(package))
    register_package(folder)
    assert registered(packager) == {"nemo_skills_specdec": package}


def test_the_job_side_imports_nothing_beyond_what_is_declared():
    code = (
        "import sys, nemo_skills_specdec.evaluator.dataset_folders, nemo_skills_specdec.evaluator.generation\n"
        "import nemo_skills_specdec.evaluator.metrics, nemo_skills_specdec.evaluator.evaluator\n"
        "print(*sorted({m.split('.')[0] for m, v in sys.modules.items()\n"
        "  if 'site-packages' in (getattr(v, '__file__', None) or '')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    # numpy is in every image of NeMo-Skills; the others come with `requests`, `rich` and `typer`.
    with_them = {
        "_distutils_hack", "annotated_doc", "certifi", "charset_normalizer", "click", "idna", "markdown_it", "mdurl",
        "numpy", "pygments", "shellingham", "typing_extensions", "urllib3",
    }  # fmt: skip
    assert set(done.stdout.split()) <= set(REQUIREMENTS) | with_them


def test_a_job_that_cannot_complete_itself_says_what_to_add(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shipping, "JOB_FOLDER", tmp_path)
    monkeypatch.setattr(shipping, "PACKAGE", tmp_path / "nemo_skills_specdec")
    monkeypatch.setattr(shipping, "REQUIREMENTS", {"no_such_module_here": "no-such-requirement-here>=1"})
    monkeypatch.setattr(subprocess, "run", lambda words, **rest: SimpleNamespace(returncode=1))
    with pytest.raises(SystemExit) as stopped:
        shipping.complete_job()
    assert stopped.value.code == 2
    assert "--installation_command=\"pip install 'no-such-requirement-here>=1'\"" in capsys.readouterr().err


def test_nothing_is_installed_outside_a_job(monkeypatch):
    monkeypatch.setattr(shipping, "REQUIREMENTS", {"no_such_module_here": "no-such-requirement-here>=1"})
    monkeypatch.setattr(subprocess, "run", lambda *words, **rest: pytest.fail("nothing may be run here"))
    shipping.complete_job()
