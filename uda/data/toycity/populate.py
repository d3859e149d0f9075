"""Random things on a street: trees, barriers, poles, vehicles, people."""

from __future__ import annotations

import math

import numpy as np

from uda.data.toycity import palette
from uda.data.toycity.camera import Camera
from uda.data.toycity.scene import Barrier, Person, Pole, Road, Side, Thing, Tree, Vehicle
from uda.data.toycity.style import Style

CAR, TRUCK, BUS, TRAIN, MOTORCYCLE = 13, 14, 15, 16, 17
_SIZES = {  # length, width, height in metres
    "hatch": (4.0, 1.72, 1.48),
    "sedan": (4.6, 1.78, 1.44),
    "suv": (4.6, 1.85, 1.75),
    "van": (5.2, 1.95, 2.2),
    "truck": (8.0, 2.4, 3.4),
    "bus": (11.0, 2.5, 3.2),
    "tram": (16.0, 2.5, 3.4),
}
_FLEET = (
    ("hatch",) * 18 + ("sedan",) * 10 + ("suv",) * 9 + ("van",) * 7
    + ("truck",) * 3 + ("bus",) * 2 + ("tram",)
)  # fmt: skip
_POSTS = ("sign",) * 10 + ("board",) * 3 + ("signal",) * 5 + ("twin",) * 2
_CLASSES = {"truck": TRUCK, "bus": BUS, "tram": TRAIN}


def populate(
    rng: np.random.Generator,
    style: Style,
    camera: Camera,
    sides: tuple[Side, Side],
    road: Road,
) -> list[Thing]:
    """Everything but buildings, unordered."""
    things: list[Thing] = []
    for side in sides:
        things += _trees(rng, style, side, road)
        things += _barriers(rng, side, road)
        things += _poles(rng, style, side, road)
        things += _parked(rng, style, side, road)
    things += _traffic(rng, style, sides, road)
    things += _walkers(rng, style, sides, road)
    things += _riders(rng, style, sides)
    vehicles = [thing for thing in things if isinstance(thing, Vehicle)]
    free = [t for t in things if not isinstance(t, Person) or not _run_over(t, vehicles)]
    return [thing for thing in free if _in_view(thing, camera)]


def _run_over(person: Person, vehicles: list[Vehicle]) -> bool:
    """Whether a person stands inside a vehicle."""
    for car in vehicles:
        length, width, _ = car.size
        along = abs(math.cos(car.yaw))
        half_x = (width * along + length * (1 - along)) / 2 + 0.3
        half_z = (length * along + width * (1 - along)) / 2 + 0.6
        if abs(person.x - car.x) < half_x and abs(person.depth - car.depth) < half_z:
            return True
    return False


def _in_view(thing: Thing, camera: Camera) -> bool:
    if isinstance(thing, Barrier):
        return True
    column, _ = camera.foot(thing.x, thing.depth)
    margin = 6 * camera.scale_at(thing.depth)
    return -margin < column < camera.width + margin


def _between(rng: np.random.Generator, first: float, last: float) -> float:
    """A uniform number between two in any order (lateral positions run outwards)."""
    return first + (last - first) * float(rng.random())


def _open(depth: float, road: Road) -> bool:
    """Whether a depth is clear of the junction."""
    return road.junction is None or not road.junction[0] - 1 < depth < road.junction[1] + 1


def _trees(rng: np.random.Generator, style: Style, side: Side, road: Road) -> list[Thing]:
    things: list[Thing] = []
    bare = rng.random() < style.bare
    hue = palette.leaf_colour(rng)
    along = rng.random() < (style.trees if side.built else 0.6)
    outside = side.walk - side.sign * rng.uniform(0.2, 0.8)
    depth = float(rng.uniform(5, 25))
    while along and depth < 100:
        if _open(depth, road):
            things.append(_tree(rng, outside, depth, bare, hue))
        depth += float(rng.uniform(6, 26))
    if not side.built:
        depth = float(rng.uniform(3, 8))
        while depth < 110:
            x = side.front + side.sign * rng.uniform(-1, 9)
            if _open(depth, road):
                things.append(_tree(rng, x, depth, bare and rng.random() < 0.7, hue))
            depth += float(rng.uniform(1, 7))
    elif abs(side.front - side.walk) > 1:
        for _ in range(int(rng.integers(0, 9))):
            depth = float(rng.uniform(5, 70))
            x = float(_between(rng, side.walk, side.front))
            kind = "bush" if rng.random() < 0.75 else "leafy"
            size = rng.uniform(0.8, 2.6) if kind == "bush" else rng.uniform(3, 6)
            colour = palette.vary(rng, hue, 0.2)
            if _open(depth, road):
                things.append(Tree(x, depth, float(size), float(size) * 1.1, kind, colour))
    for _ in range(int(rng.integers(0, 8))):  # behind the houses and at the end of the street
        depth = float(rng.uniform(50, 112))
        x = side.front + side.sign * float(rng.uniform(-4, 14))
        things.append(_tree(rng, x, depth, bare, hue))
    return things


