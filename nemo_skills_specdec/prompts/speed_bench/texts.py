"""The wording around fetched records, read out of an upstream file's syntax tree. The file is never executed.

SPEED-Bench's prompts wrap records in fixed texts that belong to the upstream projects and are not part of this one.
They are taken from a copy of an upstream file, and each is compared with the sha256 of what upstream used.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.speed_bench.schema import Flavor
from nemo_skills_specdec.prompts.speed_bench.text_hashes import DISCRIMINATING, KNOWN

Hole = tuple[Literal["hole"], str]
Pattern = tuple[str | Hole, ...]
"""Literals and holes in order; a hole is named by the expression that filled it upstream."""


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """Every fixed text that a rule needs; the names are those of the hash table."""

    placeholder: str
    pad: str
    ss_head: str
    ss_after_head: str
    ss_before_answers: str
    ss_tail: str
    ts_old: str
    ts_new: str
    wr_head: str
    wr_tail: str
    wr_item: Pattern
    rag: str
    coser: str
    coser_none: str
    mmlu: str
    mmlu_item: Pattern
    mmlu_option: Pattern
    hle_head: str
    hle_tail: str
    hle_q: str
    hle_a: str
    hle_end: str


def read_texts(code: str, name: str) -> Texts:
    """Takes the texts out of upstream source code.

    Args:
        name: what messages call it.

    Raises:
        DataError: this is no Python, or a text is not where it is expected.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{name} is not a Python file that can be read ({error}); give an upstream file") from error
    found: dict[str, object] = {}
    for text, place in _PLACES.items():
        try:
            found[text] = place(tree)
        except (KeyError, IndexError, StopIteration, TypeError, AttributeError) as error:
            raise DataError(
                f"{name} does not hold the text {text!r} where upstream files hold it; give a known upstream version"
            ) from error
    return msgspec.convert(found, Texts)


def text_hash(value: str | Pattern) -> str:
    """The sha256 by which a text is known."""
    data = value if isinstance(value, str) else json.dumps([p if isinstance(p, str) else list(p) for p in value])
    return hashlib.sha256(data.encode()).hexdigest()


def hashes_of(texts: Texts) -> dict[str, str]:
    """The sha256 of every text, by name."""
    return {name: text_hash(getattr(texts, name)) for name in texts.__struct_fields__}


def unknown_texts(texts: Texts) -> list[str]:
    """Names of the texts that neither flavor has."""
    return [name for name, digest in hashes_of(texts).items() if digest not in KNOWN[name].values()]


def flavor_of(texts: Texts) -> Flavor | None:
    """The flavor whose texts these all are; None if they are a mixture or unknown."""
    digests = hashes_of(texts)
    for flavor in _FLAVORS:
        if all(KNOWN[name][flavor] == digest for name, digest in digests.items()):
            return flavor
    return None


def as_flavor(texts: Texts, flavor: Flavor) -> Texts | None:
    """These known texts in the wording of a flavor; None if they do not give it.

    The texts of `nemo-skills` follow from those of `specdec_bench`: without blanks at line ends and, in one, without
    indentation. The result is checked against the known hashes, so that nothing rests on this being so.
    """
    if flavor_of(texts) == flavor:
        return texts
    if flavor != "nemo-skills":
        return None
    lines = {name: [line.rstrip(" ") for line in getattr(texts, name).split("\n")] for name in DISCRIMINATING}
    lines["ts_new"] = [line.removeprefix("    ") for line in lines["ts_new"]]
    derived = msgspec.structs.replace(texts, **{name: "\n".join(found) for name, found in lines.items()})
    return derived if flavor_of(derived) == flavor else None


def rendered(pattern: Pattern, values: Mapping[str, str]) -> str:
    """The pattern with its holes filled."""
    return "".join(piece if isinstance(piece, str) else values[piece[1]] for piece in pattern)


_FLAVORS: tuple[Flavor, ...] = ("nemo-skills", "specdec_bench")


