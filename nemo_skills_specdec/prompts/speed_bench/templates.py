"""Filling templates that come from data: names and keys only, so that a template can reach nothing else."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from nemo_skills_specdec.errors import DataError


class _Keys(string.Formatter):
    """`str.format` without attribute access."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if "." in field_name or "__" in field_name:
            raise DataError(f"a template asks for {{{field_name}}}; only names and [keys] may be filled in")
        return super().get_field(field_name, args, kwargs)


def filled(template: str, /, **values: object) -> str:
    """The template with its fields filled in, as `str.format` does it.

    Raises:
        DataError: the template is broken, or asks for something else than the values given.
    """
    try:
        return _Keys().vformat(template, (), values)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        known = ", ".join(values)
        raise DataError(f"a template cannot be filled with {known}: {type(error).__name__} {error}") from error
