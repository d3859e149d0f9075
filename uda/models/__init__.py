"""Networks: encoders and decoders for mmseg's segmentors, and one face for all of them.

Importing this package puts our encoders (`MixTransformer`, `TimmEncoder`, `FoundationEncoder`,
`ViTAdapter`), heads (`DAFormerHead`, `LightHead`, `DeepLabV2Head`, `LightweightHead`,
`PyramidHead`) and segmentors (`SlidingSegmentor`, `HRDASegmentor`) into `mmseg.registry.MODELS`, so
that a plain mmseg config can name them; such a config needs
`custom_imports = dict(imports=["uda.models"])` and nothing else of this project.
"""

from __future__ import annotations

from uda._quiet import quiet_mmseg_import
from uda._token_masking import masking_tokens

quiet_mmseg_import()

from mmseg.registry import MODELS  # noqa: E402

from uda.models.daformer_head import DAFormerHead  # noqa: E402
from uda.models.deeplab_v2_head import DeepLabV2Head  # noqa: E402
from uda.models.foundation_encoder import FoundationEncoder  # noqa: E402
from uda.models.hrda_segmentor import HRDASegmentor  # noqa: E402
from uda.models.light_head import LightHead  # noqa: E402
from uda.models.lightweight_head import LightweightHead  # noqa: E402
from uda.models.mix_transformer import MixTransformer  # noqa: E402
from uda.models.peft import LoRA, Rein, SoMA, TunedEncoder  # noqa: E402
from uda.models.pyramid_head import PyramidHead  # noqa: E402
from uda.models.segmentation_network import Encoder, SegmentationNetwork  # noqa: E402
from uda.models.sliding_segmentor import SlidingSegmentor  # noqa: E402
from uda.models.timm_encoder import TimmEncoder  # noqa: E402
from uda.models.vit_adapter import ViTAdapter  # noqa: E402

for _network in (
    MixTransformer,
    TimmEncoder,
    FoundationEncoder,
    ViTAdapter,
    DAFormerHead,
    LightHead,
    DeepLabV2Head,
    LightweightHead,
    PyramidHead,
    SlidingSegmentor,
    TunedEncoder,
    LoRA,
    SoMA,
    Rein,
    HRDASegmentor,
):
    MODELS.register_module(module=_network)

__all__ = [
    "DAFormerHead",
    "DeepLabV2Head",
    "Encoder",
    "FoundationEncoder",
    "HRDASegmentor",
    "LightHead",
    "LightweightHead",
    "LoRA",
    "MixTransformer",
    "PyramidHead",
    "Rein",
    "SegmentationNetwork",
    "SlidingSegmentor",
    "SoMA",
    "TimmEncoder",
    "TunedEncoder",
    "ViTAdapter",
    "masking_tokens",
]
