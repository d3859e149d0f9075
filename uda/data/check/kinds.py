"""Everything that checking data can find: how bad it is, in words, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        severity: ``"error"``: training stops there, or learns from something else than you think;
            ``"warning"``: it works, and you should know.
        text: What is there, for several files.
        advice: What to do.
    """

    severity: Severity
    text: str
    advice: str


_CACHE_AGAIN = "run `python tools/prepare_data.py --cache CONFIG` again"

# Folders: text and advice come with what `uda.data.listing` found.
FOLDER_KINDS: dict[str, Severity] = {
    "no folder": "error",
    "closed folder": "error",
    "no image": "error",
    "choice": "error",
    "broken link": "error",
    "no label": "error",
    "shared label": "error",
    "same name": "warning",
    "lone label": "warning",
    "other ending": "warning",
}

FILE_KINDS = {
    "vanished": Kind("error", "files that are no longer there", "check again"),
    "closed file": Kind(
        "error", "files that must not be read (permission denied)", "give yourself the right"
    ),
    "unreadable": Kind(
        "error", "files that the disk does not give", "fetch them again; check the disk"
    ),
    "image empty": Kind("error", "images of 0 bytes", "fetch them again, or remove them"),
    "image damaged": Kind(
        "error",
        "images that are cut off, or no images",
        "fetch or convert them again, or remove them",
    ),
    "image deep": Kind(
        "error",
        "images of more than 8 bits a channel",
        "convert them to 8 bits with the range of values that you use; they are refused, as the "
        "upper 8 bits alone may be almost black",
    ),
    "image turned": Kind(
        "error",
        "TIFF images with an orientation",
        "turn their pixels and save them without one; they are refused, as readers would turn them "
        "and not their labels",
    ),
    "image patchy": Kind(
        "warning",
        "JPEG images with damage inside: part of the picture is grey or wrong",
        "fetch them again, or remove them",
    ),
    "image orientation": Kind(
        "warning",
        "images with an EXIF orientation, which is not applied: they are used as stored, lying on "
        "their side or mirrored",
        "turn their pixels and remove the tag; labels must be drawn on the pixels as stored",
    ),
    "image grey": Kind(
        "warning", "grey images, which become three equal channels", "nothing, if that is meant"
    ),
    "image alpha": Kind(
        "warning",
        "images with an alpha channel, which is dropped: where they are transparent, the colour "
        "stored there is used",
        "nothing, if they are opaque",
    ),
    "image cmyk": Kind(
        "warning",
        "CMYK images, which are converted without their colour profile",
        "convert them to RGB if the colours matter",
    ),
    "label damaged": Kind(
        "error", "labels that are empty, cut off, or no images", "fetch or convert them again"
    ),
    "label form": Kind(
        "error",
        "labels that are not one channel of whole numbers, or of grey that readers stretch",
        "convert colour-coded labels by tools/prepare_data.py; save others as 8-bit PNG",
    ),
    "label jpeg": Kind(
        "error",
        "labels compressed as JPEG, which changes ids",
        "make them again as PNG from what they came from",
    ),
    "label turned": Kind(
        "error",
        "TIFF labels with an orientation",
        "turn their pixels and save them without one; they are refused, as readers would turn them "
        "and not their images",
    ),
    "label size": Kind(
        "error",
        "labels of another size than their image",
        "replace or remove these pairs; they must show the same pixels",
    ),
    "label ids": Kind(
        "error",
        "labels with ids that the data set does not name",
        "add the ids to label_map (255 = ignore), or set unmapped='ignore'",
    ),
    "label void": Kind(
        "warning",
        "labels without a single pixel of a class",
        "remove these pairs, or check label_map",
    ),
    "unexpected": Kind(
        "error", "files that could not be checked", "look at the first; this should not happen"
    ),
}

SET_KINDS = {
    "not built": Kind("error", "the data set cannot be read", "mend what the sentence names"),
    "one image": Kind("warning", "there is one image only", "nothing, if that is meant"),
    "mostly ignored": Kind(
        "warning",
        "most pixels of the labels are ignored",
        "check label_map: it may be that of another numbering",
    ),
    "class absent": Kind(
        "warning",
        "classes without a pixel in the labels",
        "check label_map and classes; what no label shows cannot be learnt or scored",
    ),
    "class undrawable": Kind("error", "rare class sampling cannot draw", ""),
    "class of one image": Kind(
        "warning",
        "classes that rare class sampling can draw from one image only",
        "list in sampling.classes only those to draw, or add labelled images of them",
    ),
    "stale statistics": Kind(
        "error",
        "class statistics that are not of these labels, and would be used",
        "remove the file; training counts again",
    ),
    "cache damaged": Kind("warning", "damaged files in the cache", _CACHE_AGAIN),
    "cache stale": Kind(
        "warning",
        "cached files whose images or labels have changed since: where size and time of a file are "
        "the old ones, training would not notice",
        _CACHE_AGAIN,
    ),
    "cache incomplete": Kind(
        "warning", "images that the cache lacks, which are read from their files", _CACHE_AGAIN
    ),
    "no model": Kind("error", "the model cannot be built", "mend what the sentence names"),
    "start weights": Kind(
        "error",
        "weights that training would start from, and cannot",
        "mend what the sentence names",
    ),
    "lone value": Kind("error", "the first batch of training would stop", "as the sentence says"),
    "padded": Kind(
        "warning",
        "images smaller than the crop after resizing: the rest of the crop is padding",
        "nothing, if that is meant; else a smaller crop_size or a larger scale",
    ),
    "batch of sizes": Kind(
        "error",
        "images of different sizes, which cannot be put into one batch",
        "set batch_size=1 in val_dataloader",
    ),
}
