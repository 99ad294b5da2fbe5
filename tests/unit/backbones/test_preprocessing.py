"""From a picture to a backbone's input, held to Pillow's own `ImageOps.fit` and to NumPy."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from snn_photos.preprocessing import FILTERS, InvalidBackbone, Preprocessing

SIZES = [(64, 64), (90, 40), (40, 90), (33, 47), (13, 9), (8, 300)]  # width and height; some smaller than is asked
ASKED = [(32, 32), (24, 48), (48, 24)]  # height and width


def photo(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Return a picture without symmetries: its channels differ, and so do its sides."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    pixels[: height // 2, :, 0] //= 4
    pixels[:, : width // 3, 2] //= 3
    return Image.fromarray(pixels)


def by_pillow(picture: Image.Image, asked: tuple[int, int], name: str, crop: float | None) -> NDArray[np.float32]:
    """Return pixels (height, width, 3) as Pillow's own functions make them."""
    size, method = asked[::-1], Image.Resampling[name.upper()]
    small = picture.resize(size, method) if crop is None else ImageOps.fit(picture, size, method, bleed=(1 - crop) / 2)
    return np.asarray(small, np.float32)


@pytest.mark.parametrize("crop", [None, 1.0, 0.875, 0.5])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("size", SIZES)
def test_what_is_cut_out_and_how_it_is_resized_is_as_pillow_has_it(
    size: tuple[int, int], asked: tuple[int, int], crop: float | None
) -> None:
    picture = photo(size)
    names: list[Any] = ["bilinear", "bicubic"]
    for name in names:
        made = Preprocessing(height=asked[0], width=asked[1], resize=name, crop=crop, scale=1.0, layout="NHWC")
        found = made.apply(picture)
        assert found.shape == (*asked, 3) == made.shape
        wanted = by_pillow(picture, asked, name, crop)
        # ImageOps adds what it cuts off up in another order: a pixel in some hundreds is rounded the other way.
        assert np.abs(found - wanted).max() <= 1
        assert (found != wanted).mean() < 0.01


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_is_pillow_s_of_that_name(name: Any) -> None:
    made = Preprocessing(height=24, width=30, resize=name, crop=None, scale=1.0, layout="NHWC")
    np.testing.assert_array_equal(made.apply(photo((61, 53))), by_pillow(photo((61, 53)), (24, 30), name, None))


def test_the_filters_differ_and_all_can_be_asked_for() -> None:
    names: list[Any] = list(FILTERS)
    made = {
        name: Preprocessing(height=24, width=30, resize=name, crop=None).apply(photo((61, 53))).tobytes()
        for name in names
    }
    assert len(set(made.values())) == len(FILTERS) == 6
    assert set(get_args(Preprocessing.model_fields["resize"].annotation)) == set(FILTERS)


def test_the_whole_picture_is_squeezed_only_without_a_crop() -> None:
    """Left and right of a square in the middle stand other colours than in it."""
    picture = Image.new("RGB", (80, 40), "red")
    picture.paste("lime", (20, 0, 60, 40))
    squeezed = Preprocessing(height=16, width=16, crop=None, resize="nearest", scale=1.0).apply(picture)
    assert squeezed[:, 8, :].tolist() == [
        [255.0] * 4 + [0.0] * 8 + [255.0] * 4,
        [0.0] * 4 + [255.0] * 8 + [0.0] * 4,
        [0.0] * 16,
    ]
    cut = Preprocessing(height=16, width=16, crop=1.0, resize="nearest", scale=1.0).apply(picture)
    assert [np.unique(channel).tolist() for channel in cut] == [[0], [255], [0]]


