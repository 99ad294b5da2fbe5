"""The looks of photos, held to Pillow, SciPy and arithmetic."""

from __future__ import annotations

import drift_data
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import laplace

from snn.errors import InvalidImage
from snn_data.drift.looks import COLOUR, GREY, looks


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    from snn_cli.datasets import _scikit_image_data

    found = [np.asarray(Image.open(_scikit_image_data(name)).convert("RGB").resize((64, 48)))
             for name in ("chelsea.png", "coffee.png", "astronaut.png")]  # fmt: skip
    return np.stack(found)


def test_they_are_what_others_compute(photos: np.ndarray) -> None:
    found = dict(zip(COLOUR, looks(photos).T))
    for place, photo in enumerate(photos):
        luma = photo @ np.array([0.299, 0.587, 0.114]) / 255
        saturation = np.asarray(Image.fromarray(photo).convert("HSV"))[..., 1] / 255
        assert found["brightness"][place] == pytest.approx(luma.mean(), abs=1e-5)
        assert found["brightness"][place] == pytest.approx(
            np.asarray(Image.fromarray(photo).convert("L")).mean() / 255, abs=0.003
        )
        assert found["contrast"][place] == pytest.approx(luma.std(), abs=1e-5)
        expected = np.log((laplace(luma, mode="nearest").var() + 1e-6) / (luma.var() + 1e-5))
        assert found["sharpness"][place] == pytest.approx(expected, abs=1e-3)
        assert found["saturation"][place] == pytest.approx(saturation.mean(), abs=0.005)
        total = photo.reshape(-1, 3).sum(0) / photo.sum()
        assert (found["red"][place], found["blue"][place]) == pytest.approx((total[0], total[2]), abs=1e-5)
        assert found["clipped"][place] == pytest.approx(((luma < 0.5 / 255) | (luma > 254.5 / 255)).mean(), abs=1e-6)


@pytest.mark.parametrize("sigma", [3, 8, 20])
def test_noise_is_its_standard_deviation_in_grey_levels(sigma: int) -> None:
    chance = np.random.default_rng(sigma)
    grey = drift_data.as_bytes(128 + chance.normal(0, sigma, (5, 100, 100)))
    np.testing.assert_allclose(looks(grey)[:, GREY.index("noise")], sigma, rtol=0.12, atol=0.6)


def test_each_says_one_thing(photos: np.ndarray) -> None:
    before = dict(zip(COLOUR, looks(photos).mean(0)))
    chance = np.random.default_rng(1)

    def after(change: str, by: float) -> dict[str, float]:
        return dict(zip(COLOUR, looks(drift_data.CHANGES[change](photos, by, chance)).mean(0)))

    duller = after("contrast", 0.6)
    assert duller["contrast"] == pytest.approx(0.6 * before["contrast"], rel=0.02)
    assert duller["sharpness"] == pytest.approx(before["sharpness"], abs=0.05)
    blurred = after("blur", 2.0)
    assert blurred["sharpness"] < before["sharpness"] - 1.5
    assert blurred["noise"] <= before["noise"]
    brighter = after("brightness", 15)
    assert brighter["brightness"] == pytest.approx(before["brightness"] + 15 / 255, abs=0.005)
    assert brighter["sharpness"] == pytest.approx(before["sharpness"], abs=0.1)


def test_grey_photos_in_both_shapes_and_what_is_empty() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (6, 8, 9)).astype(np.uint8)
    np.testing.assert_array_equal(looks(grey), looks(grey[..., None]))
    assert looks(grey).shape == (6, 5)
    assert looks(grey[:0]).shape == (0, 5)
    black = looks(np.zeros((2, 4, 4, 3), np.uint8))
    assert np.isfinite(black).all()
    assert dict(zip(COLOUR, black[0]))["red"] == pytest.approx(1 / 3)
    assert np.isfinite(looks(np.full((1, 1, 1, 3), 7, np.uint8))).all()


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 4), np.uint8), np.zeros(4, np.uint8)])
def test_what_is_no_photo_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InvalidImage, match=r"photos: is .* of uint8"):
        looks(wrong)
