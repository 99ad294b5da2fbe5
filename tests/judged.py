"""A test set that was judged, as a report has it."""

from __future__ import annotations

from typing import Any


def two_classes(wrong: int = 2) -> dict[str, Any]:
    """What is said of 50 photos, of which some are told of as wrong, the last the surest."""
    return {
        "accuracy": 0.78,
        "error": 0.22,
        "sensitivity": 27 / 33,
        "specificity": 12 / 17,
        "false_positive_rate": 5 / 17,
        "precision": 27 / 32,
        "f1": 54 / 65,
        "confusion_matrix": {"tn": 12, "fp": 5, "fn": 6, "tp": 27},
        "mislabelled": [
            {
                "index": i,
                "label": i % 2,
                "predicted": 1 - i % 2,
                "probability": 0.5 + (0.5 - i % 2) * (i + 1) / (wrong + 1),
            }
            for i in range(wrong)
        ],
    }
