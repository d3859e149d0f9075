"""Unsupervised domain adaptation of semantic segmentation and test-time adaptation.

    run = uda.train("configs/daformer/toycity_daformer.py")
    model = uda.load("configs/daformer/toycity_daformer.py", run.checkpoints["student"])
    label = uda.predict(model, "street.png").label

`train`, `evaluate`, `load` and `predict` stand in `uda.interface`, which is imported when one of
them is used: `import uda` loads nothing heavy. Parts are in `uda.selftraining`, `uda.methods`,
`uda.models`, `uda.data`, `uda.evaluation`, `uda.runs` and `uda.engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uda.interface import Evaluation, Model, Prediction, Run, evaluate, load, predict, train

__version__ = "0.1.0"
__all__ = ["Evaluation", "Model", "Prediction", "Run", "evaluate", "load", "predict", "train"]


def __getattr__(name: str) -> Any:
    """The public functions, when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'uda' has no attribute {name!r}")
    import uda.interface

    return getattr(uda.interface, name)


def __dir__() -> list[str]:
    """All names, those that are not imported yet as well."""
    return sorted({*globals(), *__all__})
