"""The printed table."""

from __future__ import annotations

import torch

from uda.evaluation.table import class_table


def test_class_table_values() -> None:
    """A row per class, a column per network, "-" for an absent class, names taken literally."""
    student = torch.tensor([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    teacher = torch.tensor([[4, 0, 0], [0, 6, 0], [0, 0, 0]])
    text = class_table(
        {"student": student, "teacher": teacher}, ["road", "[b]:sky:", "car"], {"1": [0], "0": [2]}
    )
    cells = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    rows = [row for row in cells if len(row) == 3]
    assert rows == [
        ["class", "student", "teacher"],
        ["road", "50.00", "100.00"],
        ["[b]:sky:", "57.14", "100.00"],
        ["car", "-", "-"],
        ["mIoU", "53.57", "100.00"],
        ["mIoU1", "50.00", "100.00"],
        ["mIoU0", "-", "-"],
        ["aAcc", "70.00", "100.00"],
    ]
    assert "\x1b" not in text
