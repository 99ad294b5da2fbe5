"""Every kind of file that people hand in as a photo, made here with Pillow; no picture is stored in the project."""

from __future__ import annotations

import logging
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from snn.errors import InvalidImage, InvalidInput
from snn_client.data.images import preview_jpeg, refuse_photos, thumbnail_png
from snn_photos.reading import load_image, load_pixels

SHAPE = (4, 6, 3)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> BytesIO:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def flat(mode: str, colour: object, size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


def one_colour(pixels: np.ndarray) -> tuple[int, ...]:
    assert (pixels == pixels[0, 0]).all()
    return tuple(int(value) for value in pixels[0, 0])


def test_the_network_reads_a_column_of_fractions_row_by_row() -> None:
    picture = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(SHAPE), "RGB")

    column = load_image(encoded(picture), SHAPE)

    assert column.shape == (72, 1)
    assert column.dtype == np.float64
    np.testing.assert_array_equal(column[:, 0], np.arange(72) / 255)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP"])
def test_lossless_kinds(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert one_colour(load_pixels(encoded(flat("RGB", RED), kind, **options), SHAPE)) == RED


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "WEBP"])
def test_lossy_kinds(kind: str) -> None:
    pixels = load_pixels(encoded(flat("RGB", BLUE), kind, quality=95), SHAPE)
    np.testing.assert_allclose(pixels.reshape(-1, 3), np.tile(BLUE, (24, 1)), atol=4)


def test_a_path_works_as_well_as_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "blue.png"
    flat("RGB", BLUE).save(path)
    assert one_colour(load_pixels(path, SHAPE)) == one_colour(load_pixels(str(path), SHAPE)) == BLUE


def test_grey_palette_and_black_and_white() -> None:
    assert one_colour(load_pixels(encoded(flat("L", 77)), SHAPE)) == (77, 77, 77)
    assert one_colour(load_pixels(encoded(flat("RGB", GREEN).convert("P", palette=Image.Palette.ADAPTIVE)), SHAPE)) == (
        GREEN
    )
    assert one_colour(load_pixels(encoded(flat("1", 1)), SHAPE)) == WHITE


def test_cmyk_is_turned_into_rgb() -> None:
    pixels = load_pixels(encoded(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=95), SHAPE)
    np.testing.assert_allclose(pixels.reshape(-1, 3), np.tile(RED, (24, 1)), atol=4)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
    pixels = load_pixels(encoded(Image.fromarray(ramp)), SHAPE)
    np.testing.assert_array_equal(pixels[..., 0], ramp >> 8)


