"""What stands in a street, as plain data: sampled by `layout`, painted by `render`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from uda.data.toycity.camera import Camera
from uda.data.toycity.canvas import Colour


@dataclass(frozen=True)
class Light:
    """Sun, sky and air of one image.

    Attributes:
        sunny: Whether shadows are cast.
        sun_side: -1 if the sun stands left of the street, +1 right.
        left: Brightness of facades on the left (they face right).
        right: Brightness of facades on the right.
        front: Brightness of surfaces that face the camera.
        top: Brightness of surfaces that face up.
        sky: RGB of the sky at the horizon, also the colour of haze.
        zenith: RGB of the sky above.
        clouds: Cloud cover, 0 to 1.
        cloud_gain: Hardness of the clouds' edges.
        cloud_colour: RGB of thin cloud.
        cloud_depth: Darkening of thick cloud, 0 to 1.
        haze: Extinction per metre.
        lamps: Brightness of lamps, 0 to 1.
        saturation: Factor on material colours' saturation.
    """

    sunny: bool
    sun_side: int
    left: float
    right: float
    front: float
    top: float
    sky: Colour
    zenith: Colour
    clouds: float
    cloud_gain: float
    cloud_colour: Colour
    cloud_depth: float
    haze: float
    lamps: float
    saturation: float

    def paint(self, colour: Colour, shade: float, depth: float) -> Colour:
        """RGB of a material under this light at a depth in metres."""
        grey = (colour[0] + colour[1] + colour[2]) / 3
        clear = math.exp(-self.haze * depth)
        veil = (1 - clear) * 0.85
        gain, keep = shade * clear, self.saturation
        air = self.sky
        return (
            min(255.0, max(0.0, (grey + (colour[0] - grey) * keep) * gain + veil * air[0])),
            min(255.0, max(0.0, (grey + (colour[1] - grey) * keep) * gain + veil * air[1])),
            min(255.0, max(0.0, (grey + (colour[2] - grey) * keep) * gain + veil * air[2])),
        )

    def side_shade(self, sign: int) -> float:
        """Brightness of the facades of a street side, -1 left, +1 right."""
        return self.left if sign < 0 else self.right


@dataclass(frozen=True)
class Side:
    """One side of the street; lateral positions are signed metres.

    Attributes:
        sign: -1 left, +1 right.
        kerb: Where the road ends.
        verge: Where a strip of grass beyond the kerb ends (equal to kerb: none).
        walk: Where the sidewalk ends.
        front: Where the buildings stand; between walk and front lies a yard.
        yard: Ground of the yard and behind: "terrain" or "sidewalk".
        built: Whether buildings stand there; else vegetation.
    """

    sign: int
    kerb: float
    verge: float
    walk: float
    front: float
    yard: str
    built: bool


@dataclass(frozen=True)
class Road:
    """Road surface and markings; lengths in metres.

    Attributes:
        colour: RGB of the asphalt.
        walk_colour: RGB of the sidewalk.
        yard_colour: RGB of grass.
        setts: Whether the sidewalk has small setts instead of slabs.
        lane: Lateral position of the line between the directions, None for none.
        dash: Length and gap of its dashes.
        edge: Kerb lines: "none", "yellow", "white".
        crossing: Depth of a zebra crossing, None for none.
        junction: Depth range of a side street, None for none.
        islands: Positions (x, near depth, length) of raised islands.
        marks: Brightness of the markings, 0 to 1.
    """

    colour: Colour
    walk_colour: Colour
    yard_colour: Colour
    setts: bool
    lane: float | None
    dash: tuple[float, float]
    edge: str
    crossing: float | None
    junction: tuple[float, float] | None
    islands: tuple[tuple[float, float, float], ...]
    marks: float


@dataclass(frozen=True)
class Building:
    """A box along the street from depth near to far, facade at lateral position x.

    With sign 0 it closes the view at depth near and x is its left edge. `hidden_end` says that a
    neighbour covers the wall that faces the camera.
    """

    sign: int
    x: float
    near: float
    far: float
    height: float
    deep: float
    storeys: int
    roof: str
    material: str
    colour: Colour
    trim: Colour
    roof_colour: Colour
    shop: bool
    hidden_end: bool = False


@dataclass(frozen=True)
class Tree:
    """A tree or bush; kind is leafy, bare, conifer or bush; sizes in metres."""

    x: float
    depth: float
    height: float
    width: float
    kind: str
    colour: Colour


@dataclass(frozen=True)
class Barrier:
    """A fence, wall or hedge along the street from depth near to far."""

    sign: int
    x: float
    near: float
    far: float
    height: float
    kind: str
    colour: Colour

    @property
    def depth(self) -> float:
        """Depth by which it is ordered among the other things."""
        return self.near + 0.35 * (self.far - self.near)


@dataclass(frozen=True)
class Pole:
    """A post and what it carries: lamp, sign, signal, bollard, beacon."""

    x: float
    depth: float
    height: float
    kind: str
    colour: Colour
    toward: int


@dataclass(frozen=True)
class Vehicle:
    """A vehicle; yaw 0 is seen from behind, pi from the front; class as a trainId."""

    x: float
    depth: float
    yaw: float
    kind: str
    class_id: int
    size: tuple[float, float, float]
    colour: Colour


@dataclass(frozen=True)
class Person:
    """A pedestrian, or a rider when mount is bicycle or motorcycle; height in metres."""

    x: float
    depth: float
    height: float
    mount: str
    sideways: bool


Thing = Tree | Barrier | Pole | Vehicle | Person


@dataclass(frozen=True)
class Scene:
    """A whole street."""

    camera: Camera
    light: Light
    road: Road
    sides: tuple[Side, Side]
    buildings: tuple[Building, ...]
    things: tuple[Thing, ...] = field(default=())