def test_a_smaller_crop_is_of_the_middle() -> None:
    """A frame of an eighth of each side: a crop of 3/4 leaves nothing of it, 0.8 a little on all four sides."""
    picture = Image.new("RGB", (64, 64), "blue")
    picture.paste("white", (8, 8, 56, 56))
    inner = Preprocessing(height=48, width=48, crop=0.75, resize="nearest", scale=1.0).apply(picture)
    assert inner.min() == 255
    outer = Preprocessing(height=64, width=64, crop=0.875, resize="nearest", scale=1.0).apply(picture)[0]
    frame = outer == 0
    assert frame[0].all()
    assert frame[-1].all()
    assert frame[:, 0].all()
    assert frame[:, -1].all()
    assert not frame[32, 5:-5].any()


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(8, 40), st.integers(8, 40)),
    st.floats(0, 1, exclude_min=True),
)
@example((1, 1), (8, 8), 1.0)
@example((300, 1), (8, 40), 1.0)
@example((299, 300), (8, 8), 1e-15)
def test_any_crop_can_be_cut_out_of_any_photo(size: tuple[int, int], asked: tuple[int, int], crop: float) -> None:
    made = Preprocessing(height=asked[0], width=asked[1], crop=crop)
    found = made.apply(Image.new("RGB", size, (255, 51, 0)))
    np.testing.assert_allclose(found, np.broadcast_to(np.array([1, 0.2, 0])[:, None, None], (3, *asked)), atol=1e-6)


def numbers(mean: Any, scale: Any, **options: Any) -> NDArray[np.float32]:
    made = Preprocessing(height=20, width=28, crop=None, mean=mean, scale=scale, **options)
    return made.apply(photo((28, 20)))  # of the size that is asked for: resizing changes nothing


PIXELS = np.asarray(photo((28, 20)), np.float64)


@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        (0.0, 255.0),
        (127.0, 128.0),
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ([1.0, 2.0, 3.0], 4.0),
        (5.0, [1.0, 2.0, 4.0]),
    ],
)
def test_mean_and_scale_of_all_channels_or_of_each(mean: Any, scale: Any) -> None:
    found = numbers(mean, scale, layout="NHWC")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (PIXELS - np.array(mean)) / np.array(scale), rtol=1e-6, atol=1e-6)


def test_without_a_word_pixels_are_from_0_to_1() -> None:
    found = Preprocessing(height=20, width=28).apply(photo((28, 20)))
    np.testing.assert_allclose(found, PIXELS.transpose(2, 0, 1) / 255, rtol=1e-6)
    assert found.shape == (3, 20, 28)


def test_bgr_turns_the_channels_around_and_mean_and_scale_are_in_that_order() -> None:
    mean, scale = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]
    found = numbers(mean, scale, channels="BGR", layout="NHWC")
    for place, channel in enumerate((2, 1, 0)):
        np.testing.assert_allclose(found[..., place], (PIXELS[..., channel] - mean[place]) / scale[place], rtol=1e-6)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, numbers(mean, scale, layout="NHWC"))


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_layouts_hold_the_same_numbers_in_one_piece(channels: str) -> None:
    first, last = (numbers(3.0, [1.0, 2.0, 4.0], channels=channels, layout=layout) for layout in ("NCHW", "NHWC"))
    assert (first.shape, last.shape) == ((3, 20, 28), (20, 28, 3))
    np.testing.assert_array_equal(first, last.transpose(2, 0, 1))
    assert first.flags.c_contiguous
    assert last.flags.c_contiguous


# ---- the JSON --------------------------------------------------------------------------------------------------------

GOOD = {"height": 224, "width": 192}


def test_what_is_not_said_has_defaults_and_what_is_said_is_kept() -> None:
    assert Preprocessing.load(json.dumps(GOOD), "a.json") == Preprocessing(
        height=224, width=192, resize="bilinear", crop=1.0, mean=0.0, scale=255.0, channels="RGB", layout="NCHW"
    )
    whole = {
        **GOOD, "resize": "lanczos", "crop": None, "mean": [1.5, 2.5, 3.5], "scale": [1.0, 2.0, 4.0], "channels": "BGR",
        "layout": "NHWC",
    }  # fmt: skip
    assert Preprocessing.load(json.dumps(whole).encode(), "a.json").model_dump() == whole


def test_whole_numbers_are_numbers() -> None:
    """And name the same backbone as 127.0 does."""
    whole = Preprocessing.load('{"height": 8, "width": 2048, "mean": 127, "scale": [1, 2, 3], "crop": 1}', "a.json")
    point = Preprocessing.load(
        '{"height": 8, "width": 2048, "mean": 127.0, "scale": [1.0, 2.0, 3.0], "crop": 1.0}', "a.json"
    )
    assert whole.model_dump_json() == point.model_dump_json()


