"""Random streets: where everything stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from uda.data.toycity import palette
from uda.data.toycity.camera import Camera
from uda.data.toycity.populate import populate
from uda.data.toycity.scene import Building, Light, Road, Scene, Side, Tree
from uda.data.toycity.style import Style

HORIZON_DEPTH = 110.0  # metres; nothing is placed beyond


def sample_scene(rng: np.random.Generator, style: Style, size: tuple[int, int]) -> Scene:
    """Draw a street.

    Args:
        rng: Source of randomness.
        style: Ranges of the domain.
        size: Height and width of the image in pixels.

    Returns:
        A scene that `render.paint_scene` turns into an image and its label.
    """
    camera = _camera(rng, style, size)
    light = _light(rng, style)
    mirrored = 1 if rng.random() < 0.5 else -1
    near_kerb = rng.uniform(1.4, 3.6)  # the camera drives near this kerb
    far_kerb = rng.uniform(4.2, 7.8)
    if rng.random() < 0.2:
        far_kerb += rng.uniform(2, 6)
    kerbs = (near_kerb, far_kerb) if mirrored > 0 else (far_kerb, near_kerb)
    sides = (_side(rng, style, -1, kerbs[0]), _side(rng, style, 1, kerbs[1]))
    road = _road(rng, sides, mirrored)
    buildings = [b for side in sides for b in _row(rng, style, side, road)]
    end_buildings, end_trees = _end_of_street(rng, sides)
    buildings += end_buildings
    things = [*populate(rng, style, camera, sides, road), *end_trees]
    buildings.sort(key=lambda building: -building.near)
    things.sort(key=lambda thing: -thing.depth)
    return Scene(camera, light, road, sides, tuple(buildings), tuple(things))


def _camera(rng: np.random.Generator, style: Style, size: tuple[int, int]) -> Camera:
    height, width = size
    curve = rng.uniform(-style.curve, style.curve) if rng.random() < 0.45 else 0.0
    return Camera(
        width=width,
        height=height,
        focal=float(rng.uniform(*style.focal)) * width,
        centre=float(rng.uniform(*style.centre)) * width,
        horizon=float(rng.uniform(*style.horizon)) * height,
        elevation=float(rng.uniform(*style.elevation)),
        curve=float(curve),
    )


def _light(rng: np.random.Generator, style: Style) -> Light:
    sunny = bool(rng.random() < style.sunny)
    sun_side = -1 if rng.random() < 0.5 else 1
    bright = rng.uniform(*style.sky_light)
    cool = rng.uniform(0.0, 0.08)
    rim = (bright * (1 - cool), bright * (1 - cool * 0.4), bright)
    clouded = rng.random() < style.clouded
    blue = rng.uniform(0.15, 0.6) if not clouded else rng.uniform(0.0, 0.1)
    zenith = (rim[0] * (1 - blue), rim[1] * (1 - 0.6 * blue), rim[2] * (1 - 0.12 * blue))
    direct, shaded = rng.uniform(1.0, 1.3), rng.uniform(0.35, 0.7)
    if not sunny:
        direct, shaded = rng.uniform(0.75, 1.0), rng.uniform(0.6, 0.85)
    # A sun on the left lights the facades on the right, which face left.
    left, right = (shaded, direct) if sun_side < 0 else (direct, shaded)
    grey = bright * rng.uniform(0.9, 1.05)
    day = rng.uniform(*style.daylight)
    return Light(
        sunny=sunny,
        sun_side=sun_side,
        left=float(left * day),
        right=float(right * day),
        front=float(rng.uniform(0.55, 1.05) * day),
        top=float((rng.uniform(0.95, 1.15) if sunny else rng.uniform(0.85, 1.05)) * day),
        sky=rim,
        zenith=zenith,
        clouds=float(rng.uniform(0.45, 0.95) if clouded else rng.uniform(0.1, 0.45)),
        cloud_gain=float(rng.uniform(0.2, 0.8)),
        cloud_colour=(grey, grey, grey * 1.02),
        cloud_depth=float(rng.uniform(0.02, 0.3)),
        haze=float(rng.uniform(*style.haze)),
        lamps=float(rng.uniform(*style.lamps)),
        saturation=float(rng.uniform(*style.saturation)),
    )


def _side(rng: np.random.Generator, style: Style, sign: int, kerb: float) -> Side:
    built = bool(rng.random() < style.built)
    verge = kerb + (rng.uniform(0.8, 3.0) if rng.random() < 0.2 else 0.0)
    walk = verge + rng.uniform(1.6, 5.0)
    yard = rng.uniform(1.5, 7.0) if rng.random() < (0.35 if built else 0.9) else 0.0
    ground = "terrain" if rng.random() < (0.5 if built else 0.85) else "sidewalk"
    return Side(
        sign=sign,
        kerb=sign * kerb,
        verge=sign * verge,
        walk=sign * walk,
        front=sign * (walk + yard),
        yard=ground,
        built=built,
    )


def _road(rng: np.random.Generator, sides: tuple[Side, Side], mirrored: int) -> Road:
    left, right = sides[0].kerb, sides[1].kerb
    lane = (left + right) / 2 + rng.uniform(-0.3, 0.3) if rng.random() < 0.8 else None
    grey = rng.uniform(78, 145)
    warm = rng.uniform(-0.03, 0.05)
    junction = None
    if rng.random() < 0.4:
        near = float(rng.uniform(9, 45))
        junction = (near, near + float(rng.uniform(7, 13)))
    islands: tuple[tuple[float, float, float], ...] = ()
    if lane is not None and rng.random() < 0.15:
        islands = ((float(lane), float(rng.uniform(10, 30)), float(rng.uniform(2, 5))),)
    pale = rng.uniform(0.85, 1.35) * grey
    return Road(
        colour=(grey * (1 + warm), grey, grey * (1 - warm)),
        walk_colour=palette.vary(rng, (pale * 1.03, pale, pale * 0.94), 0.06),
        yard_colour=palette.vary(rng, (92, 108, 56) if rng.random() < 0.7 else (112, 98, 74), 0.15),
        setts=bool(rng.random() < 0.35),
        lane=None if lane is None else float(lane),
        dash=(float(rng.uniform(1.5, 4.5)), float(rng.uniform(1.5, 6))),
        edge=("none", "yellow", "white")[int(rng.integers(3))],
        crossing=float(rng.uniform(5, 30)) if rng.random() < 0.2 else None,
        junction=junction,
        islands=islands,
        marks=float(rng.uniform(0.45, 1.0)),
    )


def _row(rng: np.random.Generator, style: Style, side: Side, road: Road) -> list[Building]:
    """The buildings along one street side, or a few between the trees of a green one."""
    buildings: list[Building] = []
    depth = float(rng.uniform(-6, 3))
    terrace = rng.random() < 0.45  # a terrace repeats one house
    model = _building(rng, side, 0.0, 8.0)
    while depth < HORIZON_DEPTH:
        length = float(rng.uniform(5, 9) if terrace else rng.uniform(6, 20))
        near, far = depth, depth + length
        depth = far
        if not terrace and rng.random() < 0.25:
            depth += float(rng.uniform(1.5, 10))
        if road.junction and near < road.junction[1] + 1 and far > road.junction[0] - 1:
            depth = road.junction[1] + 1.5
            continue
        if not side.built and rng.random() < 0.8:
            continue
        if far < 2.5:
            continue
        fresh = _building(rng, side, near, far)
        if terrace and rng.random() < 0.85:
            fresh = replace(model, near=near, far=far, shop=fresh.shop and model.shop)
        if buildings and _covers(buildings[-1], fresh):
            fresh = replace(fresh, hidden_end=True)
        buildings.append(fresh)
    return buildings


def _covers(nearer: Building, building: Building) -> bool:
    """Whether a neighbour hides the wall that faces the camera."""
    joined = building.near - nearer.far < 0.1
    flush = abs(nearer.x) <= abs(building.x) + 0.1
    tall = nearer.height >= building.height - 0.1 and nearer.deep >= building.deep - 2
    low_roof = building.roof == "flat" or nearer.roof == building.roof
    return joined and flush and tall and low_roof


def _building(rng: np.random.Generator, side: Side, near: float, far: float) -> Building:
    storeys = palette.choose(rng, (1, 2, 2, 3, 3, 4, 5))
    material = palette.choose(rng, palette.WALL_NAMES)
    height = storeys * rng.uniform(2.7, 3.6) + rng.uniform(0, 1.2)
    away = 0.0 if rng.random() < 0.7 else rng.uniform(0, 2.5)
    light_trim = rng.random() < 0.7
    trim = (225.0, 222.0, 214.0) if light_trim else palette.bright_colour(rng, 0.3)
    roof = palette.choose(rng, ("flat",) * 3 + ("pitched",) * 5 + ("gable",) * 2)
    close = abs(side.front - side.walk) < 0.5
    return Building(
        sign=side.sign,
        x=side.front + side.sign * away,
        near=near,
        far=far,
        height=float(height),
        deep=float(rng.uniform(7, 14)),
        storeys=storeys,
        roof=roof if storeys < 4 else "flat",
        material=material,
        colour=palette.wall_colour(rng, material),
        trim=palette.vary(rng, trim, 0.08),
        roof_colour=palette.roof_colour(rng),
        shop=bool(close and rng.random() < 0.65),
    )


def _end_of_street(
    rng: np.random.Generator, sides: tuple[Side, Side]
) -> tuple[list[Building], list[Tree]]:
    """Buildings seen from the front (sign 0) and trees that close the view."""
    buildings: list[Building] = []
    trees: list[Tree] = []
    green = rng.uniform(0.05, 0.7)
    hue = palette.leaf_colour(rng)
    position = -75.0
    while position < 75:
        length = float(rng.uniform(9, 22))
        near = HORIZON_DEPTH + 4 + float(rng.uniform(0, 40))
        if rng.random() < green:
            for x in np.arange(position, position + length, 7.0):
                height = float(rng.uniform(3, 11))
                kind = palette.choose(rng, ("leafy", "leafy", "bare", "bush", "conifer"))
                colour = palette.vary(rng, hue, 0.2)
                trees.append(Tree(float(x), HORIZON_DEPTH + 2, height, height, kind, colour))
        else:
            model = _building(rng, sides[0], 0.0, length)
            far = near + length
            buildings.append(replace(model, sign=0, x=position, near=near, far=far, shop=False))
        position += length
    return buildings, trees
