"""Twenty-three test sets with a model's answers, of all kinds, degenerate ones included."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class JudgedSet(NamedTuple):
    truth: Any
    said: Any  # (1, m) or (K, m)
    classes: int  # 0: numbers
    threshold: float = 0.5

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"class {k}" for k in range(self.classes))


def _two(seed: int, samples: int, share: float = 0.5, skill: float = 1.5, decimals: int = 12) -> JudgedSet:
    random = np.random.default_rng(seed)
    y = (random.random(samples) < share).astype(int)
    y[:2] = 0, 1
    z = skill * (y - 0.5) * 2 + random.standard_normal(samples)
    return JudgedSet(y, np.round(1 / (1 + np.exp(-z)), decimals)[None], 2)


def _many(seed: int, samples: int, classes: int, skill: float = 2.0, dtype: Any = np.float64) -> JudgedSet:
    random = np.random.default_rng(seed)
    y = random.integers(classes, size=samples)
    Z = random.standard_normal((classes, samples))
    Z[y, np.arange(samples)] += skill
    E = np.exp(Z - Z.max(axis=0)).astype(dtype)
    return JudgedSet(y, E / E.sum(axis=0), classes)


def _numbers(seed: int, samples: int, noise: float = 0.5, offset: float = 0.0) -> JudgedSet:
    random = np.random.default_rng(seed)
    y = random.standard_normal(samples) + offset
    return JudgedSet(y, (y + noise * random.standard_normal(samples))[None], 0)


def _only(label: int) -> JudgedSet:
    made = _two(5, 40)
    return JudgedSet(np.full(40, label), made.said, 2)


def _without(classes: int, missing: int) -> JudgedSet:
    made = _many(7, 120, classes)
    return JudgedSet(np.where(made.truth == missing, (missing + 1) % classes, made.truth), made.said, classes)


def _never_called(classes: int, never: int) -> JudgedSet:
    made = _many(8, 120, classes)
    said = made.said.copy()
    said[never] *= 1e-9
    return JudgedSet(made.truth, said / said.sum(axis=0), classes)


SETS: dict[str, JudgedSet] = {
    "two, even": _two(1, 300),
    "two, one in fifty": _two(2, 1_000, share=0.02),
    "two, no skill": _two(3, 200, skill=0.0),
    "two, ties": _two(4, 400, decimals=1),
    "two, other threshold": _two(6, 300)._replace(threshold=0.2),
    "two, perfect": JudgedSet(np.array([0, 0, 1, 1]), np.array([[0.1, 0.2, 0.8, 0.9]]), 2),
    "two, all wrong": JudgedSet(np.array([0, 0, 1, 1]), np.array([[0.8, 0.9, 0.1, 0.2]]), 2),
    "two, certain and wrong": JudgedSet(np.array([0, 1, 1, 0]), np.array([[1.0, 0.0, 1.0, 0.0]]), 2),
    "two, all the same score": JudgedSet(np.array([0, 1, 1, 0, 1]), np.full((1, 5), 0.7), 2),
    "two, class 1 missing": _only(0),
    "two, class 0 missing": _only(1),
    "two, one sample": JudgedSet(np.array([1]), np.array([[0.4]]), 2),
    "three classes": _many(10, 200, 3),
    "ten classes, float32": _many(11, 500, 10, dtype=np.float32),
    "a hundred classes": _many(12, 800, 100),
    "a class is missing": _without(5, 2),
    "a class is never called": _never_called(6, 1),
    "all classes as probable": JudgedSet(np.arange(12) % 4, np.full((4, 12), 0.25), 4),
    "numbers": _numbers(20, 300),
    "numbers, perfect": _numbers(21, 50, noise=0.0),
    "numbers, far from 0": _numbers(22, 100, offset=1e6),
    "numbers, all the same": JudgedSet(np.full(20, 3.0), np.linspace(2, 4, 20)[None], 0),
    "numbers, one sample": JudgedSet(np.array([1.0]), np.array([[1.5]]), 0),
}