BAD: list[tuple[str, Any, str]] = [
    ("height", 7, "greater than or equal to 8, got 7"),
    ("height", 2049, "less than or equal to 2048, got 2049"),
    ("height", "224", "integer, got '224'"),
    ("height", 224.5, "integer, got 224.5"),
    ("height", True, "integer, got True"),
    ("width", None, "integer, got None"),
    ("width", -5, "greater than or equal to 8, got -5"),
    ("resize", "cubic", "'bicubic'"),
    ("resize", 3, "got 3"),
    ("crop", 0, "greater than 0, got 0"),
    ("crop", -0.5, "greater than 0, got -0.5"),
    ("crop", 1.01, "less than or equal to 1, got 1.01"),
    ("crop", "center", "number, got 'center'"),
    ("crop", float("nan"), "finite number, got nan"),
    ("mean", [1, 2], "has 2 numbers, not one or three"),
    ("mean", [], "has 0 numbers, not one or three"),
    ("scale", [1, 2, 3, 4], "has 4 numbers, not one or three"),
    ("scale", 0, "is not greater than 0, got 0"),
    ("scale", -1.5, "is not greater than 0, got -1.5"),
    ("scale", [1, 1, 0], "is not greater than 0, got [1, 1, 0]"),
    ("channels", "GRAY", "'RGB' or 'BGR', got 'GRAY'"),
    ("layout", "CHW", "'NCHW' or 'NHWC', got 'CHW'"),
    ("hieght", 3, "is not a field (did you mean height? "),
    ("normalize", True, "is not a field (known are height, width, resize, crop, mean, scale, channels, layout)"),
]


@pytest.mark.parametrize(("field", "value", "problem"), BAD)
def test_a_bad_field_is_one_line_that_names_it_and_the_file(field: str, value: Any, problem: str) -> None:
    with pytest.raises(InvalidBackbone) as raised:
        Preprocessing.load(json.dumps({**GOOD, field: value}), "some/model.json")
    line = str(raised.value)
    assert line.startswith(f"some/model.json: {field}: "), line
    assert problem in line
    assert line.endswith("(docs/backbones.md has an example)")
    assert "\n" not in line
    assert line.count("; ") == 0  # one problem


@pytest.mark.parametrize("field", ["mean", "scale"])
@pytest.mark.parametrize("value", ["127", None, True, {}, float("nan"), float("inf"), [1, 2, "x"], [[1, 2, 3]]])
def test_what_is_neither_a_number_nor_three_is_one_problem_of_that_field(field: str, value: Any) -> None:
    """Not one for each of the types that it could have had."""
    with pytest.raises(InvalidBackbone) as raised:
        Preprocessing.load(json.dumps({**GOOD, field: value}), "model.json")
    line = str(raised.value)
    assert re.match(rf"model\.json: {field}(\.\d)?: ", line), line
    assert line.count("; ") == 0, line


@pytest.mark.parametrize(("field", "value"), [("scale", 1e-46), ("mean", 1e39), ("scale", [1, 1e-300, 1])])
def test_numbers_that_float32_does_not_have_are_refused(field: str, value: Any) -> None:
    """Or else pixels become infinite, with a warning of NumPy's in somebody's log."""
    with pytest.raises(InvalidBackbone, match=f"^model.json: {field}: "):
        Preprocessing.load(json.dumps({**GOOD, field: value}), "model.json")


def test_every_bad_field_is_told_of() -> None:
    with pytest.raises(InvalidBackbone) as raised:
        Preprocessing.load('{"height": 1, "layout": "x", "tone": 1}', "model.json")
    line = str(raised.value)
    assert [part.partition(":")[0] for part in line.removeprefix("model.json: ").split("; ")] == [
        "height", "width", "layout", "tone",
    ]  # fmt: skip
    assert "width: is missing" in line


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON: "),
        ("{", "is not JSON: "),
        ("height: 224", "is not JSON: "),
        (b"\xff\xfe{\x00}\x00", "is not JSON: "),
        (b"\x89PNG\r\n\x1a\n", "is not JSON: "),
        ('{"height": 224,}', "is not JSON: "),
        ("[]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ("224", "is not a JSON object"),
        ("{}", "height: is missing; width: is missing"),
    ],
)
def test_what_is_no_json_object_is_one_line_that_names_the_file(text: str | bytes, problem: str) -> None:
    with pytest.raises(InvalidBackbone) as raised:
        Preprocessing.load(text, "some/model.json")
    assert str(raised.value).startswith(f"some/model.json: {problem}")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300
