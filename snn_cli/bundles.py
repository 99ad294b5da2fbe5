"""Options that several commands take, written once: a command gets all of a bundle as one argument."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def with_options(
    command: Callable[..., None], argument: str, bundle: Callable[..., None], make: Callable[..., Any] = dict
) -> Callable[..., None]:
    """Give a command the options of `bundle`, after its own, in place of its `argument`.

    The names, defaults and help of the options are those of `bundle`'s parameters. The command's `argument` is what
    `make` makes of the values.
    """
    shared = list(inspect.signature(bundle).parameters.values())

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> None:
        values = {each.name: options.pop(each.name, each.default) for each in shared}
        command(*args, **{argument: make(**values)}, **options)

    own = [each for each in inspect.signature(command).parameters.values() if each.name != argument]
    hints = get_type_hints(command, include_extras=True) | get_type_hints(bundle, include_extras=True)
    parameters = [each.replace(annotation=hints[each.name], kind=each.KEYWORD_ONLY) for each in (*own, *shared)]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    del wrapper.__wrapped__  # or Typer would read the command's own signature
    return wrapper
