"""Cells of a workbook's sheet as exact text.

Numbers are written in their shortest exact form (``3`` and not ``3.0``), times as ISO text, text cells as they stand
(``007``); a cell with an error (``#N/A``) is null. Does not belong here: which files are read, and column names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import fastexcel
import polars as pl

from orchestration.sources.errors import SourceError, one_line, suggest

if TYPE_CHECKING:
    from orchestration.sources.files import FilesOrigin
    from orchestration.sources.files_storage import SourceFile

_ROUNDED = r"^-?\d+(\.\d{1,9})?$"
"""How the reader writes a number as text: with nine digits behind the point at most."""


def sheet_cells(name: str, origin: FilesOrigin, file: SourceFile) -> tuple[list[list[str]], pl.DataFrame, pl.Series]:
    """The header rows of a sheet, its cells as text, and the number of each row.

    Args:
        name: ``source.stream``, for messages.
        origin: Sheet, rows to skip, rows of the header.
        file: The workbook.

    Returns:
        Header rows; rows that are not blank, all columns text; ``_row``, counted from 1 below the header.

    Raises:
        SourceError: it is no workbook, has no such sheet, or no header.
    """
    try:
        workbook = fastexcel.read_excel(file.local)
    except (fastexcel.FastExcelError, OSError) as error:
        raise SourceError(
            f"{name}: file {file} is truncated or no Excel workbook ({one_line(error)}); deliver it again, by rename"
        ) from error
    sheets = workbook.sheet_names
    sheet = origin.sheet or sheets[0]
    if sheet not in sheets:
        raise SourceError(f"{name}: file {file} has no sheet {sheet!r}; {suggest(sheet, sheets, 'sheets')}")
    skip = origin.skip_rows
    try:
        texts = _load(workbook, sheet, skip, "string")
        if texts.is_empty():
            return [[]], texts, pl.Series("_row", [], dtype=pl.Int64)
        numbers = _load(workbook, sheet, skip, "float")
    except fastexcel.FastExcelError as error:
        raise SourceError(f"{name}: sheet {sheet!r} of file {file} cannot be read ({one_line(error)})") from error
    header = [[cell or "" for cell in row] for row in texts.head(origin.header_rows).rows()]
    rows = pl.DataFrame(
        [_exact(texts[column], numbers[column] if column in numbers.columns else None) for column in texts.columns]
    ).slice(origin.header_rows)
    is_blank = rows.select(pl.all_horizontal(pl.all().is_null()))
    row = pl.Series("_row", range(1, rows.height + 1), dtype=pl.Int64)
    filled = ~is_blank.to_series() if rows.height else pl.Series([], dtype=pl.Boolean)
    return header, rows.filter(filled), row.filter(filled)


def _load(workbook: fastexcel.ExcelReader, sheet: str, skip: int, dtype: Literal["string", "float"]) -> pl.DataFrame:
    # Without rows to skip the reader would leave out blank ones, and rows would lose their numbers.
    loaded = workbook.load_sheet(sheet, header_row=None, skip_rows=skip, dtypes=dtype)
    frame = loaded.to_polars()
    frame.columns = [f"c{position}" for position in range(frame.width)]
    return frame


def _exact(texts: pl.Series, numbers: pl.Series | None) -> pl.Series:
    """Texts of one column, those of rounded numbers replaced by the numbers in full."""
    texts = texts.cast(pl.String)
    # A time of day alone is dated by the day before Excel's first.
    times = texts.str.replace(r"^1899-12-3[01] (\d\d:\d\d:\d\d)", "${1}")
    if numbers is None or not numbers.dtype.is_float():
        return times
    # Beyond 2^53 there is nothing behind the point.
    is_rounded = texts.str.contains(_ROUNDED) & (numbers.abs() < 2**53) & (numbers.round(9) != numbers)
    frame = pl.DataFrame({"text": times, "number": numbers, "is_rounded": is_rounded})
    exact = pl.when(pl.col("is_rounded")).then(pl.col("number").cast(pl.String)).otherwise("text")
    return frame.select(exact.alias(texts.name)).to_series()


__all__ = ["sheet_cells"]
