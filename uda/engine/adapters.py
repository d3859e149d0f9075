"""Registers the methods of test-time adaptation, which know nothing of registries."""

from __future__ import annotations

from uda.registry import ADAPTERS
from uda.tta import METHODS

for _name, _method in METHODS.items():
    ADAPTERS.register_module(name=_name, module=_method)
