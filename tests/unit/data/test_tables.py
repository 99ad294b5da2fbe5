"""Tables: what is learned, what is left out, how rows are split, and what the columns become."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from snn.errors import InvalidDataset, InvalidInput
from snn_client.data import tables
from snn_client.data.folds import held_out, hold_out
from snn_client.data.options import Options
from snn_client.tables.columns import encode
from snn_data.columns import Category, Columns, Number
from snn_data.dataset import Dataset, load_dataset


class Notes:
    """A progress that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def at(self, what: str, done: int, total: int) -> None:
        assert 0 <= done <= total, what

    def note(self, text: str) -> None:
        self.lines.append(text)


def write(folder: Path, rows: list[dict[str, Any]], name: str = "table.csv") -> Path:
    """Write rows as a CSV or a Parquet file."""
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def made(path: Path, **options: Any) -> tuple[Dataset, list[str]]:
    notes, target = Notes(), path.with_suffix(".h5")
    tables.make(path, Options.of(options), target, notes)
    return load_dataset(target), notes.lines


def flowers(count: int = 40) -> list[dict[str, Any]]:
    random = np.random.default_rng(5)
    return [
        {"length": round(float(random.normal(index % 2, 0.3)), 4), "colour": ["red", "blue", "white"][index % 3],
         "species": ["iris", "rose"][index % 2]}
        for index in range(count)
    ]  # fmt: skip


def columns_of(dataset: Dataset) -> tuple[Any, ...]:
    return Columns.from_json(dataset.columns, "datasets.h5").columns


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_table_becomes_a_data_set(tmp_path: Path, name: str) -> None:
    rows = flowers()
    dataset, notes = made(write(tmp_path, rows, name))
    assert dataset.classes == ("iris", "rose")
    assert (len(dataset.train), len(dataset.test), dataset.features) == (32, 8, 4)
    assert np.bincount(dataset.test.y).tolist() == [4, 4]
    assert notes == [f"{name}: learns species"]
    length, colour = columns_of(dataset)
    assert (length.name, colour) == ("length", Category("colour", ("blue", "red", "white")))
    # What is learned is the training part's alone: by hand, from the rows that the file says are in it.
    assert_allclose(dataset.train.stored[:, 0].mean(), 0, atol=1e-6)
    assert_allclose(dataset.train.stored[:, 0].std(), 1, rtol=1e-5)
    back = dataset.train.stored[:, 0] * length.scale + length.mean
    assert set(np.round(back, 4)) <= {np.float32(round(row["length"], 4)) for row in rows} | set(
        np.round(np.float32([row["length"] for row in rows]), 4)
    )
    assert (dataset.train.stored[:, 1:].sum(axis=1) == 1).all()


def test_csv_and_parquet_give_the_same(tmp_path: Path) -> None:
    one, other = (made(write(tmp_path, flowers(), name))[0] for name in ("a.csv", "b.parquet"))
    assert one.columns == other.columns
    assert (one.train.stored == other.train.stored).all()
    assert (one.train.y == other.train.y).all()


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["a", "label", "target", "b"], "label"),
        (["a", "Target", "class"], "Target"),
        (["y", "a", "b"], "y"),
        (["a", "b", "c"], "c"),
    ],
)
def test_the_label_is_found_by_its_name_else_it_is_the_last(tmp_path: Path, names: list[str], label: str) -> None:
    rows = [{name: (index * (place + 3)) % 7 for place, name in enumerate(names)} for index in range(30)]
    assert f"table.csv: learns {label}" in made(write(tmp_path, rows))[1]


def test_50_whole_numbers_are_classes_and_51_are_numbers_to_give(tmp_path: Path) -> None:
    def labelled(values: int, **options: Any) -> Dataset:
        rows = [{"x": (index * 37) % 101, "y": index % values} for index in range(4 * values)]
        return made(write(tmp_path, rows), **options)[0]

    assert labelled(50).classes == tuple(map(str, range(50)))
    few, many = labelled(50, task="regression"), labelled(51)
    assert few.classes == many.classes == ()
    assert sorted(set(many.train.y) | set(many.test.y)) == list(range(51))
    assert len(labelled(51, task="classification").classes) == 51


