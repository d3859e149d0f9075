"""A pass over a target set: its state, and the notes by which it goes on after a stop."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uda.data.label_shards import Shard
from uda.data.pseudo_labels import MANIFEST, LabelledImage, Manifest
from uda.engine.label_settings import LabelSettings
from uda.models.state_dicts import read_file
from uda.registry import SELECTORS, build_part
from uda.selftraining import KeptPixels
from uda.selftraining.selectors import Selector
from uda.structures import PseudoLabel

PROGRESS = "progress.pth"


@dataclass
class Pass:
    """What was done, and the state with which it goes on.

    Attributes:
        selector: With its running thresholds.
        kept: Statistics of the kept pixels.
        images: In the order of labelling.
        thresholds: After each batch; none for a selector that has none.
    """

    selector: Selector
    kept: KeptPixels
    images: list[LabelledImage] = field(default_factory=list)
    thresholds: list[list[float]] = field(default_factory=list)

    @classmethod
    def start(cls, selector: Mapping[str, Any], num_classes: int, device: torch.device) -> Pass:
        """Before the first image.

        Args:
            selector: Its config.
            num_classes: K.
            device: Where the probabilities will be.
        """
        built: Selector = build_part(SELECTORS, selector, num_classes=num_classes)
        return cls(built.to(device), KeptPixels(num_classes=num_classes).to(device))

    def select(self, probs: Tensor) -> tuple[PseudoLabel, list[list[int]]]:
        """Labels of some images (N, K, H, W), and how many pixels of each class each keeps."""
        pseudo: PseudoLabel = self.selector(probs)
        counts: list[list[int]] = self.kept.update(pseudo).tolist()
        return pseudo, counts

    def note_thresholds(self) -> None:
        """Keep the thresholds after a batch, if there are any."""
        if isinstance(thresholds := getattr(self.selector, "threshold", None), Tensor):
            self.thresholds.append(thresholds.tolist())

    def state(self) -> dict[str, Any]:
        """The state alone as plain data and tensors, nothing of what was done."""
        selector, kept = _on_cpu(self.selector), _on_cpu(self.kept)
        return {"selector": selector, "kept": kept, "images": [], "thresholds": []}

    def content(self) -> dict[str, Any]:
        """All of it as plain data and tensors."""
        images = [
            [i.image, i.label, list(i.size), list(i.pixels), list(i.predicted)] for i in self.images
        ]
        return {**self.state(), "images": images, "thresholds": self.thresholds}

    def restore(self, content: Mapping[str, Any]) -> None:
        """Go on from `content` in place of what was done here."""
        self.images, self.thresholds = [], []
        self.take(content)

    def take(self, content: Mapping[str, Any]) -> None:
        """Take over the state in `content`, and add to what was done what it says was."""
        self.selector.load_state_dict(content["selector"])
        self.kept.load_state_dict(content["kept"])
        self.images += [
            LabelledImage(image, label, (size[0], size[1]), tuple(pixels), tuple(predicted))
            for image, label, size, pixels, predicted in content["images"]
        ]
        self.thresholds += content["thresholds"]

    def give(self) -> dict[str, Any]:
        """The same as `content`; what was done is then known to whoever takes it, not here."""
        content = self.content()
        self.images, self.thresholds = [], []
        return content

    def note(self, key: str) -> bytes:
        """The bytes of a file from which `restored` goes on."""
        stored = io.BytesIO()
        torch.save({"key": key, **self.content()}, stored)
        return stored.getvalue()


def _on_cpu(module: torch.nn.Module) -> dict[str, Any]:
    return {name: value.cpu() for name, value in module.state_dict().items()}


def pass_key(
    settings: LabelSettings, origin: Mapping[str, Any], names: Mapping[str, Any], shard: Shard
) -> str:
    """A digest of everything that the labels depend on.

    Args:
        settings: How labels are made.
        origin: The network: name of its file, which does not count, digest, network of it.
        names: Image and label of each path.
        shard: Of which only the number of shards counts, so that those of one pass have one key.
    """
    network = {key: value for key, value in origin.items() if key != "file"}
    content = [settings.told(), network, sorted(names.values())]
    if shard.count > 1:
        content.append({"shards": shard.count})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def restored(out: Path, key: str, shard: Shard) -> Manifest | Mapping[str, Any] | None:
    """What is left to know of earlier calls: the manifest of a finished folder or shard.

    Else the content of the last note, for `Pass.restore`; or None.

    Args:
        out: Folder of labels.
        key: From `pass_key`.
        shard: Which share of the images is to be labelled.

    Raises:
        ValueError: The folder holds labels of another pass.
    """
    for path in out.glob("manifest*.json"):
        if Manifest.read(out, path.name).settings.get("key") != key:
            raise ValueError(_of_others(out))
    for name in (MANIFEST, shard.file(MANIFEST)):
        if (out / name).is_file():
            return Manifest.read(out, name)
    for path in out.glob("progress*.pth"):
        try:
            content = read_file(path)
        except FileNotFoundError:  # another shard has just been finished
            continue
        if content["key"] != key:
            raise ValueError(_of_others(out))
        if path.name == shard.file(PROGRESS):
            return content
    return None


def _of_others(out: Path) -> str:
    return (
        f"{out.absolute()} holds pseudo-labels of another network, other settings or other images; "
        "give another folder, or remove this one."
    )
