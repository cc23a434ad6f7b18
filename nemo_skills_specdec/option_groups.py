"""Options that several commands share, as one parameter of a command instead of a dozen."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
import typer

Command = TypeVar("Command", bound=Callable[..., None])


def one_of(choices: Any) -> dict[str, Any]:
    """What `typer.Option` needs for a list of choices from a `Literal`, which typer knows only outside of lists."""
    names = get_args(choices)

    def parse(value: str) -> str:
        if value not in names:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(names)}")
        return value

    return {"parser": parse, "metavar": f"[{'|'.join(names)}]"}


def spread(command: Command) -> Command:
    """Lets a command take groups of options.

    A parameter whose type is a struct is a group: typer sees an option for every field of it, with the field's
    annotation and default, and the command gets the group filled in.
    """
    flat: list[inspect.Parameter] = []
    groups: dict[str, type[msgspec.Struct]] = {}
    # Not by get_type_hints: before Python 3.11 it wraps the annotation of a parameter whose default is None.
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        hint = parameter.annotation
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            groups[name] = hint
            flat += _options(hint)
        else:
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def flattened(**given: Any) -> None:
        filled = {name: kind(**{f: given.pop(f) for f in kind.__struct_fields__}) for name, kind in groups.items()}
        command(**given, **filled)

    flattened.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return flattened  # type: ignore[return-value]


def _options(group: type[msgspec.Struct]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in msgspec.structs.fields(group)
    ]
