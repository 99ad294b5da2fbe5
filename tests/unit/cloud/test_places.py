import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidInput
from snn_cloud.aws import places


@given(st.text())
def test_any_text_gives_a_valid_name_always_the_same(text):
    run_id = places.new_run_id(text)
    assert places.check_run_id(run_id) == run_id == places.new_run_id(text)


@given(key=st.text(max_size=300), version=st.text(max_size=40))
def test_any_upload_gives_a_valid_name(key, version):
    assert places.check_run_id(places.run_id_for_upload("bucket", f"training_input/{key}.h5", version))


def test_names_are_readable_and_differ_where_the_text_differs():
    one, two = places.new_run_id("manual__2026-11-22T10:00:00+00:00"), places.new_run_id("manual__2026-11-22T10:00:00")
    assert one.startswith("manual-2026-11-22t10-00-00-")
    assert one != two
    first = places.run_id_for_upload("b", "training_input/cats/d.h5", "v1")
    assert first.startswith("upload-cats-d-")
    assert first != places.run_id_for_upload("b", "training_input/cats/d.h5", "v2")
    assert first != places.run_id_for_upload("c", "training_input/cats/d.h5", "v1")


@pytest.mark.parametrize("bad", ["", "A", "-a", "a/b", "../x", "a" * 64, "a b", "é", None, 7, "a\n"])
def test_what_is_no_run_id_is_refused(bad):
    with pytest.raises(InvalidInput, match="is not a run id"):
        places.check_run_id(bad)


def test_an_images_name_stays_within_its_folder():
    assert places.input_image("r", 3, "../../etc/pass wd.jpg") == "runs/r/input/images/0003-.._.._etc_pass_wd.jpg"
    assert places.input_image("r", 0, "é" * 200).startswith("runs/r/input/images/0000-_")


def test_the_same_data_set_is_known_by_its_hash_or_by_being_the_same_object():
    one, two = places.input_dataset("a", "0123456789abcdef"), places.input_dataset("b", "0123456789abffff")
    assert places.is_same_dataset((one, ""), (two, "v"))
    assert not places.is_same_dataset((one, ""), (places.input_dataset("a", "1123456789abcdef"), ""))
    assert places.is_same_dataset(("training_input/x.h5", "v"), ("training_input/x.h5", "v"))
    assert not places.is_same_dataset(("training_input/x.h5", "v"), ("training_input/x.h5", "w"))
    assert not places.is_same_dataset(("runs/a/input/d.h5", ""), ("runs/b/input/d.h5", ""))
