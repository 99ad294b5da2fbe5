"""The benchmark compares like with like, and its report says what was measured. No timing is asserted anywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest

from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_data.dataset import load_dataset, save_dataset

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # the benchmarks are no part of what is installed

from benchmarks import competitors, growth, problem, reference, report, session  # noqa: E402
from benchmarks.serverless import Outcome  # noqa: E402

STRATEGIES = {"full-batch": None, "best-batch": 7, "average": 7, "sgd": 7}


@pytest.fixture
def photos(tmp_path):
    pixels, labels = oracle.photos_and_labels()
    save_dataset(tmp_path / "photos.h5", pixels, labels, pixels[:4], labels[:4], ("dim", "bright"))
    return tmp_path / "photos.h5"


@pytest.fixture(params=STRATEGIES)
def chosen(request):
    sizes, functions = (6, 4, 1), ("relu", "relu", "sigmoid")
    fields = {"epochs": 100, "strategy": request.param, "batch_size": STRATEGIES[request.param]}
    return Parameters.load(
        oracle.small_network(sizes, functions, **{name: value for name, value in fields.items() if value})
    )


def oracle_training(chosen, file):
    return oracle.train_on(chosen, load_dataset(file))


def test_the_numpy_loop_is_the_training_that_the_oracle_does(photos, chosen, tmp_path):
    params, costs = oracle_training(chosen, photos)
    job = reference.Job.load(problem.save_job(tmp_path / "job.npz", photos, chosen))
    timed = reference.train(job, chosen.epochs)
    assert timed.costs == pytest.approx(costs, abs=1e-12)
    assert costs[-1] < costs[0] - 0.01
    for number, (W, b) in enumerate(zip(job.W, job.b), start=1):
        assert np.abs(W - params[f"W{number}"]).max() < 1e-12
        assert np.abs(b - params[f"b{number}"]).max() < 1e-12
    assert len(timed.clock) == chosen.epochs
    assert np.all(np.diff(timed.clock) > 0)


def test_the_thrifty_loop_takes_the_same_steps_as_best_batch(photos, tmp_path):
    chosen = problem.parameters((6, 4, 1), epochs=40, batch_size=7)
    file = problem.save_job(tmp_path / "job.npz", photos, chosen)
    plain, thrifty = reference.Job.load(file), reference.Job.load(file)
    thrifty.strategy = "thrifty"
    assert reference.train(plain, 40).costs == reference.train(thrifty, 40).costs
    assert all(np.array_equal(one, other) for one, other in zip(plain.W, thrifty.W))


def test_the_numpy_loop_stops_at_the_threshold_and_at_the_time_limit(photos, tmp_path):
    costs = oracle_training(problem.parameters((6, 4, 1), epochs=40), photos)[1]
    wanted = next(epoch for epoch, cost in enumerate(costs) if cost <= costs[20])
    until = problem.parameters((6, 4, 1), epochs=40, threshold=costs[20] + 1e-12)
    file = problem.save_job(tmp_path / "job.npz", photos, until)
    assert len(reference.train(reference.Job.load(file), 40).costs) == wanted + 1
    assert len(reference.train(reference.Job.load(file), 40, seconds=0.0).costs) == 3


def test_the_numpy_loop_and_scikit_learn_as_processes_train_the_same(photos, tmp_path):
    chosen = problem.parameters((6, 4, 1), epochs=25)
    file, costs = problem.save_job(tmp_path / "job.npz", photos, chosen), oracle_training(chosen, photos)[1]
    loop = competitors.numpy_loop(file, 25)
    assert loop["costs"] == pytest.approx(costs, abs=1e-12)
    assert loop["epochs"] == 25
    command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), str(file), "25", "scikit-learn"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peer = json.loads(done.stdout)
    assert peer["costs"] == pytest.approx(costs, abs=1e-9)
    assert peer["epochs"] == 25


def test_a_competitor_that_fails_says_why(tmp_path):
    with pytest.raises(competitors.CompetitorFailed, match=r"No such file.*nothing\.npz"):
        competitors.numpy_loop(tmp_path / "nothing.npz", 1)


def test_what_is_not_the_same_computation_is_not_compared():
    assert session.agree("ours", [0.5, 0.4, 0.3], [0.5, 0.4 + 1e-9, 0.3]) == pytest.approx(1e-9)
    with pytest.raises(session.Disagreement, match=r"ours: a cost within the first 300 epochs differs by 1\.00e-05"):
        session.agree("ours", [0.5, 0.4], [0.5, 0.40001])
    with pytest.raises(session.Disagreement, match="differs by nan"):
        session.agree("ours", [0.5, float("nan")], [0.5, 0.4])
    with pytest.raises(session.Disagreement, match="no costs"):
        session.agree("ours", [], [0.5])


def test_grown_photos_are_real_ones_moved_or_mirrored_and_all_different(photos, tmp_path):
    small, large = load_dataset(photos), load_dataset(problem.grown(photos, 5, tmp_path))
    assert large.train.y.shape == (5 * 24,)
    assert np.array_equal(large.train.stored[:24], small.train.stored)
    assert np.array_equal(large.train.stored[24:48], small.train.stored[:, :, ::-1])
    assert np.array_equal(large.train.stored[48:72], np.roll(small.train.stored, 1, axis=2))
    assert np.array_equal(large.train.y, np.tile(small.train.y, 5))
    assert len({photo.tobytes() for photo in large.train.stored}) == 5 * 24
    assert np.array_equal(large.test.stored, small.test.stored)


def test_what_a_cut_run_would_have_taken_follows_from_its_epochs():
    # Set-up until 4 s; then 10 epochs a second, with one slow look that the median passes over.
    seen = [(0.0, 0), (4.0, 5), (5.0, 15), (6.0, 25), (9.0, 35), (10.0, 45)]
    total, lap = growth.estimate(Outcome(Run("cut", State.CANCELLED), 11.0, seen), epochs=145)
    assert lap == pytest.approx(0.1)
    assert total == pytest.approx(10.0 + 100 * 0.1)
    total, lap = growth.estimate(Outcome(Run("cut", State.CANCELLED), 11.0, [(0.0, 0), (5.0, 10)]), epochs=100)
    assert (total, lap) == (pytest.approx(50.0), pytest.approx(0.5))


@pytest.mark.parametrize(("peak", "fits"), [(10.0, 128), (106.0, 128), (107.0, 192), (1600.0, 1920)])
def test_the_memory_that_fits_has_a_fifth_to_spare(peak, fits):
    assert growth.fitting(peak) == fits


def column(seconds, **about):
    return {"seconds": seconds, "all": [seconds, seconds + 0.25], "difference": 2e-9, **about}


def line(what, usd):
    return {"what": what, "quantity": 3.5, "unit": "GB-s", "price": 0.0000166667, "usd": usd}


def case(factor, **about):
    return {
        "factor": factor,
        "samples": 209 * factor,
        "features": 12288,
        "neurons": [20, 7, 5, 1],
        "path": "span",
        "seconds": 3.0,
        "extrapolated_from_epochs": None,
        "seconds_per_epoch": 0.001,
        "seconds_per_epoch_once_running": None,
        "numpy_seconds_per_epoch": 0.0099,
        "numpy_epochs": 300,
        "ratio_to_numpy": 0.101,
        "difference": 1e-12,
        "peak_mb": 130.0,
        "fits_mb": 192,
        **about,
    }


@pytest.fixture
def results():
    """Everything a full run writes, in made-up numbers."""
    pair = {"ours": column(1.5, path="span"), "numpy": column(30.0)}
    against = {"epochs": 3000, "batch_size": 64, "columns": pair}
    granularity = {"epochs": 20, "all": [1.0, 1.1], "difference": 1e-16}
    return {
        "quick": False,
        "parts": {
            "full_batch": {"measured": "2026-11-22 12:00 UTC", "repetitions": 3, "load_before": 0.1, "minutes": 2.4},
        },
        "machine": {
            "cpu": "Made-up CPU",
            "cores": 2,
            "memory_gib": 24.0,
            "system": "Linux x86_64",
            "python": "3.11.7",
            "numpy": "2.4.6",
            "blas": "openblas 0.3",
        },
        "versions": {"PyTorch": "2.13.0", "scikit-learn": "1.9.1"},
        "data": {"name": "itsacat", "samples": 209, "features": 12288},
        "full_batch": {
            "epochs": 3000,
            "ratio_to_numpy": 0.0321,
            "ratio_to_numpy_cold": 0.0876,
            "ratio_to_fastest_peer": 0.0456,
            "fastest_peer": "torch-float32",
            "fastest_peer_unscaled": {"seconds": 20.7, "scaled_seconds": 20.1},
            "columns": {
                "ours_warm": column(0.9, path="span"),
                "ours_cold": column(2.6),
                "numpy": column(28.0),
                "numpy_default_threads": column(20.0, scaled_from_epochs=600),
                "torch-float32": column(20.1, scaled_from_epochs=600, version="2.13.0"),
                "torch-float64": column(38.0, scaled_from_epochs=600, version="2.13.0"),
            },
            "missing": {"scikit-learn": "no matching | distribution"},
        },
        "best_batch": {
            **against,
            "ratio_to_numpy": 0.0501,
            "threshold": 0.0019,
            "stopped_after": {"ours": 1363, "numpy": 1364},
            "thrifty_seconds_per_epoch": 0.009,
        },
        "average": {**against, "ratio_to_numpy": 0.0502, "stopped_after": {"ours": 3000, "numpy": 3000}},
        "neuron": {**granularity, "seconds_per_epoch": 1.61, "invocations_per_epoch": 264.0},
        "layer": {**granularity, "seconds_per_epoch": 0.234, "invocations_per_epoch": 32.0},
        "batch": {**granularity, "seconds_per_epoch": 0.012, "invocations_per_epoch": 0.0},
        "workers": {
            "speedup": 1.71,
            "machine": [1.9, 1.8, 1.95],
            "ratio_to_machine": 0.9,
            "epochs": 100,
            "problem": "2,090 photos",
            "path": "span",
            "one": column(10.0),
            "two": column(5.8),
            "identical": True,
            "difference": 0.0,
        },
        "growth": {
            "epochs": 3000,
            "samples": [case(1), case(30, extrapolated_from_epochs=77, seconds_per_epoch_once_running=0.08)],
            "neurons": [case(1), case(100, neurons=[2000, 700, 500, 1], path="direct")],
        },
        "memory": {
            "trainer_setting_mb": 1769,
            "peak_mb": 130.2,
            "fits_mb": 192,
            "grown_factor": 30,
            "grown_peak_mb": 1234.0,
            "grown_fits_mb": 1536,
        },
        "features": {
            "photos": 256,
            "size": [480, 360],
            "loop": column(20.0),
            "one": column(19.0),
            "two": column(33.0),
            "one_ratio_to_loop": 0.95,
            "two_ratio_to_one": 1.737,
            "difference": 2e-9,
            "again_seconds": 0.31,
            "again_computed": 0,
            "cold": column(1.9),
            "warm": column(0.08),
        },
        "keeping": {
            "ratio": 1.0312,
            "rows": [
                {
                    "job": "itsacat's",
                    "epochs": 2119,
                    "pairs": 25,
                    "ratio": 1.0312,
                    "processor_ratio": 1.021,
                    "all": [0.99, 1.0312, 1.1],
                    "with": 1.36,
                    "without": 1.32,
                    "kept": 64,
                    "files": 2,
                    "bytes": 2_270_464,
                    "puts": 2,
                    "usd": 1e-5,
                }
            ],
        },
        "dag": {
            "overhead_seconds": 7.6,
            "all": [7.5, 7.6, 7.9],
            "wall_seconds": 8.9,
            "training_seconds": 1.3,
            "first_overhead_seconds": 21.2,
            "tasks_seconds": {"deploy": 1.1, "train": None},
            "airflow_start_seconds": 24.0,
        },
        "money": {
            "usd": 0.000123,
            "epochs": 3000,
            "lines": [line("TrainerLambda at 1769 MB", 0.000123)],
            "prices": {"region": "us-east-1", "date": "2026-11-01", "architecture": "arm64"},
            "neuron_usd": 0.00456,
            "neuron_epochs": 3,
            "neuron_lines": [line("NeuronLambda at 512 MB", 0.00456)],
        },
    }


def test_the_report_has_every_goal_with_what_was_measured_and_whether_it_is_met(results):
    text = report.render(results, ["side-by-side.svg", "growth.svg"])
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| .*? \| ([^|]+ \| [^|]+ \| [^|]+) \|$", text, re.MULTILINE))
    assert rows == {
        "full_batch.ratio_to_numpy": "0.0321 | ≤ 0.1 | met",
        "full_batch.ratio_to_numpy_cold": "0.0876 | ≤ 0.25 | met",
        "full_batch.ratio_to_fastest_peer": "0.0456 | ≤ 0.15 | met",
        "best_batch.ratio_to_numpy": "0.0501 | ≤ 0.15 | met",
        "average.ratio_to_numpy": "0.0502 | ≤ 0.15 | met",
        "neuron.seconds_per_epoch": "1.61 | ≤ 1.5 | **not met**",
        "neuron.invocations_per_epoch": "264 | = 264 | met",
        "layer.seconds_per_epoch": "0.234 | ≤ 0.4 | met",
        "layer.invocations_per_epoch": "32 | = 32 | met",
        "batch.invocations_per_epoch": "0 | = 0 | met",
        "workers.speedup": "1.71 | ≥ 1.6 | met",
        "workers.ratio_to_machine": "0.9 | ≥ 0.85 | met",
        "money.usd": "0.000123 | ≤ 0.01 | met",
        "features.one_ratio_to_loop": "0.95 | ≥ 0.8 | met",
        "features.two_ratio_to_one": "1.737 | ≥ 1.6 | met",
        "features.again_computed": "0 | = 0 | met",
        "keeping.ratio": "1.031 | ≤ 1.05 | met",
    }
    assert "![Full batch](side-by-side.svg)" in text
    assert "![Growth](growth.svg)" in text


def test_the_report_tells_the_rest(results):
    text = report.render(results)
    for said in (
        "Made-up CPU, 2 cores, 24 GiB, Linux x86_64; Python 3.11.7, NumPy 2.4.6 with openblas 0.3, PyTorch 2.13.0",
        "itsacat's data: 209 photos of 12,288 numbers",
        "| scikit-learn MLPClassifier | not here: no matching / distribution |",
        "| PyTorch float32 | 20.10 [20.10–20.35] | 0.045 | 2e-09 | from 600 epochs |",
        "the fastest peer took 20.7 s (scaled: 20.1 s)",
        "| **ours, warm** | 1.50 [1.50–1.75] | 1363 | 2e-09 |",
        "| NumPy loop | 30.00 [30.00–30.25] | 1364 |",
        "| photos ×30 | 6,270 | 20-7-5-1 | 1.00 (80.00 once running; from 77 epochs) | span | 9.9 |",
        "| neurons ×100 | 20,900 | 2000-700-500-1 | 1.00 | direct |",
        "| **two FeatureLambdas** | 33.0 [33.00–33.25] | 30 |",
        "1.90 s by one that starts",
        "25 pairs of runs, with `keep_epochs` and without",
        "| itsacat's, 2,119 epochs | 1.36 | 1.32 | 1.031 [0.990–1.100] | 1.021 | 64 | 2.3 | 2 | 0.000010 |",
        "on ×30 photos it is 1,234 MB (1,536 MB fit)",
        "**7.6 s** [7.50–7.90] beyond its 1.3 s of training",
        "bit for bit the same",
        "3 epochs with a neuron an invocation, a stack with cache: **0.004560 USD**",
        "| NeuronLambda at 512 MB | 3.5 GB-s | 1.66667e-05 | 0.004560000 |",
    ):
        assert said in text
    assert "quick run" not in text
    assert "svg" not in text


def test_a_part_that_failed_or_was_left_out_says_so_and_the_rest_is_there(results):
    results["dag"] = {"error": "TimeoutError: Airflow"}
    results["workers"] = {"speedup": None, "why": "one trainer a run"}
    del results["average"]
    results["data"]["name"] = "faces"
    text = report.render({**results, "quick": True})
    assert "## What Airflow adds\n\nNot measured: TimeoutError: Airflow" in text
    assert "Not measured: one trainer a run." in text
    assert "## Average of the mini-batches\n\nNot measured: this part has not run" in text
    assert "the faces, as itsacat's data are not on this machine" in text
    assert "A quick run" in text
    met = {goal["key"]: goal["met"] for goal in report.goals(results)}
    assert (met["average.ratio_to_numpy"], met["workers.speedup"]) == (None, None)


def test_a_goal_is_met_at_its_very_value_and_missed_just_beyond(results):
    results["full_batch"]["ratio_to_numpy"] = 0.10
    results["full_batch"]["ratio_to_numpy_cold"] = 0.2501
    results["workers"]["speedup"] = 1.6
    results["layer"]["invocations_per_epoch"] = 32.05
    met = {goal["key"]: goal["met"] for goal in report.goals(results)}
    assert met["full_batch.ratio_to_numpy"] is True
    assert met["full_batch.ratio_to_numpy_cold"] is False
    assert met["workers.speedup"] is True
    assert met["layer.invocations_per_epoch"] is False