def test_whole_numbers_are_classes_in_their_order_and_so_are_those_written_with_a_point(tmp_path: Path) -> None:
    rows = [{"x": index % 7, "y": f"{[2, 10, 1][index % 3]}.0"} for index in range(30)]
    assert made(write(tmp_path, rows))[0].classes == ("1", "2", "10")


def test_classes_may_be_put_in_order(tmp_path: Path) -> None:
    assert made(write(tmp_path, flowers()), classes="rose,iris")[0].classes == ("rose", "iris")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("cat", "non-cat"), ("non-cat", "cat")),
        (("not_ill", "ill"), ("not_ill", "ill")),
        (("Zebra", "ant"), ("ant", "Zebra")),
        (("True", "False"), ("False", "True")),
    ],
)
def test_of_a_pair_the_positive_one_is_class_1_as_of_folders(
    tmp_path: Path, names: tuple[str, str], classes: tuple[str, str]
) -> None:
    dataset, _ = made(write(tmp_path, [{"x": index % 7, "y": names[index % 2]} for index in range(30)]))
    assert dataset.classes == classes


def test_only_some_classes_are_learned_if_asked(tmp_path: Path) -> None:
    rows = [{"x": index % 7, "y": ["a", "b", "c"][index % 3]} for index in range(30)]
    dataset, notes = made(write(tmp_path, rows), only="c,a")
    assert (dataset.classes, len(dataset.train), len(dataset.test)) == (("a", "c"), 16, 4)
    assert "table.csv: 10 rows without a label, or of other classes than are wanted, left out" in notes
    numbers = [{"x": index % 7, "y": index % 3} for index in range(30)]
    dataset, _ = made(write(tmp_path, numbers), only="2,0", classes="2,0")
    assert (dataset.classes, len(dataset.train)) == (("2", "0"), 16)
    with pytest.raises(InvalidDataset, match=r"table\.csv: only: names d; the classes are a, b, c \(name classes that"):
        made(write(tmp_path, rows), only="a,d")


