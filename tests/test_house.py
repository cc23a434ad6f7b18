"""Sizes and names of the house: one class name, one meaning; functions that fit on a screen."""

import ast
from collections import defaultdict
from pathlib import Path

import nemo_skills_specdec

PACKAGE = Path(nemo_skills_specdec.__file__).parent
MOST_LINES_OF_A_FUNCTION = 80
MOST_PARAMETERS = 8
MOST_LINES_OF_A_FILE = 400

# What still breaks a rule. Nothing may be added; whoever mends one takes it out.
SHARED_CLASS_NAMES = {
    "Answer",
    "Benchmark",
    "Dialect",
    "Difference",
    "Engine",
    "Job",
    "Manifest",
    "Method",
    "Progress",
    "Sent",
    "Statistics",
    "Texts",
    "Timings",
    "Window",
}
LONG_FUNCTIONS = {
    "client/send.py:send",
    "embedded/llama.py:forward",
    "evaluator/generation.py:task_class",
    "measurement/measure.py:evaluate",
}
MANY_PARAMETERS = {"processes.py:running_server", "prompts/hub/http.py:__init__"}
LONG_FILES: set[str] = set()


def nodes(kind):
    """All nodes of a kind in the package, each with its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield path.relative_to(PACKAGE).as_posix(), node


def test_every_class_has_a_name_of_its_own():
    homes = defaultdict(list)
    for file, node in nodes(ast.ClassDef):
        homes[node.name.lstrip("_")].append(f"{file}:{node.name}")
    shared = {name: where for name, where in homes.items() if len(where) > 1}
    assert shared.keys() - SHARED_CLASS_NAMES == set(), shared


def functions():
    """All functions, each with its file and name, its lines and its number of parameters.

    A command's signature is its options: neither its lines nor its parameters count.
    """
    for file, node in nodes((ast.FunctionDef, ast.AsyncFunctionDef)):
        is_command = file.startswith("cli/") and not node.name.startswith("_")
        first = node.body[0].lineno if is_command else node.lineno
        parameters = [] if is_command else [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        yield f"{file}:{node.name}", (node.end_lineno or 0) - first + 1, len(parameters)


def test_no_function_is_longer_than_a_screen():
    long = {name for name, lines, _ in functions() if lines > MOST_LINES_OF_A_FUNCTION}
    assert long - LONG_FUNCTIONS == set()


def test_no_function_has_more_parameters_than_one_can_keep_in_mind():
    many = {name for name, _, parameters in functions() if parameters > MOST_PARAMETERS}
    assert many - MANY_PARAMETERS == set()


def test_no_file_is_longer_than_one_noun_needs():
    long = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES_OF_A_FILE
    }
    assert long - LONG_FILES == set()
