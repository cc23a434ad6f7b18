"""Groups of options that stand for many parameters of a command."""

from typing import Annotated

import msgspec
import typer
from typer.testing import CliRunner

from nemo_skills_specdec.option_groups import spread


class Size(msgspec.Struct, frozen=True, kw_only=True):
    width: Annotated[int, typer.Option(min=1, help="Of the table.")] = 80
    names: Annotated[list[str] | None, typer.Option("--name")] = None


class Shape(Size, frozen=True, kw_only=True):
    round_corners: Annotated[bool, typer.Option("--round")] = False


def printed(*arguments):
    app = typer.Typer()

    @app.command()
    @spread
    def draw(*, title: Annotated[str | None, typer.Argument()] = None, shape: Shape, times: int = 1) -> None:
        """Draws."""
        print(title, shape, times)

    return CliRunner().invoke(app, arguments)


def test_a_group_that_is_not_mentioned_has_its_defaults():
    assert printed().stdout == "None Shape(width=80, names=None, round_corners=False) 1\n"


def test_options_of_a_group_and_of_the_command_are_given_side_by_side():
    result = printed("x", "--width", "3", "--name", "a", "--name", "b", "--round", "--times", "2")
    assert result.stdout == "x Shape(width=3, names=['a', 'b'], round_corners=True) 2\n"


def test_an_option_of_a_group_keeps_its_limits_and_its_help():
    assert printed("--width", "0").exit_code == 2
    text = printed("--help").stdout
    assert "Of the table." in text
    assert "Draws." in text