def test_floating_point_samples_are_refused() -> None:
    with pytest.raises(InvalidImage, match=r"scan\.tif: 32-bit samples .*\(save it with 8 or 16 bits a sample\)"):
        load_image(encoded(flat("F", 0.5), "TIFF"), SHAPE, source="scan.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    clear = (9, 9, 9, 0) if mode == "RGBA" else (9, 0)
    assert one_colour(load_pixels(encoded(flat(mode, clear)), SHAPE)) == WHITE


def test_half_transparent_red_becomes_pink() -> None:
    assert one_colour(load_pixels(encoded(flat("RGBA", (255, 0, 0, 128))), SHAPE)) == (255, 127, 127)


def test_a_transparent_palette_entry_becomes_white() -> None:
    picture = flat("P", 0)
    picture.putpalette([*RED, *BLUE])
    assert one_colour(load_pixels(encoded(picture, transparency=0), SHAPE)) == WHITE


def test_a_phone_held_upright_is_turned() -> None:
    picture = Image.new("RGB", (6, 4), RED)
    picture.paste(BLUE, (0, 0, 3, 4))  # as stored: the left half is blue
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned by 90° clockwise: what was left is on top
    pixels = load_pixels(encoded(picture, "PNG", exif=exif), (6, 4, 3))
    assert one_colour(pixels[:3]) == BLUE
    assert one_colour(pixels[3:]) == RED


def test_damaged_exif_does_not_spoil_a_good_picture() -> None:
    stream = encoded(flat("RGB", RED), "JPEG", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03")
    np.testing.assert_allclose(load_pixels(stream, SHAPE).reshape(-1, 3), np.tile(RED, (24, 1)), atol=4)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    options = {"save_all": True, "append_images": [flat("RGB", BLUE)], **({"lossless": True} if kind == "WEBP" else {})}
    assert one_colour(load_pixels(encoded(flat("RGB", RED), kind, **options), SHAPE)) == RED


def test_the_photo_with_a_second_view_that_many_cameras_write() -> None:
    both = encoded(flat("RGB", RED), "MPO", save_all=True, append_images=[flat("RGB", BLUE)], quality=95)
    np.testing.assert_allclose(load_pixels(both, SHAPE).reshape(-1, 3), np.tile(RED, (24, 1)), atol=4)


def test_one_pixel_fills_the_frame() -> None:
    pixels = load_pixels(encoded(flat("RGB", GREEN, (1, 1))), SHAPE)
    assert pixels.shape == SHAPE
    assert one_colour(pixels) == GREEN


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_a_file_cut_in_half(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise, "RGB"), kind).getvalue()
    with pytest.raises(InvalidImage) as caught:
        load_image(BytesIO(whole[: len(whole) // 2]), SHAPE, source="cat.jpeg")
    # TIFF keeps its directory at the end and AVIF its index in front: half of one may not even look like a picture.
    assert str(caught.value) in {
        "cat.jpeg: the picture is cut off or damaged (copy the file again)",
        "cat.jpeg: not a picture (give a JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF file)",
    }


@pytest.mark.parametrize("content", [b"no picture at all", b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"\0"])
def test_a_file_that_is_no_picture(content: bytes) -> None:
    with pytest.raises(InvalidImage) as caught:
        load_image(BytesIO(content), SHAPE, source="notes.txt")
    assert str(caught.value) == "notes.txt: not a picture (give a JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF file)"


def test_an_empty_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match="the file is empty"):
        load_image(BytesIO(), SHAPE)
    with pytest.raises(InvalidImage, match=r"nothing\.png: no such file or directory"):
        load_image(tmp_path / "nothing.png", SHAPE)
    with pytest.raises(InvalidImage, match="is a directory"):
        load_image(tmp_path, SHAPE)


def png_that_claims(width: int, height: int) -> BytesIO:
    """A few bytes which promise width × height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return BytesIO(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("side", [10_000, 30_000])  # Pillow warns of the first and refuses the second
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    with pytest.raises(InvalidImage) as caught:
        load_image(png_that_claims(side, side), SHAPE, source="bomb.png")
    assert str(caught.value) == "bomb.png: more than 89,478,485 pixels (make the picture smaller)"


def test_a_file_of_more_than_50_mb_is_refused() -> None:
    with pytest.raises(InvalidImage, match="larger than 50 MB"):
        load_image(BytesIO(b"x" * 50_000_001), SHAPE)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_whatever_the_bytes_it_is_a_picture_or_one_line(noise: bytes, cut: int) -> None:
    whole = encoded(flat("RGB", RED)).getvalue()
    try:
        line = ""
        assert load_pixels(BytesIO(whole[:cut] + noise + whole[cut + len(noise) :]), SHAPE, source="x").shape == SHAPE
    except InvalidImage as problem:
        line = str(problem)
    assert not line or (line.startswith("x: ") and "\n" not in line)


def test_one_bad_photo_is_refused_as_it_is_and_none_not_at_all() -> None:
    refuse_photos([], 3)
    problem = InvalidInput("no such object in S3", source="s3://b/1.png")
    with pytest.raises(InvalidInput) as caught:
        refuse_photos([problem], 800)
    assert caught.value is problem


def test_bad_photos_that_the_message_has_no_room_for_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bad = [
        InvalidImage("not a picture", source=f"/data/{'photos/' * 10}{n:04d}.png", hint="give a JPEG")
        for n in range(800)
    ]
    with caplog.at_level(logging.WARNING), pytest.raises(InvalidImage) as caught:
        refuse_photos(bad, 1_000)
    words = str(caught.value)
    shown = words.count("not a picture")
    assert words.startswith(f"800 of 1000 photos cannot be used: {bad[0].source}: not a picture; {bad[1].source}: ")
    assert words.endswith(f" … and {800 - shown} more (give a JPEG)")
    assert 3 <= shown <= 10
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [f"cannot be used: {one.source}: not a picture" for one in bad[shown:]]


def test_a_thumbnail_grows_by_a_whole_factor_with_hard_edges() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (25, 25, 3), dtype=np.uint8)
    with Image.open(BytesIO(thumbnail_png(pixels, 96))) as picture:
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), pixels.repeat(3, axis=0).repeat(3, axis=1))


def test_a_thumbnail_of_a_large_picture_is_small() -> None:
    with Image.open(BytesIO(thumbnail_png(np.zeros((300, 200, 3), dtype=np.uint8), 96))) as picture:
        assert picture.size == (64, 96)


def test_a_preview_keeps_the_proportions() -> None:
    with Image.open(BytesIO(preview_jpeg(encoded(flat("RGB", RED, (800, 400))), 240))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (240, 120))
