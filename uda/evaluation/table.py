"""The per-class table that an evaluation prints."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import rich.box
import rich.console
import rich.table
from torch import Tensor

from uda.evaluation.confusion import iou_from_matrix, mean_iou, overall_accuracy


def class_table(
    matrices: Mapping[str, Tensor],
    class_names: Sequence[str],
    subsets: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Return a text table of IoU in percent: a row per class, a column per network.

    Classes absent in both prediction and truth show "-". The last rows hold mIoU, its subsets
    (for example mIoU16) and the overall accuracy.

    Args:
        matrices: (K, K) int64 confusion matrix of each network.
        class_names: K names.
        subsets: Class ids of each further mean.

    >>> print(class_table({"student": Tensor([[3, 1], [0, 0]]).long()}, ["road", "sky"]))
     class | student
    -------+---------
     road  |   75.00
     sky   |    0.00
    -------+---------
     mIoU  |   37.50
     aAcc  |   75.00
    """
    table = rich.table.Table(box=rich.box.ASCII2, show_edge=False)
    table.add_column("class", no_wrap=True)
    for network in matrices:
        table.add_column(network, justify="right", no_wrap=True)
    ious = [iou_from_matrix(matrix).tolist() for matrix in matrices.values()]
    for class_id, name in enumerate(class_names):
        last = class_id == len(class_names) - 1
        cells = [as_percent(iou[class_id]) for iou in ious]
        table.add_row(name, *cells, end_section=last)
    for key, class_ids in {"": None, **(subsets or {})}.items():
        means = [mean_iou(matrix, class_ids).value for matrix in matrices.values()]
        table.add_row(f"mIoU{key}", *map(as_percent, means))
    table.add_row("aAcc", *(as_percent(overall_accuracy(m)) for m in matrices.values()))
    return as_text(table)


def as_percent(share: float) -> str:
    """Return a share as percent with two decimals, or "-" for NaN.

    >>> as_percent(0.68253), as_percent(float("nan"))
    ('68.25', '-')
    """
    return "-" if math.isnan(share) else f"{100 * share:.2f}"


def as_text(table: rich.table.Table) -> str:
    """Return the table as plain text without colour codes or trailing blanks, for log files."""
    text = io.StringIO()
    # A fixed width: the width of the terminal must not cut or wrap what goes into a log file.
    # Class names are data: brackets and colons in them are no markup.
    console = rich.console.Console(
        file=text, width=200, color_system=None, legacy_windows=False, markup=False, emoji=False
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
