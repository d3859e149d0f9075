"""All commands in the order of a project, one line each; a new one is a line here."""

from __future__ import annotations

GROUPS: dict[str, dict[str, str]] = {
    "data": {
        "prepare_data": "convert labels to train ids and count each class",
        "check_data": "read every file of a config; tell what would spoil a run",
        "make_toycity": "draw a small city in two styles, to try things with",
        "make_camvid_day2dusk": "make the data set CamVid, day to dusk",
    },
    "training": {
        "own_folders": "write the configs of an adaptation of own folders",
        "train": "train a method by its config",
        "train_rounds": "label, train on the labels, and again (IAST, HIAST)",
        "generate_labels": "write pseudo-labels of a target set",
        "join_labels": "join pseudo-labels that several machines have written",
        "demo": "the whole way on drawn images, in minutes",
    },
    "results": {
        "test": "score a checkpoint, or write its predictions",
        "report": "one page about one or several runs",
        "score_checkpoints": "rank checkpoints without target labels",
        "compare_runs": "name the first difference between two runs",
        "benchmark": "measure time and memory of a step, or of adapting",
    },
    "use": {
        "predict": "predict images, a folder or a video",
        "export": "write a network as ONNX or torch.export",
        "convert_checkpoint": "rename weights of SegFormer, mmseg and DAFormer's family",
        "adapt": "adapt a segmentor to a stream of images",
        "adapt_classifier": "adapt a classifier to corrupted images, and score it",
        "completion": "print what makes a shell complete the words of uda",
    },
}
"""Group, name of the module in `uda.commands`, and what the command does."""

# Started as `uda NAME` alone; the others have a file in tools/ as well.
ONLY_INSTALLED = frozenset({"completion"})


def summaries() -> dict[str, str]:
    """What each command does, by name.

    >>> summaries()["train"]
    'train a method by its config'
    """
    return {name: text for group in GROUPS.values() for name, text in group.items()}
