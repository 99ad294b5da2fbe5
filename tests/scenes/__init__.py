"""What the product does with AWS, piece by piece: a scene has answers of AWS, does the work, and looks at its result.

A scene is a function whose name begins with `scene_`; it returns the `Answers` that it was played with.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from answers import Answers

Scene = Callable[[], Answers]


def scenes() -> dict[str, Scene]:
    """Return all scenes by their names."""
    found: dict[str, Scene] = {}
    for module in pkgutil.iter_modules(__path__):
        for name, value in vars(importlib.import_module(f"{__name__}.{module.name}")).items():
            if name.startswith("scene_"):
                found[f"{module.name}: {name.removeprefix('scene_')}"] = value
    return found
