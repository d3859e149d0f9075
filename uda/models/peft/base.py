"""What every way of tuning offers, and where the blocks of an encoder are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

# timm's ViTs, Swin and ConvNeXt call them `blocks`, Mix Transformer `block1` to `block4`.
_BLOCKS = re.compile(r"^blocks?\d*$")


class Tuning(nn.Module):
    """Few parameters that change what a frozen encoder computes.

    They act through forward hooks on the encoder's modules, so that the names of its weights stay
    as they are. A subclass says what is added.

    Attributes:
        mergeable: Whether the change can be put into the encoder's weights, so that a deployed
            network is the plain one, without cost.
    """

    mergeable = False

    def attach(self, encoder: nn.Module) -> None:
        """Make the parameters for an encoder, and hook them in; once."""
        raise NotImplementedError(f"{type(self).__name__} has to define `attach`.")

    def start(self, encoder: nn.Module) -> None:
        """Take what depends on the encoder's pretrained weights; once, after they are read."""

    def trained_parameters(self, encoder: nn.Module) -> Iterable[nn.Parameter]:
        """Parameters of the encoder itself that are trained besides."""
        return ()

    def merged(self, encoder: nn.Module) -> Mapping[str, Tensor]:
        """The encoder's weights that a merged network has instead of its own, by name."""
        return {}


def find_blocks(encoder: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of an encoder with their names, from the image on, over all its stages.

    Args:
        encoder: Has modules called `blocks` (`block1`, ...) that hold its blocks.

    Raises:
        ValueError: There are none.

    >>> import timm
    >>> [name for name, _ in find_blocks(timm.create_model("vit_tiny_patch16_224", depth=2))]
    ['blocks.0', 'blocks.1']
    """
    found: list[tuple[str, nn.Module]] = []
    for name, module in encoder.named_modules():
        if _BLOCKS.match(name.rpartition(".")[2]) and isinstance(
            module, (nn.ModuleList, nn.Sequential)
        ):
            found += [(f"{name}.{number}", block) for number, block in module.named_children()]
    if not found:
        raise ValueError(
            f"{type(encoder).__name__} has no module called `blocks` with transformer blocks in "
            "it, so that there is nothing to tune; take a Vision Transformer, or leave out tuning."
        )
    return found


def prefix_tokens(encoder: nn.Module) -> int:
    """How many leading tokens of an encoder have no place: class token and registers.

    >>> import timm
    >>> prefix_tokens(timm.create_model("vit_tiny_patch16_224", depth=1))
    1
    """
    counts = (getattr(module, "num_prefix_tokens", None) for module in encoder.modules())
    return next((int(count) for count in counts if isinstance(count, int)), 0)
