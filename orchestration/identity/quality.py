"""How well persons match labelled truth: pairwise, B-cubed and adjusted Rand, all from counts and never from pairs.

With ``n_ij`` the records that truth puts into cluster i and prediction into cluster j, every measure is a sum over
the cells that are not empty, so that millions of records take seconds.

- Pairwise precision, recall and F1 over pairs of records in one cluster.
- B-cubed: Bagga and Baldwin (1998), Entity-Based Cross-Document Coreferencing Using the Vector Space Model.
- Adjusted Rand index: Hubert and Arabie (1985), Comparing partitions, Journal of Classification 2, 193-218.

Does not belong here: where labels come from.
"""

from __future__ import annotations

import polars as pl


def measure(
    labelled: pl.DataFrame, truth: str = "truth", predicted: str = "predicted", *, count: str | None = None
) -> dict[str, int | float]:
    """Every measure at once.

    Args:
        labelled: One row a record.
        truth: Column of the true person.
        predicted: Column of the person found.
        count: Column that says how many records a row stands for; without it, one.

    Returns:
        ``records``, and what ``pairwise``, ``b_cubed``, ``adjusted_rand`` and ``clusters`` give.
    """
    cells = _cells(labelled, truth, predicted, count)
    return {
        "records": int(cells["n"].sum()),
        **_pairwise(cells),
        **_b_cubed(cells),
        "adjusted_rand": _adjusted_rand(cells),
        **_clusters(cells),
    }


def pairwise(
    labelled: pl.DataFrame, truth: str = "truth", predicted: str = "predicted", *, count: str | None = None
) -> dict[str, int | float]:
    """Pairs of records: ``true_pairs``, ``pred_pairs``, ``tp``, ``fp``, ``fn``, ``pair_precision``, ``pair_recall``,
    ``pair_f1`` (shares, 0 to 1; 1 where there is nothing to find or nothing was claimed).
    """  # noqa: D205
    return _pairwise(_cells(labelled, truth, predicted, count))


def b_cubed(labelled: pl.DataFrame, truth: str = "truth", predicted: str = "predicted") -> dict[str, float]:
    """``b3_precision``, ``b3_recall``, ``b3_f1``: shares, 0 to 1, each record counting once."""
    return _b_cubed(_cells(labelled, truth, predicted))


def adjusted_rand(labelled: pl.DataFrame, truth: str = "truth", predicted: str = "predicted") -> float:
    """Adjusted Rand index: 0 is what chance gives, 1 is equality."""
    return _adjusted_rand(_cells(labelled, truth, predicted))


def clusters(labelled: pl.DataFrame, truth: str = "truth", predicted: str = "predicted") -> dict[str, int]:
    """``clusters_true``, ``clusters_pred``, ``largest_pred`` (records of the largest person found)."""
    return _clusters(_cells(labelled, truth, predicted))


def numbered(names: pl.Expr) -> pl.Expr:
    """Equal names as equal numbers, which are grouped several times faster."""
    return names.cast(pl.String).cast(pl.Categorical(pl.Categories.random())).to_physical()


def _cells(labelled: pl.DataFrame, truth: str, predicted: str, count: str | None = None) -> pl.DataFrame:
    if labelled.select(truth, predicted).null_count().sum_horizontal().item():
        raise ValueError(f"{truth} and {predicted} must not be null; leave records without label out")
    cells = labelled.group_by(i=truth, j=predicted).agg(n=(pl.col(count).sum() if count else pl.len()).cast(pl.Int64))
    # Persons are only told apart from here on.
    cells = cells.with_columns(numbered(pl.col(side)) for side in ("i", "j") if not cells.schema[side].is_integer())
    return cells.with_columns(a=pl.col("n").sum().over("i"), b=pl.col("n").sum().over("j"))


def _pairs(column: pl.Series) -> int:
    return int((column * (column - 1)).sum()) // 2


def _of_clusters(cells: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    return cells.select("i", "a").unique("i")["a"], cells.select("j", "b").unique("j")["b"]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _pairwise(cells: pl.DataFrame) -> dict[str, int | float]:
    true_sizes, predicted_sizes = _of_clusters(cells)
    both, true, predicted = _pairs(cells["n"]), _pairs(true_sizes), _pairs(predicted_sizes)
    precision, recall = _share(both, predicted), _share(both, true)
    return {
        "true_pairs": true,
        "pred_pairs": predicted,
        "tp": both,
        "fp": predicted - both,
        "fn": true - both,
        "pair_precision": precision,
        "pair_recall": recall,
        "pair_f1": _f1(precision, recall),
    }


def _b_cubed(cells: pl.DataFrame) -> dict[str, float]:
    n = int(cells["n"].sum())
    precision = _share(cells.select((pl.col("n") ** 2 / pl.col("b")).sum()).item(), n)
    recall = _share(cells.select((pl.col("n") ** 2 / pl.col("a")).sum()).item(), n)
    return {"b3_precision": precision, "b3_recall": recall, "b3_f1": _f1(precision, recall)}


def _adjusted_rand(cells: pl.DataFrame) -> float:
    n = int(cells["n"].sum())
    true_sizes, predicted_sizes = _of_clusters(cells)
    both, true, predicted = _pairs(cells["n"]), _pairs(true_sizes), _pairs(predicted_sizes)
    by_chance = _share(true * predicted, n * (n - 1) / 2)
    at_most = (true + predicted) / 2
    return (both - by_chance) / (at_most - by_chance) if at_most != by_chance else 1.0


def _clusters(cells: pl.DataFrame) -> dict[str, int]:
    true_sizes, predicted_sizes = _of_clusters(cells)
    largest = predicted_sizes.max()
    return {
        "clusters_true": len(true_sizes),
        "clusters_pred": len(predicted_sizes),
        "largest_pred": int(largest) if isinstance(largest, int) else 0,
    }
