"""What came of a check: findings, and what was looked at."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from uda.data.check.files import Observation
from uda.data.check.kinds import FILE_KINDS, FOLDER_KINDS, SET_KINDS, Severity
from uda.data.check.sizes import Size
from uda.data.listing import Misfit
from uda.files import write_atomically

_SHOWN_IDS = 8


@dataclass(frozen=True)
class Finding:
    """Things of one kind in one data set.

    Attributes:
        severity: ``"error"`` or ``"warning"``.
        kind: A key of the tables in `uda.data.check.kinds`.
        dataset: Name of the data set.
        text: What is there.
        advice: What to do.
        files: Full paths it is about; empty for what is said of the set as a whole.
    """

    severity: Severity
    kind: str
    dataset: str
    text: str
    advice: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """What was looked at in one data set.

    Attributes:
        dataset: Its name, or the names of those that read the same.
        images: Images that are used.
        labels: Labels of them that are there.
        checked: Images that were read; fewer with a limit.
        sizes: Number of images of each size (height, width).
        classes: Pixels of each class by its name, over the labels that were read.
    """

    dataset: str
    images: int = 0
    labels: int = 0
    checked: int = 0
    sizes: Counter[Size] = field(default_factory=Counter)
    classes: dict[str, int] = field(default_factory=dict)


@dataclass
class Report:
    """What came of a check.

    Attributes:
        looked: One entry a data set.
        findings: Errors first.
        limit: Images a set that were read at most; None: all.
    """

    looked: list[Looked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    limit: int | None = None

    def count(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def sort(self) -> None:
        """Put errors first; the order among them stays."""
        self.findings.sort(key=lambda finding: finding.severity != "error")

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, with all files of each finding."""
        content: dict[str, Any] = {
            "version": 1,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "limit": self.limit,
            "datasets": [
                {
                    "dataset": looked.dataset,
                    "images": looked.images,
                    "labels": looked.labels,
                    "checked": looked.checked,
                    "sizes": {f"{w}x{h}": n for (h, w), n in looked.sizes.most_common()},
                    "class_pixels": looked.classes,
                }
                for looked in self.looked
            ],
            "findings": [asdict(finding) for finding in self.findings],
        }
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode("ascii"))


def of_folder(dataset: str, misfit: Misfit) -> Finding:
    """What a listing found, as a finding."""
    severity = FOLDER_KINDS[misfit.kind]
    return Finding(severity, misfit.kind, dataset, misfit.told, misfit.advice, misfit.files)


def of_set(
    dataset: str, kind: str, detail: str = "", files: Sequence[str] = (), advice: str = ""
) -> Finding:
    """A finding about a set as a whole.

    Args:
        dataset: Its name.
        kind: A key of `SET_KINDS`.
        detail: Follows the text of the kind.
        files: Full paths.
        advice: In place of that of the kind.
    """
    known = SET_KINDS[kind]
    text = f"{known.text}: {detail}" if detail else known.text
    return Finding(known.severity, kind, dataset, text, advice or known.advice, tuple(files))


def of_files(dataset: str, observations: Iterable[Observation]) -> list[Finding]:
    """One finding for each kind of observation, in the order of `FILE_KINDS`.

    >>> seen = [Observation("label ids", "a.png", (9,)), Observation("label ids", "b.png", (9, 12))]
    >>> of_files("source", seen)[0].text
    'labels with ids that the data set does not name: id 9 (2 files), 12 (1 file)'
    """
    by_kind: dict[str, list[Observation]] = {}
    for observation in observations:
        by_kind.setdefault(observation.kind, []).append(observation)
    findings = []
    for kind, known in FILE_KINDS.items():
        seen = by_kind.get(kind)
        if not seen:
            continue
        detail = _ids(seen) or seen[0].told
        text = f"{known.text}: {detail}" if detail else known.text
        files = tuple(dict.fromkeys(observation.file for observation in seen))
        findings.append(Finding(known.severity, kind, dataset, text, known.advice, files))
    return findings


def _ids(observations: Iterable[Observation]) -> str:
    """Ids with the number of files that hold each, the most frequent first."""
    files = Counter(number for observation in observations for number in observation.ids)
    if not files:
        return ""
    shown = [f"{i} ({n} file{'s' * (n > 1)})" for i, n in files.most_common(_SHOWN_IDS)]
    more = len(files) - len(shown)
    return "id " + ", ".join(shown) + (f" and {more} more ids" if more else "")
