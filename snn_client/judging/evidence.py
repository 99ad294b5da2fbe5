"""Whether one model is better than another on the same test set, or only looks so.

Both answered the same samples, so their answers are compared in pairs. Of the accuracy it is McNemar's exact test
(1947): among the samples that only one of the two got right, would chance give the challenger so many? Of every other
figure it is a paired bootstrap: in how many test sets drawn from this one is the challenger no better?
"""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np

from snn_client.judging.answers import Answers
from snn_client.judging.figures import Floats
from snn_client.judging.intervals import how_many, resamples
from snn_client.judging.weighed import Figure

LOWER_IS_BETTER = frozenset({"error", "log_loss", "brier", "mae", "rmse", "false_positive_rate"})
Z_POWER = 1.6448536269514722 + 0.8416212335729143
"""Standard deviations that a difference must have to be found in 4 of 5 test sets at a one-sided 0.05."""


class Evidence(TypedDict):
    """How likely chance alone gives what was seen, `p_value`, one-sided: small is evidence that it is better.

    `differ` are the samples that only one of the two got right (None where it is no matter of right and wrong).
    `needed` is about how many samples would show a difference of this size, in 4 of 5 test sets; None of none.
    """

    test: str
    p_value: float
    samples: int
    differ: int | None
    needed: int | None


def mcnemar(challenger: Floats, champion: Floats) -> Evidence:
    """Return the evidence of two models' right answers (1.0) and wrong ones (0.0), of the same samples in one order."""
    from scipy.stats import binom

    gained = int(np.count_nonzero((challenger > 0) & (champion == 0)))
    lost = int(np.count_nonzero((challenger == 0) & (champion > 0)))
    differ, samples = gained + lost, challenger.size
    # P(X >= gained) for X ~ Binomial(differ, 1/2).
    p_value = float(binom.sf(gained - 1, differ, 0.5)) if differ else 1.0
    better = (gained - lost) / samples
    spread = math.sqrt(max(differ / samples - better**2, 0.25 / samples))
    return Evidence(
        test="McNemar", p_value=p_value, samples=samples, differ=differ, needed=_needed(better, spread, samples)
    )


def paired_bootstrap(name: str, challenger: Figure, champion: Figure, samples: int) -> Evidence:
    """Return the evidence of two models' figures of one name."""
    sign = -1.0 if name in LOWER_IS_BETTER else 1.0
    found = np.concatenate([sign * (challenger(W) - champion(W)) for W in resamples(samples, how_many(samples))])
    better = found[np.isfinite(found)]
    p_value = (1 + np.count_nonzero(better <= 0)) / (1 + better.size)
    seen = float(sign * (challenger(np.ones((1, samples))) - champion(np.ones((1, samples))))[0])
    # One sample's part of the spread; a test set n times as large has 1/√n of its spread.
    spread = float(better.std()) * math.sqrt(samples) if better.size else 0.0
    return Evidence(
        test="paired bootstrap",
        p_value=float(p_value),
        samples=samples,
        differ=None,
        needed=_needed(seen, spread, samples),
    )


def compare(metric: str, challenger: Answers, champion: Answers) -> Evidence:
    """Return the evidence that the challenger is better by a figure; both have answered the same test set."""
    if metric in ("accuracy", "error"):
        return mcnemar(challenger.right, champion.right)
    return paired_bootstrap(metric, challenger.figures[metric], champion.figures[metric], len(challenger))


def _needed(better: float, spread: float, samples: int) -> int | None:
    if not math.isfinite(better) or better <= 0:
        return None
    return max(samples, math.ceil((Z_POWER * spread / better) ** 2))