def _tree(
    rng: np.random.Generator, x: float, depth: float, bare: bool, hue: tuple[float, float, float]
) -> Tree:
    draw = rng.random()
    kind = "bare" if bare else "leafy"
    if draw < 0.15:
        kind = "conifer"
    elif draw < 0.28:
        kind = "bush"
    height = float({"bush": rng.uniform(1.2, 4)}.get(kind, rng.uniform(5, 14)))
    slim = {"conifer": (0.3, 0.5), "bush": (0.9, 1.6)}.get(kind, (0.5, 0.95))
    return Tree(
        x=float(x),
        depth=depth,
        height=height,
        width=height * float(rng.uniform(*slim)),
        kind=kind,
        colour=palette.vary(rng, hue, 0.15),
    )


def _barriers(rng: np.random.Generator, side: Side, road: Road) -> list[Thing]:
    things: list[Thing] = []
    yard = abs(side.front - side.walk) > 1
    if rng.random() < (0.8 if yard else 0.12):
        place = side.walk if yard else side.kerb + side.sign * 0.35
        kinds = ["railing", "boards", "wall", "hedge"] if yard else ["railing"]
        depth = float(rng.uniform(-2, 8))
        kind = palette.choose(rng, kinds)
        colour = _barrier_colour(rng, kind)
        while depth < 80:
            length = float(rng.uniform(6, 25))
            if rng.random() < 0.3:
                kind = palette.choose(rng, kinds)
                colour = _barrier_colour(rng, kind)
            low = {"wall": (0.6, 2.4), "hedge": (1.0, 2.4), "boards": (1.2, 2.1)}
            height = float(rng.uniform(*low.get(kind, (0.9, 1.7))))
            near, far = max(depth, 1.5), depth + length
            if far > near + 1 and _open(near, road) and _open(far, road):
                spans = road.junction is not None and near < road.junction[0] < far
                if not spans:
                    things.append(Barrier(side.sign, place, near, far, height, kind, colour))
                    if kind in ("railing", "wall") and yard and rng.random() < 0.4:
                        hedge, tall = palette.leaf_colour(rng), height * rng.uniform(0.8, 1.6)
                        behind = place + side.sign * 0.4
                        things.append(
                            Barrier(side.sign, behind, near, far, float(tall), "hedge", hedge)
                        )
            depth = far + palette.choose(rng, (0.0, 1.5, 4.0, 15.0))
    return things


def _barrier_colour(rng: np.random.Generator, kind: str) -> tuple[float, float, float]:
    if kind == "hedge":
        return palette.leaf_colour(rng)
    if kind == "wall":
        return palette.wall_colour(rng, "brick" if rng.random() < 0.6 else "stone")
    if kind == "boards":
        return palette.vary(rng, (126, 98, 72), 0.25)
    choice = ((40, 44, 46), (150, 152, 150), (70, 84, 74), (96, 100, 122))
    return palette.vary(rng, choice[int(rng.integers(4))], 0.2)


def _poles(rng: np.random.Generator, style: Style, side: Side, road: Road) -> list[Thing]:
    things: list[Thing] = []
    grey = palette.vary(
        rng, palette.choose(rng, ((112, 116, 116), (150, 152, 150), (48, 52, 50))), 0.2
    )
    spot = side.kerb + side.sign * rng.uniform(0.3, 0.9)
    tall = float(rng.uniform(5.5, 9))
    depth = float(rng.uniform(6, 30))
    while depth < 105 and rng.random() < 0.97:
        things.append(Pole(spot, depth, tall, "lamp", grey, -side.sign))
        depth += float(rng.uniform(0.8, 1.6)) * style.furniture
    depth = float(rng.uniform(5, 25))
    while depth < 80:
        kind = palette.choose(rng, _POSTS)
        x = side.kerb + side.sign * float(rng.uniform(0.3, 1.2))
        things.append(Pole(x, depth, float(rng.uniform(2.3, 3.6)), kind, grey, -side.sign))
        depth += float(rng.uniform(0.3, 1.3)) * style.furniture
    if road.junction is not None and rng.random() < 0.6:
        x = side.kerb + side.sign * float(rng.uniform(0.3, 1.0))
        things.append(Pole(x, road.junction[0] - 1.5, 3.1, "signal", grey, -side.sign))
    if rng.random() < 0.25:
        first = float(rng.uniform(5, 25))
        for number in range(int(rng.integers(2, 9))):
            x = side.kerb + side.sign * 0.45
            things.append(Pole(x, first + 1.8 * number, 1.0, "bollard", grey, 0))
    if road.crossing is not None and rng.random() < 0.7:
        x = side.kerb + side.sign * 0.5
        things.append(Pole(x, road.crossing + 1.0, 2.9, "beacon", grey, 0))
    return things


