"""Environments that a change is tried in: `nox` runs all but the mutants, `nox -s tests-3.12` one of them."""

import nox

nox.options.default_venv_backend = "uv"
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite on one Python; arguments after `--` go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The suite with the oldest release of every dependency that pyproject.toml allows."""
    floors = f"{session.create_tmp()}/floors.txt"
    session.run(
        *("uv", "pip", "compile", "-q", "pyproject.toml", "--extra", "experiments", "--extra", "throughput"),
        *("--resolution", "lowest-direct", "--python-version", PYTHONS[0], "-o", floors),
        external=True,
    )
    session.install("-e", ".[test,experiments,throughput]", "--constraint", floors)
    # The linters are today's in every environment; the stubs they read are not.
    session.run("pytest", "--ignore", "tests/test_project.py", *session.posargs)


@nox.session(python=PYTHONS[1])
def trackers(session: nox.Session) -> None:
    """Publishing with the real packages, offline."""
    session.install("-e", ".[test,wandb,mlflow]")
    session.run("pytest", "tests/publish", *session.posargs)


@nox.session(python=PYTHONS[1])
def docs(session: nox.Session) -> None:
    """The site as it will be published, in site/."""
    session.install("-e", ".[test]")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(python=PYTHONS[1], default=False)
def mutation(session: nox.Session) -> None:
    """Mutants of the arithmetic (see `tool.mutmut` in pyproject.toml); `mutmut results` lists those that survive."""
    session.install("-e", ".[test]", "mutmut>=3.8")
    session.run("mutmut", "run", *session.posargs)
