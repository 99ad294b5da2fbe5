"""The plots of the report, by matplotlib in the benchmark's own environment: plots.py RESULTS.json FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

OURS, OTHERS, GREY = "#0b7285", "#adb5bd", "#495057"
LABELS = {
    "ours_warm": "ours, warm",
    "ours_cold": "ours, cold",
    "numpy": "NumPy loop",
    "numpy_default_threads": "NumPy loop,\ndefault threads",
    "torch-float32": "PyTorch float32",
    "torch-float64": "PyTorch float64",
    "scikit-learn": "scikit-learn",
}


def side_by_side(section: dict[str, Any], file: Path) -> None:
    columns = sorted(section["columns"].items(), key=lambda item: -item[1]["seconds"])
    names = [LABELS[name] for name, _ in columns]
    seconds = [column["seconds"] for _, column in columns]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(names) + 1))
    bars = axes.barh(names, seconds, color=[OURS if name.startswith("ours") else OTHERS for name, _ in columns])
    axes.bar_label(bars, [f"{value:.1f} s" for value in seconds], padding=4, color=GREY)
    axes.set_title(f"{section['epochs']:,} full-batch epochs, seconds (ours: launch to COMPLETED)", loc="left", size=11)
    axes.set_xlim(0, max(seconds) * 1.12)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    _save(figure, file)


def growth(section: dict[str, Any], file: Path) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axes, name, title in zip(panels, ("samples", "neurons"), ("photos", "neurons"), strict=True):
        cases = section[name]
        factors = [case["factor"] for case in cases]
        for key, label, colour in (
            ("numpy_seconds_per_epoch", "NumPy loop", OTHERS),
            ("seconds_per_epoch", "ours, set-up included", OURS),
        ):
            axes.plot(factors, [case[key] * 1000 for case in cases], "o-", color=colour, label=label)
        axes.set(xscale="log", yscale="log")
        axes.set_xticks(factors, [f"×{factor}" for factor in factors])
        axes.minorticks_off()
        axes.set_title(f"more {title}: milliseconds an epoch", loc="left", size=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    panels[0].legend(frameon=False, loc="upper left")
    _save(figure, file)


def strategies(section: dict[str, Any], file: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.6))
    names = list(section["rows"])
    for place, name in enumerate(names):
        for key, colour, offset in (("train", OTHERS, -0.12), ("test", OURS, 0.12)):
            values = sorted(run[key] for run in section["rows"][name])
            spread = [0.05 * (i - (len(values) - 1) / 2) / max(1, len(values) / 2) for i in range(len(values))]
            axes.plot([place + offset + s for s in spread], values, "o", color=colour, markersize=4, alpha=0.8)
            mean = sum(values) / len(values)
            axes.plot([place + offset - 0.09, place + offset + 0.09], [mean, mean], color=GREY, linewidth=1.5)
    axes.plot([], [], "o", color=OTHERS, label="training photos")
    axes.plot([], [], "o", color=OURS, label="test photos")
    axes.set_xticks(range(len(names)), names)
    axes.set_title(f"accuracy of {section['seeds']} seeds each, and their mean", loc="left", size=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def main() -> None:
    results, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    kind = sys.argv[3] if len(sys.argv) > 3 else "svg"
    plt.rcParams["svg.hashsalt"] = "snn"  # the same results, the same bytes
    plots = {"full_batch": ("side-by-side", side_by_side), "growth": ("growth", growth)}
    plots["strategies"] = ("strategies", strategies)
    for key, (name, draw) in plots.items():
        if key in results and "error" not in results[key]:
            draw(results[key], folder / f"{name}.{kind}")
            print(f"{name}.{kind}")


if __name__ == "__main__":
    main()
