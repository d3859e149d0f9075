"""ToyCity: generated street scenes in two domains, with exact labels.

The source domain stands for a game engine, the target for photographs taken at dusk. Nothing is
downloaded; each image is a pure function of (seed, index, style, size).
"""

from uda.data.toycity.render import render
from uda.data.toycity.style import Style
from uda.data.toycity.writer import write_toycity

__all__ = ["Style", "render", "write_toycity"]
