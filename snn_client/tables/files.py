"""CSV and Parquet files that anyone may have made: the columns' names, and the rows, some thousand at a time."""

from __future__ import annotations

import codecs
import csv
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from snn.errors import InvalidDataset
from snn_data.columns import MISSING
from snn_data.files import check_file

log = logging.getLogger(__name__)

CSV_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET_ENDINGS = (".parquet", ".pq")
ENDINGS = (*CSV_ENDINGS, *PARQUET_ENDINGS)

BLOCK_BYTES = 8 * 2**20
ROWS_AT_ONCE = 8192
MAX_COLUMNS = 50_000
HEAD_BYTES = 4 * 2**20  # of a CSV file, in which its first lines have to end
_COMMA = r"^([-+]?\d*),(\d+)$"  # where people write 3,14, they part fields with a semicolon


def is_table(name: str) -> bool:
    """Return whether a file of this name is a table."""
    return name.lower().endswith(ENDINGS)


class TableFile:
    """A table in a file. Opening it reads its names only.

    Raises InvalidDataset, as its methods do, when the file is not a table; errors call it `source`.
    """

    names: tuple[str, ...]

    def __init__(self, path: Path | str, source: str = "") -> None:
        self.path, self.source = Path(path), source or str(path)
        check_file(self.path, InvalidDataset, self.source)
        self._parquet = self.source.lower().endswith(PARQUET_ENDINGS)
        with self._reading():
            names = self._open_parquet() if self._parquet else self._open_csv()
        if len(names) > MAX_COLUMNS:
            raise self.error(f"has {len(names):,} columns", hint=f"at most {MAX_COLUMNS:,}")
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice is not None:
            raise self.error("stands twice in the header", field=twice, hint="give each column a name of its own")
        self.names = tuple(names)

    def error(self, problem: str, field: str = "", hint: str = "") -> InvalidDataset:
        """Return the exception that says what is wrong with the table, or with one of its columns."""
        return InvalidDataset(problem, field=field, source=self.source, hint=hint)

    def blocks(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield these columns of all rows, in order: of a CSV file as text, with nulls where values are missing."""
        with self._reading():
            if self._parquet:
                with pa_parquet.ParquetFile(self.path) as file:
                    yield from file.iter_batches(ROWS_AT_ONCE, columns=list(columns), use_threads=False)
                return
            convert = pa_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=list(columns), null_values=MISSING,
                strings_can_be_null=True,
            )  # fmt: skip
            with self._csv() as stream, pa_csv.open_csv(
                stream,
                pa_csv.ReadOptions(
                    use_threads=False, block_size=BLOCK_BYTES, column_names=list(self.names),
                    skip_rows_after_names=int(self._header), encoding=self._encoding,
                ),
                pa_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                convert,
            ) as reader:  # fmt: skip
                for block in reader:
                    yield self._plain(block)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what PyArrow raises of a file that it cannot read into one line."""
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, csv.Error, EOFError) as problem:
            if isinstance(problem, pa.ArrowMemoryError):
                raise
            kind = "Parquet" if self._parquet else "CSV"
            text = str(problem).removeprefix("CSV parse error: ") or type(problem).__name__
            hint = "each line must have as many fields as the first" if "Expected" in text else "write the file anew"
            raise self.error(f"cannot be read as {kind}: {text}", hint=hint) from None

    def _open_parquet(self) -> list[str]:
        with pa_parquet.ParquetFile(self.path) as file:
            rows = file.metadata.num_rows
            names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
        if not rows or not names:
            raise self.error("is empty", hint="a table has columns and rows")
        return names

    def _csv(self) -> pa.NativeFile:
        return pa.input_stream(self.path, compression="gzip" if self.source.lower().endswith(".gz") else None)

    def _open_csv(self) -> list[str]:
        """Find out encoding, delimiter and header."""
        self._encoding = self._find_encoding()
        with self._csv() as stream:
            head = stream.read(HEAD_BYTES)
        text = codecs.getincrementaldecoder(self._encoding)(errors="strict").decode(head).removeprefix("\ufeff")
        lines = [line for line in text.splitlines()[:20] if line.strip()]
        if not lines:
            raise self.error("is empty", hint="a table has columns and rows")
        if "\0" in text:
            raise self.error("holds NUL bytes: it is no text", hint="save it as CSV or Parquet")
        tabs = self.source.lower().endswith((".tsv", ".tsv.gz"))
        self._delimiter = "\t" if tabs else _delimiter(lines)
        first = next(csv.reader(text.splitlines(keepends=True), delimiter=self._delimiter))
        self._header = not _is_data(first)
        if not self._header:
            log.warning("%s: no header: the columns are called column1 to column%d", self.source, len(first))
            return [f"column{number}" for number in range(1, len(first) + 1)]
        return [name.strip() or f"column{number}" for number, name in enumerate(first, start=1)]

    def _find_encoding(self) -> str:
        """Return UTF-8 or UTF-16 if the file is that, else Windows-1252, which older spreadsheets write."""
        with self._csv() as stream:
            start = stream.read(4)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self._csv() as stream:
            try:
                while part := stream.read(BLOCK_BYTES):
                    decoder.decode(part)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                log.warning("%s: is not UTF-8: taken for Windows-1252", self.source)
                return "cp1252"
        return "utf-8"

    def _plain(self, block: pa.RecordBatch) -> pa.RecordBatch:
        """Return values without spaces around them, and, where fields end with a semicolon, 3,14 as 3.14."""
        return pa.RecordBatch.from_arrays([self._plain_column(array) for array in block.columns], block.schema.names)

    def _plain_column(self, array: pa.Array) -> pa.Array:
        trimmed = pc.utf8_trim_whitespace(array)
        if not trimmed.equals(array):
            missing = pc.is_in(trimmed, pa.array(MISSING))
            array = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
        return pc.replace_substring_regex(array, _COMMA, r"\1.\2") if self._delimiter == ";" else array


def _delimiter(lines: Sequence[str]) -> str:
    """Return what parts the fields: what parts every line into the same number of them, the more the better."""

    def fields(delimiter: str) -> int:
        counts = {len(row) for row in csv.reader(lines, delimiter=delimiter) if row}
        return counts.pop() if len(counts) == 1 else 0

    found = max(",;\t|", key=fields)
    return found if fields(found) > 1 else ","


def _is_data(first: Sequence[str]) -> bool:
    """Return whether a first line is a row already: it has numbers, which are not the names 0, 1, 2 …"""
    numbers = [value for value in map(_number, first) if value is not None]
    counted = [start + step for start in numbers[:1] for step in range(len(numbers))]
    return bool(numbers) and (len(numbers) < 2 or numbers != counted)


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