def _pieces(node: ast.AST) -> list[str | Hole]:
    """A string expression as literals and holes."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return [piece for value in values for piece in _pieces(value)]
        case ast.FormattedValue(value=value):
            return [("hole", ast.unparse(value))]
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _pieces(left) + _pieces(right)
        case _:
            return [("hole", ast.unparse(node))]


def _literals(node: ast.AST) -> list[str]:
    return [piece for piece in _pieces(node) if isinstance(piece, str)]


def _function(tree: ast.AST, name: str) -> ast.AST:
    return next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)


def _assigned(scope: ast.AST, target: str) -> Iterator[ast.expr]:
    """Values assigned or added to a name, in the order of the lines."""
    for node in _in_order(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == target:
                yield value
            case ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=value) if name == target:
                yield value


def _in_order(scope: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(scope):
        yield child
        yield from _in_order(child)


def _first(scope: ast.AST, kind: type[ast.AST]) -> Any:
    return next(node for node in (scope, *_in_order(scope)) if isinstance(node, kind))


def _only(node: ast.AST) -> str:
    (text,) = _literals(node)
    return text


def _in(function: str, place: Callable[[ast.AST], Any]) -> Callable[[ast.AST], Any]:
    """What `place` finds in the function of that name."""
    return lambda tree: place(_function(tree, function))


def _first_value(target: str) -> Callable[[ast.AST], Any]:
    return lambda scope: next(_assigned(scope, target))


def _text(function: str, target: str) -> Callable[[ast.AST], Any]:
    """The one literal in the first value of a name."""
    return _in(function, lambda scope: _only(_first_value(target)(scope)))


def _added_alone(scope: ast.AST) -> list[Any]:
    """Literals that are added to `prompt` as they stand."""
    added = (node for node in _in_order(scope) if isinstance(node, ast.AugAssign))
    pieces = [_pieces(node.value) for node in added if ast.unparse(node.target) == "prompt"]
    return [found[0] for found in pieces if len(found) == 1 and isinstance(found[0], str)]


def _demonstration(scope: ast.AST) -> list[str]:
    """The literals of the first lambda that adds texts."""
    bodies = (node.body for node in _in_order(scope) if isinstance(node, ast.Lambda))
    return _literals(next(body for body in bodies if isinstance(body, ast.BinOp)))


def _joined(target: str) -> Callable[[ast.AST], Any]:
    """The first f-string in the first value of a name."""
    return lambda scope: _pieces(_first(_first_value(target)(scope), ast.JoinedStr))


_SELECT, _SORT, _WRITE = "_generate_stackselect_prompt", "_generate_textsort_prompt", "_generate_writing_prompt"
_COSER, _MMLU, _HLE = "_generate_coser_prompt", "get_question_and_options", "_generate_hle_prompt"
_FETCH = "_fetch_all_turns_data"

_PLACES: dict[str, Callable[[ast.AST], Any]] = {
    "placeholder": lambda tree: _only(next(_assigned(tree, "TURNS_PLACEHOLDER"))),
    "pad": _in("_pad_or_truncate_prompt", lambda scope: _only(_first(scope, ast.arguments).defaults[-1])),
    "ss_head": _text(_SELECT, "prompt"),
    "ss_after_head": _in(_SELECT, lambda scope: _added_alone(scope)[0]),
    "ss_before_answers": _in(_SELECT, lambda scope: _added_alone(scope)[1]),
    "ss_tail": _in(_SELECT, lambda s: "".join(t for value in _assigned(s, "end_prompt") for t in _literals(value))),
    "ts_old": _text(_SORT, "original_instruction"),
    "ts_new": _text(_SORT, "new_instruction"),
    "wr_head": _in(_WRITE, lambda scope: _pieces(_first_value("prompt")(scope))[0]),
    "wr_tail": _in(_WRITE, lambda scope: _pieces(_first_value("prompt")(scope))[2]),
    "wr_item": _in(_WRITE, _joined("content")),
    "rag": _text("_generate_chatrag_bench_prompt", "prompt"),
    "coser": _text(_COSER, "prompt"),
    "coser_none": _in(_COSER, lambda scope: _only(_first(_first_value("motivation")(scope), ast.Call).args[1])),
    "mmlu": _text("_generate_mmlu_pro_prompt", "prompt"),
    "mmlu_item": _in(_MMLU, lambda scope: _pieces(_first(scope, ast.Return).value)),
    "mmlu_option": _in(_MMLU, _joined("options_str")),
    "hle_head": _in(_HLE, lambda scope: _literals(_first_value("prompt")(scope))[0]),
    "hle_tail": _in(_HLE, lambda scope: _literals(_first_value("prompt")(scope))[1]),
    "hle_q": _in(_FETCH, lambda scope: _demonstration(scope)[0]),
    "hle_a": _in(_FETCH, lambda scope: _demonstration(scope)[1]),
    "hle_end": _in(_FETCH, lambda scope: _demonstration(scope)[2]),
}
