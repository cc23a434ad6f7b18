"""Sizes and names of the house: one class name, one meaning; functions that fit on a screen."""

import ast
from collections import defaultdict
from pathlib import Path

import nemo_skills_specdec

PACKAGE = Path(nemo_skills_specdec.__file__).parent
MOST_LINES_OF_A_FUNCTION = 80
MOST_PARAMETERS = 8
MOST_LINES_OF_A_FILE = 400


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
    assert shared == {}


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
    assert long == set()


def test_no_function_has_more_parameters_than_one_can_keep_in_mind():
    many = {name for name, _, parameters in functions() if parameters > MOST_PARAMETERS}
    assert many == set()


def test_no_file_is_longer_than_one_noun_needs():
    long = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES_OF_A_FILE
    }
    assert long == set()


def ends(message):
    """How a message can begin and end, as far as its text is fixed; None where it is computed."""
    if isinstance(message, ast.Constant):
        return [(message.value, message.value)]
    if isinstance(message, ast.JoinedStr):
        texts = [part.value if isinstance(part, ast.Constant) else None for part in message.values]
        return [(texts[0], texts[-1])]
    if isinstance(message, ast.BinOp):
        return [(first, last) for first, _ in ends(message.left) for _, last in ends(message.right)]
    if isinstance(message, ast.IfExp):
        return ends(message.body) + ends(message.orelse)
    return [(None, None)]


def test_every_finding_is_a_sentence():
    wrong = []
    for file, node in nodes(ast.Call):
        if getattr(node.func, "id", None) != "Finding":
            continue
        message = next((word.value for word in node.keywords if word.arg == "message"), None)
        for first, last in ends(message):
            begins = first is None or first[:1].isupper() or first.startswith("vLLM")
            if not begins or not (last is None or last.endswith(".")):
                wrong.append(f"{file}:{node.lineno}")
    assert wrong == []


def test_commands_print_only_through_what_keeps_a_terminal_from_harm():
    """A category or a version is a text of unknown origin; see `cli/_screen.py` and `cli/_streams.py`."""
    wrong = []
    for file, node in nodes(ast.Call):
        if not file.startswith("cli/") or file in ("cli/_screen.py", "cli/_streams.py"):
            continue
        called = ast.unparse(node.func)
        if called in ("print", "Console", "sys.stdout.write", "sys.stderr.write", "typer.echo"):
            wrong.append(f"{file}:{node.lineno} {called}")
    assert wrong == []