def _vehicle(rng: np.random.Generator, x: float, depth: float, yaw: float) -> Vehicle:
    kind = palette.choose(rng, _FLEET)
    length, width, height = _SIZES[kind]
    scale = 1 + 0.06 * rng.standard_normal(3)
    colour = palette.car_colour(rng)
    if kind in _CLASSES and rng.random() < 0.7:
        colour = palette.bright_colour(rng)
    return Vehicle(
        x=float(x),
        depth=float(depth),
        yaw=float(yaw),
        kind=kind,
        class_id=_CLASSES.get(kind, CAR),
        size=(length * scale[0], width * scale[1], height * scale[2]),
        colour=colour,
    )


def _parked(rng: np.random.Generator, style: Style, side: Side, road: Road) -> list[Thing]:
    if rng.random() > style.parked:
        return []
    things: list[Thing] = []
    depth = float(rng.uniform(4.5, 16))
    share = rng.uniform(0.3, 1.0)
    bays = rng.random() < 0.15 and abs(side.kerb) > 4.5  # parked across
    while depth < 70:
        if rng.random() < share and _open(depth, road) and _open(depth + 4, road):
            yaw = math.pi if rng.random() < 0.5 else 0.0
            x = side.kerb - side.sign * rng.uniform(0.95, 1.15)
            if bays:
                yaw = side.sign * rng.uniform(1.2, 1.6)
                x = side.kerb - side.sign * 2.2
            car = _vehicle(rng, x, depth, yaw + rng.normal(0, 0.03))
            if car.class_id == CAR and abs(x) > 1.9:
                things.append(car)
        depth += float(rng.uniform(2.5, 3.2) if bays else rng.uniform(5.2, 7.5))
    return things


def _traffic(
    rng: np.random.Generator, style: Style, sides: tuple[Side, Side], road: Road
) -> list[Thing]:
    things: list[Thing] = []
    left, right = sides[0].kerb, sides[1].kerb
    taken: list[tuple[float, float]] = []
    for _ in range(int(rng.poisson(style.traffic))):
        ahead = rng.random() < 0.5
        depth = float(np.exp(rng.uniform(math.log(7.5), math.log(75))))
        middle = road.lane if road.lane is not None else (left + right) / 2
        # The camera's own half of the road lies around x = 0.
        own = (left + min(middle, right)) / 2 if left + right > 0 else (right + middle) / 2
        other = left + right - own
        x = (own if ahead else other) + float(rng.normal(0, 0.3))
        yaw = (0.0 if ahead else math.pi) + float(rng.normal(0, 0.05))
        if road.junction is not None and rng.random() < 0.2:
            depth = (road.junction[0] + road.junction[1]) / 2
            x, yaw = float(rng.uniform(left, right)), palette.choose(rng, (-1, 1)) * math.pi / 2
        if any(abs(depth - z) < 9 and abs(x - q) < 3 for z, q in taken):
            continue
        taken.append((depth, x))
        things.append(_vehicle(rng, x, depth, yaw))
    return things


def _walkers(
    rng: np.random.Generator, style: Style, sides: tuple[Side, Side], road: Road
) -> list[Thing]:
    things: list[Thing] = []
    for _ in range(int(rng.poisson(style.walkers))):
        side = sides[int(rng.integers(2))]
        depth = float(np.exp(rng.uniform(math.log(5), math.log(60))))
        x = float(_between(rng, side.verge, side.walk))
        sideways = bool(rng.random() < 0.35)
        if road.crossing is not None and rng.random() < 0.3:
            depth, x = road.crossing + 1.5, float(rng.uniform(sides[0].kerb, sides[1].kerb))
            sideways = True
        for _ in range(1 + int(rng.poisson(0.6))):
            height = float(rng.normal(1.72, 0.1)) * (0.7 if rng.random() < 0.06 else 1.0)
            shift = float(rng.uniform(-1.2, 1.2))
            place = float(x + rng.uniform(-0.8, 0.8))
            things.append(Person(place, max(4.0, depth + shift), height, "", sideways))
    return things


def _riders(rng: np.random.Generator, style: Style, sides: tuple[Side, Side]) -> list[Thing]:
    things: list[Thing] = []
    for _ in range(int(rng.poisson(style.riders))):
        side = sides[int(rng.integers(2))]
        depth = float(np.exp(rng.uniform(math.log(5.5), math.log(40))))
        x = side.kerb - side.sign * float(rng.uniform(0.5, 1.4))
        mount = "motorcycle" if rng.random() < 0.15 else "bicycle"
        sideways = bool(rng.random() < 0.25)
        things.append(Person(x, depth, float(rng.normal(1.75, 0.07)), mount, sideways))
    for _ in range(int(rng.poisson(0.35))):  # parked without a rider
        side = sides[int(rng.integers(2))]
        mount = "bare motorcycle" if rng.random() < 0.35 else "bare bicycle"
        x = float(_between(rng, side.verge, side.walk))
        things.append(Person(x, float(rng.uniform(6, 35)), 1.75, mount, rng.random() < 0.6))
    return things
