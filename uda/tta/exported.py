"""What `Adapter.export` gives."""

from __future__ import annotations

from torch import Tensor, nn

from uda.tta.output import Output, logits_of


class Exported(nn.Module):
    """A network whose output is the logits alone.

    Args:
        network: In evaluation mode.
        output: Where its logits are.
    """

    def __init__(self, network: nn.Module, output: Output) -> None:
        super().__init__()
        self.network, self.output = network, output
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """The logits of `image`."""
        return logits_of(self.network(image), self.output)
