"""What `Adapter.export` gives."""

from __future__ import annotations

from torch import Tensor, nn

from uda.tta.output import Output, Precision, run


class Exported(nn.Module):
    """A network whose output is the logits alone.

    Args:
        network: In evaluation mode.
        output: Where its logits are.
        precision: Of its passes.
    """

    def __init__(self, network: nn.Module, output: Output, precision: Precision = "full") -> None:
        super().__init__()
        self.network, self.output, self.precision = network, output, precision
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """The logits of `image`."""
        return run(self.network, image, self.output, self.precision)
