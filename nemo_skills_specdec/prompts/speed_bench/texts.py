"""The wording around fetched records, read out of an upstream file's syntax tree. The file is never executed.

SPEED-Bench's prompts wrap records in fixed texts that belong to the upstream projects and are not part of this one.
They are taken from a copy of an upstream file, and each is compared with the sha256 of what upstream used.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
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
        code: the content of a Python file.
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


def _assigned_in(function: str, target: str) -> Any:
    return lambda tree: _only(next(_assigned(_function(tree, function), target)))


def _added_literal(index: int) -> Any:
    """A text added to the stackselect prompt as it stands, counted from 0."""

    def place(tree: ast.AST) -> str:
        scope = _function(tree, "_generate_stackselect_prompt")
        added = [node.value for node in _in_order(scope) if isinstance(node, ast.AugAssign) and _adds_to_prompt(node)]
        return [pieces[0] for pieces in map(_pieces, added) if len(pieces) == 1 and isinstance(pieces[0], str)][index]

    return place


def _adds_to_prompt(node: ast.AugAssign) -> bool:
    return isinstance(node.target, ast.Name) and node.target.id == "prompt"


def _tail(tree: ast.AST) -> str:
    added = _assigned(_function(tree, "_generate_stackselect_prompt"), "end_prompt")
    return "".join(text for value in added for text in _literals(value))


def _writing(index: int) -> Any:
    return lambda tree: _pieces(next(_assigned(_function(tree, "_generate_writing_prompt"), "prompt")))[index]


def _writing_item(tree: ast.AST) -> list[str | Hole]:
    value = next(_assigned(_function(tree, "_generate_writing_prompt"), "content"))
    return _pieces(_first(value, ast.JoinedStr))


def _no_motivation(tree: ast.AST) -> str:
    value = next(_assigned(_function(tree, "_generate_coser_prompt"), "motivation"))
    return _only(_first(value, ast.Call).args[1])


def _mmlu_option(tree: ast.AST) -> list[str | Hole]:
    value = next(_assigned(_function(tree, "get_question_and_options"), "options_str"))
    return _pieces(_first(value, ast.JoinedStr))


def _mmlu_item(tree: ast.AST) -> list[str | Hole]:
    return _pieces(_first(_function(tree, "get_question_and_options"), ast.Return).value)


def _hle_prompt(index: int) -> Any:
    return lambda tree: _literals(next(_assigned(_function(tree, "_generate_hle_prompt"), "prompt")))[index]


def _hle_demonstration(index: int) -> Any:
    def place(tree: ast.AST) -> str:
        scope = _function(tree, "_fetch_all_turns_data")
        bodies = (node.body for node in _in_order(scope) if isinstance(node, ast.Lambda))
        return _literals(next(body for body in bodies if isinstance(body, ast.BinOp)))[index]

    return place


def _placeholder(tree: ast.AST) -> str:
    return _only(next(_assigned(tree, "TURNS_PLACEHOLDER")))


def _padding(tree: ast.AST) -> str:
    arguments = _function(tree, "_pad_or_truncate_prompt")
    return _only(_first(arguments, ast.arguments).defaults[-1])


_PLACES: dict[str, Any] = {
    "placeholder": _placeholder,
    "pad": _padding,
    "ss_head": lambda tree: _only(next(_assigned(_function(tree, "_generate_stackselect_prompt"), "prompt"))),
    "ss_after_head": _added_literal(0),
    "ss_before_answers": _added_literal(1),
    "ss_tail": _tail,
    "ts_old": _assigned_in("_generate_textsort_prompt", "original_instruction"),
    "ts_new": _assigned_in("_generate_textsort_prompt", "new_instruction"),
    "wr_head": _writing(0),
    "wr_tail": _writing(2),
    "wr_item": _writing_item,
    "rag": _assigned_in("_generate_chatrag_bench_prompt", "prompt"),
    "coser": _assigned_in("_generate_coser_prompt", "prompt"),
    "coser_none": _no_motivation,
    "mmlu": _assigned_in("_generate_mmlu_pro_prompt", "prompt"),
    "mmlu_item": _mmlu_item,
    "mmlu_option": _mmlu_option,
    "hle_head": _hle_prompt(0),
    "hle_tail": _hle_prompt(1),
    "hle_q": _hle_demonstration(0),
    "hle_a": _hle_demonstration(1),
    "hle_end": _hle_demonstration(2),
}
