"""Rename weights: `python tools/convert_checkpoint.py IN OUT --to uda`."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "convert_checkpoint",
        description="Take a segmentor, or its Mix Transformer alone, out of a checkpoint of "
        "SegFormer, DAFormer, HRDA, MIC or mmseg. Files are read as data, no code in them runs.",
        example="daformer_gta.pth student.pth --to uda",
    )
    add = command.add_argument
    add("source", help="checkpoint with names of any of these")
    add("target", help="file to write")
    add("--to", choices=("segformer", "mmseg", "uda"), default="segformer", help="an encoder with "
        "SegFormer's (default) or mmseg's names; uda: a whole segmentor, as tools/test.py and "
        "tools/predict.py read it")  # fmt: skip
    add("--network", choices=("student", "teacher", "imagenet"), help="of a checkpoint that holds "
        "several (DAFormer, HRDA, MIC); default: the student, as published")  # fmt: skip
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 written, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Convert."""
    arguments = parser().parse_args(argv)
    import torch

    from uda.files import write_atomically
    from uda.models.mit_keys import to_mmseg_names, to_segformer_names
    from uda.models.released_checkpoints import held_networks, one_network
    from uda.models.state_dicts import read_state_dict

    tensors = read_state_dict(arguments.source)
    state = one_network(tensors, arguments.network, origin=arguments.source)
    name = (arguments.network or "student") if held_networks(tensors) else None
    whole: Any
    if arguments.to == "uda":
        whole = segmentor(arguments.source, state, name)
        state = whole["state_dict"]
    else:
        state = to_segformer_names(state)
        whole = state = to_mmseg_names(state) if arguments.to == "mmseg" else state
    content = io.BytesIO()
    torch.save(whole, content)
    write_atomically(Path(arguments.target), content.getvalue())
    of = f" of the {name}" if name else ""
    print(f"{len(state)} tensors{of} with {arguments.to} names in {arguments.target}")


def segmentor(source: str, state: Any, network: str | None) -> dict[str, Any]:
    """A deploy checkpoint of a whole segmentor.

    Raises:
        ValueError: The network has no head, or its head was never used.
    """
    from uda.models.released_checkpoints import dataset_meta, to_our_segmentor
    from uda.models.state_dicts import read_entry

    if network == "imagenet":
        raise ValueError(
            f"Of the ImageNet network in {source} the encoder alone was ever used, its head holds "
            "random numbers; use --to segformer or --to mmseg."
        )
    meta: dict[str, Any] = {}
    if found := dataset_meta(read_entry(source, "meta")):
        meta["dataset_meta"] = found
    if network:
        meta["network"] = network
    return {"state_dict": to_our_segmentor(state, origin=source), "meta": meta}
