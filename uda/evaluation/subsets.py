"""Named subsets of a class list, chosen by name so that they fit any order of classes.

SYNTHIA has no terrain, truck and train, so results on SYNTHIA -> Cityscapes are published over the
other 16 classes, and over 13 by older methods that also leave out wall, fence and pole. The
published convention is to average, over the subset, the per-class IoUs of the FULL 19-class
confusion matrix. A network trained without terrain and never predicting it then loses the pixels it
puts on real terrain as false positives of other classes, exactly as in the published tables.
Cutting the matrix down to 16 x 16 first would give higher numbers that compare with nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

CITYSCAPES_CLASSES: tuple[str, ...] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
_NOT_IN_SYNTHIA = frozenset({"terrain", "truck", "train"})
_THIN_OR_RARE = frozenset({"wall", "fence", "pole"})

NAMED_SUBSETS: dict[str, tuple[str, ...]] = {
    "19": CITYSCAPES_CLASSES,
    "16": tuple(name for name in CITYSCAPES_CLASSES if name not in _NOT_IN_SYNTHIA),
    "13": tuple(name for name in CITYSCAPES_CLASSES if name not in _NOT_IN_SYNTHIA | _THIN_OR_RARE),
}

ClassChoice = int | str | Sequence[int | str]


def class_subset(
    name_or_ids: ClassChoice, class_names: Sequence[str] = CITYSCAPES_CLASSES
) -> tuple[int, ...]:
    """Return the ids of a subset within a class list.

    Args:
        name_or_ids: A named subset (16 or "16", see `NAMED_SUBSETS`), or a sequence of class names
            and ids.
        class_names: The data set's classes; a class's id is its position.

    Returns:
        Ids in the order asked for.

    Raises:
        ValueError: The subset or a class in it is unknown, empty, or given twice.

    >>> class_subset(16)
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)
    >>> class_subset(("sky", "road"), ("road", "sky", "car"))
    (1, 0)
    """
    if isinstance(name_or_ids, (int, str)):
        members: Sequence[int | str] = _named(str(name_or_ids))
    else:
        members = name_or_ids
    ids = tuple(_class_id(member, class_names, name_or_ids) for member in members)
    if not ids or len(set(ids)) != len(ids):
        raise ValueError(f"a class subset needs different classes, at least one, got {members}")
    return ids


def named_subsets(
    subsets: Sequence[int | str] | Mapping[str, ClassChoice], class_names: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Return the ids of several subsets under the names that reports print.

    Args:
        subsets: Named subsets such as (16, 13), or a mapping from a name of your own to a named
            subset, class names or ids.
        class_names: The data set's classes.

    >>> named_subsets({"ground": ("road",)}, ("road", "sky"))
    {'ground': (0,)}
    """
    if not isinstance(subsets, Mapping):
        subsets = {str(name): name for name in subsets}
    return {str(name): class_subset(choice, class_names) for name, choice in subsets.items()}


def _named(name: str) -> tuple[str, ...]:
    """Return the class names of a published subset."""
    if name not in NAMED_SUBSETS:
        raise ValueError(
            f"unknown class subset {name!r}; known: {', '.join(NAMED_SUBSETS)}; "
            "give class names or ids as a list for any other"
        )
    return NAMED_SUBSETS[name]


def _class_id(member: int | str, class_names: Sequence[str], asked: ClassChoice) -> int:
    """Return the position of one class, or say which one is missing and what comes nearest."""
    if isinstance(member, int):
        if 0 <= member < len(class_names):
            return member
        raise ValueError(
            f"class subset {asked!r}: id {member} is outside [0, {len(class_names)}) of this data "
            "set's classes"
        )
    if member in class_names:
        return list(class_names).index(member)
    near = difflib.get_close_matches(member, class_names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"class subset {asked!r}: no class {member!r} in this data set, which has "
        f"{', '.join(class_names)}{hint}"
    )
