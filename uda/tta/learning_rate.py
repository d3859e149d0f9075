"""One rule for the learning rate over architectures and sizes of batches."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from uda.tta.learner import OptimiserSettings


def suggested_lr(
    settings: OptimiserSettings, network: nn.Module, *, batch: int, dense: bool
) -> float:
    """The learning rate for a network and a size of batch.

    The rule of SAR's released code, on the rate that a method has for ResNet-50 and 64 images: with
    batch or group normalisation it holds from 32 images on, and below in proportion to the batch;
    with layer normalisation alone (ViT) it is 4 times that, in proportion to the batch up to 64.
    Adam's step does not depend on the size of gradients and stays; so do rates of dense
    predictions, for which a batch has as many samples as pixels, and rates that are not `scaled`.

    Args:
        settings: The method's, with its rate.
        network: What is adapted.
        batch: Images in a batch.
        dense: Whether predictions are maps.

    >>> suggested_lr(OptimiserSettings(lr=2.5e-4), nn.BatchNorm2d(3), batch=16, dense=False)
    0.000125
    >>> suggested_lr(OptimiserSettings(lr=2.5e-4), nn.LayerNorm(3), batch=64, dense=False)
    0.001
    """
    if dense or settings.kind == "adam" or not settings.scaled:
        return settings.lr
    kinds = (_BatchNorm, nn.GroupNorm, nn.InstanceNorm2d)
    if any(isinstance(module, kinds) for module in network.modules()):
        return settings.lr * min(1.0, batch / 32)
    return settings.lr * 4 * min(batch, 64) / 64