def test_what_says_nothing_is_noticed_and_left_out(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [
        {"row": index, "patient_id": 1000 + 3 * index, "name": f"person {index}",
         "born": f"19{50 + index % 50}-03-0{1 + index % 9}", "country": "NL", "one": 1, "none": None,
         "seen": f"{1 + index % 28}.11.2025", "age": int(random.integers(90)), "ill": index % 2}
        for index in range(60)
    ]  # fmt: skip
    dataset, notes = made(write(tmp_path, rows))
    assert [column.name for column in columns_of(dataset)] == ["age"]
    assert notes[1] == (
        "table.csv: left out: row numbers the rows; patient_id numbers the rows; born holds dates; none is empty; "
        "seen holds dates; name has another text in every row; country is constant in the training part; "
        "one is constant in the training part"
    )


def test_dates_nested_values_and_bytes_of_parquet_are_left_out(tmp_path: Path) -> None:
    when = pa.array(range(20), pa.timestamp("s"))
    others = {"list": [[1]] * 20, "raw": [b"x"] * 20, "x": [1.5, 2.5] * 10, "y": [True, False] * 10}
    table = pa.table({"when": when, **others})
    pq.write_table(table, tmp_path / "t.parquet")
    dataset, notes = made(tmp_path / "t.parquet")
    assert dataset.classes == ("false", "true")
    assert [column.name for column in columns_of(dataset)] == ["x"]
    assert notes[1] == (
        "t.parquet: left out: when holds dates; list holds neither numbers nor text; raw holds neither numbers nor text"
    )


def test_missing_values_are_filled_in_from_the_training_part(tmp_path: Path) -> None:
    rows = [
        {"x": None if index % 5 == 0 else index % 7, "c": None if index % 4 == 0 else "ab"[index % 2], "y": index % 2}
        for index in range(60)
    ]
    dataset, _ = made(write(tmp_path, rows))
    number, category = columns_of(dataset)
    assert category.values == ("a", "b", None)
    columns = Columns((number, category))
    block = pa.record_batch({"x": pa.array(["", "3"]).slice(1), "c": pa.array([None], pa.string())})
    assert_allclose(encode(columns, block, 0, "t")[0], [(3 - number.mean) / number.scale, 0, 0, 1], rtol=1e-6)
    empty = pa.record_batch({"x": pa.array([None], pa.string()), "c": pa.array(["unseen"])})
    assert encode(columns, empty, 0, "t").tolist() == [[0, 0, 0, 0]]


def test_rows_with_missing_values_are_dropped_if_asked(tmp_path: Path) -> None:
    rows = [{"x": None if index % 5 == 0 else index % 7, "empty": None, "y": index % 2} for index in range(60)]
    rows[1]["y"] = None
    dataset, notes = made(write(tmp_path, rows), missing="drop")
    assert len(dataset.train) + len(dataset.test) == 47
    assert "table.csv: 1 rows without a label left out" in notes
    assert "table.csv: 12 rows with missing values left out" in notes


def test_a_group_is_never_parted(tmp_path: Path) -> None:
    rows = [{"x": index % 11, "who": f"p{index // 5}", "y": (index // 5) % 2} for index in range(200)]
    dataset, _ = made(write(tmp_path, rows), group="who")
    assert [column.name for column in columns_of(dataset)] == ["x"]
    notes = Notes()
    target = tmp_path / "again.h5"
    tables.make(tmp_path / "table.csv", Options.of({"group": "who"}), target, notes)
    y = np.array([row["y"] for row in rows], float)
    whole = {"who": pa.chunked_array([[row["who"] for row in rows]])}
    table = tables.TableFile(tmp_path / "table.csv")
    parts, groups = tables._parts(table, whole, y, ("0", "1"), np.ones(200, bool), Options.of({"group": "who"}))
    of_group = {row["who"]: set() for row in rows}
    for row, part in zip(rows, parts):
        of_group[row["who"]].add(int(part))
    assert all(len(found) == 1 for found in of_group.values())
    assert (parts == 1).sum() == len(dataset.test) == 40
    # What is trained on keeps its groups, so that a sweep or a validation does not part them either.
    assert dataset.train.groups is not None
    names = sorted({row["who"] for row in rows})
    training = [row["who"] for row, part in zip(rows, parts) if part == 0]
    assert [names[number] for number in dataset.train.groups.numbers] == training
    assert groups is not None
    assert np.array_equal(groups.numbers, dataset.train.groups.numbers)
    assert dataset.test.groups is None
    assert not dataset.train.groups.in_time


@pytest.mark.parametrize("way", ["number", "iso", "german"])
def test_the_latest_rows_are_the_test_set(tmp_path: Path, way: str) -> None:
    def written(day: int) -> Any:
        return {"number": day, "iso": f"2025-01-{day:02d}", "german": f"{day:02d}.01.2025"}[way]

    order = np.random.default_rng(1).permutation(28) + 1
    rows = [{"day": written(int(day)), "x": int(day) % 5, "y": float(day) + 0.5} for day in order]
    dataset, _ = made(write(tmp_path, rows), time="day")
    assert sorted(dataset.test.y) == [23.5, 24.5, 25.5, 26.5, 27.5, 28.5]
    assert dataset.train.groups is not None
    assert dataset.train.groups.in_time
    assert np.array_equal(np.argsort(dataset.train.groups.numbers), np.argsort(dataset.train.y))


def test_a_column_may_say_the_split(tmp_path: Path) -> None:
    rows = [{"part": ["train", "Test", "val"][index % 3], "x": index % 5, "y": index % 2} for index in range(60)]
    dataset, _ = made(write(tmp_path, rows), split="part")
    assert dataset.validation is not None
    assert (len(dataset.train), len(dataset.test), len(dataset.validation)) == (20, 20, 20)


def test_groups_of_a_thousand_rows_are_validated_by_groups_too(tmp_path: Path) -> None:
    rows = [{"x": index % 11, "who": f"p{index // 10}", "y": (index // 10) % 2} for index in range(2000)]
    dataset, _ = made(write(tmp_path, rows), group="who")
    assert dataset.validation is not None
    assert (len(dataset.test), len(dataset.validation)) == (400, 160)


def test_odd_csv_files_are_read(tmp_path: Path) -> None:
    def found(content: bytes, name: str = "odd.csv") -> tuple[Dataset, list[str]]:
        path = tmp_path / name
        path.write_bytes(content)
        return made(path)

    body = "".join(f"{index % 7},{'ab'[index % 2]}\n" for index in range(20))
    plain = found(f"x,y\n{body}".encode())[0]
    for content, name in [
        (f"\ufeffx,y\r\n{body}".replace("\n", "\r\n").replace("\r\r", "\r").encode(), "bom.csv"),
        (f"x;y\n{body}".replace(",", ";").encode(), "semicolons.csv"),
        (f"x\ty\n{body}".replace(",", "\t").encode(), "tabs.tsv"),
        (f'"x","y"\n{body}'.encode(), "quoted.csv"),
        (f" x , y\n{body}".replace(",", " , ").replace("x  ,  y", "x,y").encode(), "spaces.csv"),
        (gzip.compress(f"x,y\n{body}".encode()), "packed.csv.gz"),
        (f"x,y\n{body}".encode("utf-16"), "wide.csv"),
    ]:
        same = found(content, name)[0]
        assert json.loads(same.columns)[0]["name"] == "x", name
        assert same.classes == ("a", "b"), name
        assert (same.train.stored == plain.train.stored).all(), name
    headless = found(body.encode())[0]
    assert columns_of(headless)[0].name == "column1"
    assert (headless.train.stored == plain.train.stored).all()
    german = found(("x;y\n" + "".join(f"{index % 7},5;{'ab'[index % 2]}\n" for index in range(20))).encode())[0]
    assert_allclose(columns_of(german)[0].mean, columns_of(plain)[0].mean + 0.5)
    names = found(f"größe,art\n{body}".encode("cp1252"))[0]
    assert columns_of(names)[0].name == "größe"
    numbered = found(("0,1,2\n" + "".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(20))).encode())[0]
    assert [column.name for column in columns_of(numbered)] == ["0", "1"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "t.csv: is empty (a table has columns and rows)"),
        (b"a,b\n", {}, "t.csv: has no rows"),
        (b"a,a\n1,2\n", {}, "t.csv: a: stands twice in the header (give each column a name of its own)"),
        (b"a,b\n1,2\n3\n", {}, "t.csv: cannot be read as CSV: "),
        (b"\0\1\2", {}, "t.csv: holds NUL bytes: it is no text"),
        (b"a,b\n1,2\n2,2\n", {}, "t.csv: b: has 1 different values in 2 rows: these are no classes"),
        (b"a,b\n1,x\n2,y\n3,x\n", {}, "t.csv: y: has 1 sample (at least 2 are needed, one to train and one to test)"),
        (b"a,b\n1,x\n2,y\n", {"label": "c"}, "t.csv: c: is not a column of this table (it has a, b)"),
        (b"a,b\n1,x\n2,y\n", {"drop": "c"}, "t.csv: c: is not a column of this table"),
        (b"a,b\n1,x\n2,y\n", {"task": "regression"}, "t.csv: b: holds no numbers: there is no regression"),
        (b"a,b\n1,x\n2,y\n", {"classes": "x,z"}, "t.csv: b: has the classes x; y (name exactly these by classes)"),
        (b"a,b\ninf,0\n2,0\n3,1\n4,1\n", {}, "t.csv: a: holds 'inf' in row 1 (give a number, or none)"),
        (b"a,b\n1,1\n1,1\n1,0\n1,0\n", {}, "t.csv: no column is left to learn from"),
        (b"a,b,t\n1,1,x\n", {"time": "t", "group": "a"}, "t.csv: group and time: are two ways to split"),
        (b"a,b,t\n1,1,x\n2,0,x\n", {"time": "t", "label": "b"}, "t.csv: t: holds no times"),
        (b"a,b,t\n1,1,x\n2,0,x\n", {"split": "t", "label": "b"}, "t.csv: t: says 'x' (say train, test or validation)"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, content: bytes, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidDataset) as refusal:
        made(path, **options)
    assert str(refusal.value).removeprefix(f"{tmp_path}/").startswith(message)


def test_a_damaged_parquet_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, flowers(), "t.parquet")
    good = path.read_bytes()
    for broken in (b"", b"PAR1", good[:200], good[100:], good.replace(b"PAR1", b"XXXX")):
        path.write_bytes(broken)
        with pytest.raises(InvalidDataset, match=r"cannot be read as Parquet|is empty"):
            made(path)


def test_rows_are_read_as_they_were_learned(tmp_path: Path) -> None:
    path = write(tmp_path, flowers())
    dataset, _ = made(path)
    columns = Columns.from_json(dataset.columns, "datasets.h5")
    rows = np.vstack(list(tables.read_rows(path, columns)))
    learned = {tuple(row) for row in rows.tolist()}
    assert {tuple(row) for row in dataset.train.stored.tolist()} | {
        tuple(row) for row in dataset.test.stored.tolist()
    } == learned
    others = [{"species": "?", "more": 1, "colour": row["colour"], "length": row["length"]} for row in flowers()]
    again = np.vstack(list(tables.read_rows(write(tmp_path, others, "b.parquet"), columns)))
    assert (again == rows).all()
    with pytest.raises(InvalidDataset, match="colour: is missing: the network was trained on it"):
        list(tables.read_rows(write(tmp_path, [{"length": 1}], "c.csv"), columns))
    with pytest.raises(InvalidDataset, match="length: holds 'long' in row 2"):
        list(tables.rows_in(b"length,colour\n1,red\nlong,red\n", columns, "d.csv"))
    with pytest.raises(InvalidInput, match=r"e\.png: is not a table"):
        tables.check_rows(b"", dataset.columns, "e.png")


def test_thousands_of_columns_are_more_than_64_kb_of_text(tmp_path: Path) -> None:
    columns = Columns(tuple(Number(f"a column with a long name {index}", index / 7, 1.5) for index in range(5_000)))
    assert len(columns.to_json()) > 4 * 65_536
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as h5:
        h5.attrs["columns"] = columns.to_json()
    with h5py.File(file) as h5:
        assert Columns.from_json(h5.attrs["columns"], "a.h5") == columns


def test_folds_keep_what_the_columns_become(tmp_path: Path) -> None:
    dataset, _ = made(write(tmp_path, flowers()))
    fold = hold_out(dataset, held_out(dataset.train, 0.25, 0, 2)[0])
    assert fold.columns == dataset.columns


def test_a_mixed_table_becomes_what_scikit_learns_pipeline_makes_of_it(tmp_path: Path) -> None:
    random, count = np.random.default_rng(7), 300
    rows = []
    for index in range(count):
        test = index % 4 == 0
        towns, grades = ["Ulm", "Rom", *["Köln, am Rhein"] * test], ["A", "B", *["Z"] * test]
        rows.append(
            {
                "part": "test" if test else "train",
                "age": None if random.random() < 0.2 else int(random.integers(18, 90)),
                "wage": None if random.random() < 0.1 else round(float(random.lognormal(8, 2)), 2),
                "town": None if random.random() < 0.1 else str(random.choice(towns)),
                "grade": str(random.choice(grades)),
                "y": index % 3,
            }
        )
    path = tmp_path / "mixed.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    dataset, _ = made(path, split="part")
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    kinds = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    pipeline = ColumnTransformer([("numbers", numbers, [0, 1]), ("kinds", kinds, [2, 3])])
    table = np.array([[row[name] for name in ("age", "wage", "town", "grade")] for row in rows], object)
    table[:, :2] = table[:, :2].astype(float)
    train = np.array([row["part"] == "train" for row in rows])
    assert_allclose(dataset.train.stored, pipeline.fit_transform(table[train]), rtol=2e-6, atol=2e-6)
    expected = pipeline.transform(table[~train])
    assert_allclose(dataset.test.stored, expected, rtol=2e-6, atol=2e-6)
    assert (dataset.test.stored[:, 2:].sum(axis=1) < 2).any()  # towns and grades that no training row has
    columns = Columns.from_json(dataset.columns, "datasets.h5")
    lines = ["grade,more,age,wage,town"]
    for row, held in zip(rows, ~train):
        if held:
            text = "" if row["town"] is None else f'"{row["town"]}"'
            lines.append(f"{row['grade']},1,{row['age'] or 'NA'},{row['wage'] or ''},{text}")
    raw = np.vstack(list(tables.rows_in("\n".join(lines).encode(), columns, "rows.csv")))
    assert (raw == dataset.test.stored).all()
