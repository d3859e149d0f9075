"""Class names, colours and raw-to-train tables of the street data sets: numbers only, no code."""

from __future__ import annotations

IGNORE_INDEX = 255

CITYSCAPES_CLASSES: tuple[str, ...] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
"""The 19 classes in the order of their train ids."""

CITYSCAPES_PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
"""RGB of each train id, as the Cityscapes colour images use them."""

CITYSCAPES_IDS: dict[int, int] = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12,
    26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
    # Known to the label tool, not used for learning: ego vehicle, parking, bridge, caravan ...
    **dict.fromkeys((0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30), IGNORE_INDEX),
}  # fmt: skip
"""Cityscapes label ids; the licence plate (-1) is not drawn in the label images."""

# GTA5 numbers its licence plates 34 where Cityscapes says -1.
GTA5_IDS: dict[int, int] = {**CITYSCAPES_IDS, 34: IGNORE_INDEX}
"""Palette indices of the GTA5 label images."""

SYNTHIA_IDS: dict[int, int] = {
    3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9, 1: 10, 10: 11, 17: 12, 8: 13,
    18: 14, 19: 15, 20: 16, 12: 17, 11: 18,
    # void, parking slot, road work, lane marking: the reference conversion ignores them.
    **dict.fromkeys((0, 13, 14, 22), IGNORE_INDEX),
}  # fmt: skip
"""Class numbers of SYNTHIA-RAND-CITYSCAPES."""

CARLA_COLOURS: dict[tuple[int, int, int], int] = {
    (0, 0, 0): IGNORE_INDEX,  # unlabelled; this version draws the sky so as well
    (70, 70, 70): 2,  # building
    (190, 153, 153): 4,  # fence
    (250, 170, 160): IGNORE_INDEX,  # other ("ground")
    (220, 20, 60): 11,  # pedestrian
    (153, 153, 153): 5,  # pole
    (157, 234, 50): 0,  # road line
    (128, 64, 128): 0,  # road
    (244, 35, 232): 1,  # sidewalk
    (107, 142, 35): 8,  # vegetation
    (0, 0, 142): 13,  # vehicle, of any kind
    (102, 102, 156): 3,  # wall
    (220, 220, 0): 7,  # traffic sign
}
"""The 13 colours of CARLA 0.9.5."""

CAMVID_CLASSES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip
"""The 11 classes CamVid is usually scored on, in the order of their ids."""

CAMVID_PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
"""RGB of the 11 classes."""

CAMVID_IDS: dict[int, int] = {
    0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 12,
    11: IGNORE_INDEX,  # void in the files that were not converted to 255
}  # fmt: skip
"""The 11 CamVid ids as Cityscapes train ids; a cyclist with the bicycle is one class: rider."""

CAMVID_COLOURS: dict[tuple[int, int, int], int] = {
    **{colour: CAMVID_IDS[k] for k, colour in enumerate(CAMVID_PALETTE)},
    # The 32 colours of the original annotation that the 11-class palette lacks.
    (0, 0, 192): 1,  # sidewalk
    (192, 128, 64): 11,  # child
    (128, 0, 192): 0,  # lane marking, drivable
    (192, 0, 64): 0,  # lane marking, not drivable
    (192, 0, 192): 17,  # motorcycle, scooter
    (64, 128, 192): 13,  # SUV, pick-up truck
    (0, 64, 64): 6,  # traffic light
    (192, 64, 128): 16,  # train
    (64, 192, 0): 3,  # wall
    # No single Cityscapes class: animal, archway, bridge, luggage or pram, text, other moving,
    # parking block, road shoulder, cone, truck or bus, tunnel, other vegetation, void.
    **dict.fromkeys(
        (
            (64, 128, 64), (192, 0, 128), (0, 128, 64), (64, 0, 192), (128, 128, 64), (128, 64, 64),
            (64, 192, 128), (128, 128, 192), (0, 0, 64), (192, 128, 192), (64, 0, 64),
            (192, 192, 0), (0, 0, 0),
        ),
        IGNORE_INDEX,
    ),
}  # fmt: skip
"""CamVid's 32 original colours and the 11-class palette as Cityscapes train ids."""

ROBOTCAR_CLASSES: tuple[str, ...] = (
    "sky", "person", "two-wheeler", "automobile", "traffic sign", "traffic light", "building",
    "sidewalk", "road",
)  # fmt: skip
"""The 9 classes of Cityscapes -> Oxford RobotCar in the order of their train ids."""

ROBOTCAR_PALETTE: tuple[tuple[int, int, int], ...] = (
    (70, 130, 180), (220, 20, 60), (119, 11, 32), (0, 0, 142), (220, 220, 0), (250, 170, 30),
    (70, 70, 70), (244, 35, 232), (128, 64, 128),
)  # fmt: skip
"""RGB of the 9 classes, those of Cityscapes' like classes."""

ROBOTCAR_IDS: dict[int, int] = {
    1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 10: 7,
    11: 8, 12: 8, 13: 8, 14: 8, 17: 8,  # road and what is painted on it
    **dict.fromkeys((0, 8, 9, 15, 16), IGNORE_INDEX),
}  # fmt: skip
"""Label ids of Oxford RobotCar as HIAST's released code maps them; a rider is a person."""

CITYSCAPES_TO_ROBOTCAR: dict[int, int] = {
    0: 8, 1: 7, 2: 6, 6: 5, 7: 4, 10: 0, 11: 1, 12: 1, 13: 3, 14: 3, 15: 3, 17: 2, 18: 2,
    **dict.fromkeys((3, 4, 5, 8, 9, 16), IGNORE_INDEX),
}  # fmt: skip
"""Cityscapes train ids as the 9 classes, for Cityscapes as the source."""
