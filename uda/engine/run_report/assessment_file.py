"""Assessments kept beside their run, so that a second report does not predict again."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from uda.engine.run_report.assessment import Assessment
from uda.files import write_atomically

FOLDER = "report"
_FORMAT = "1"
_ARRAYS = ("matrices", "bins", "pixels", "confidence", "entropy")


def assessment_file(run: Path, network: str, images: str | None) -> Path:
    """Where the assessment of a network is kept.

    Args:
        run: Folder of the run.
        network: `"student"` or `"teacher"`.
        images: Name of the evaluation set; None for the validation set.
    """
    return run / FOLDER / f"{network}{'' if images is None else '_' + images}.npz"


def write_assessment(path: Path, assessment: Assessment, key: str) -> None:
    """Write an assessment, whole or not at all.

    Args:
        path: From `assessment_file`.
        assessment: What to keep.
        key: What it depends on; `read_assessment` gives it back only for the same.

    Raises:
        OSError: The folder cannot be written.
    """
    content = {
        "key": np.array(f"{_FORMAT} {key}"),
        "files": np.array(list(assessment.files)),
        **{name: getattr(assessment, name) for name in _ARRAYS},
        **{f"prediction_{n}": one for n, one in enumerate(assessment.predictions)},
        **{f"truth_{n}": one for n, one in enumerate(assessment.truths)},
    }
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **content)
    write_atomically(path, file.getvalue())


def read_assessment(path: Path, key: str) -> Assessment | None:
    """The assessment in a file; None if there is none, a damaged one, or one of something else.

    Args:
        path: From `assessment_file`.
        key: As written.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["key"]) != f"{_FORMAT} {key}":
                return None
            files = [str(name) for name in found["files"]]
            return Assessment(
                files=files,
                **{name: found[name] for name in _ARRAYS},
                predictions=[found[f"prediction_{n}"] for n in range(len(files))],
                truths=[found[f"truth_{n}"] for n in range(len(files)) if f"truth_{n}" in found],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
