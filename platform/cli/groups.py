"""A group of verbs, and how a verb is mounted in it: their help is plain text, so that nothing is loaded to draw it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import typer

V = TypeVar("V", bound=Callable[..., Any])


def group(help: str, **settings: Any) -> typer.Typer:
    """A group. Args: help: what it is for; settings: further ones of `typer.Typer`."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None, **settings)


def verb(mounted: typer.Typer, name: str | None = None) -> Callable[[V], V]:
    """Mount a function in ``mounted`` as ``name``, by default its own. The group's help lists it with the first
    paragraph of its docstring, whole: typer would cut it to what fits on a line."""

    def mount(function: V) -> V:
        summary, _, _ = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
        return mounted.command(name, short_help=" ".join(summary.split()))(function)

    return mount
