"""Parameter-efficient tuning: a frozen encoder, and the few parameters that adapt it."""

from __future__ import annotations

from uda.models.peft.base import Tuning
from uda.models.peft.low_rank import LoRA, SoMA
from uda.models.peft.rein import Rein
from uda.models.peft.tuned_encoder import TunedEncoder

__all__ = ["LoRA", "Rein", "SoMA", "TunedEncoder", "Tuning"]
