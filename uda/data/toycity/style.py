"""The two domains as sets of ranges."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """How a domain looks and what occurs in it. Ranges are (low, high), drawn uniformly.

    Attributes:
        name: Name, also part of the random stream: two styles never share a scene.
        family: Texture family, see `textures.texture_bank`.
        focal: Focal length / image width.
        elevation: Camera height in metres.
        horizon: Row of the horizon / image height.
        centre: Column of the vanishing point / image width.
        curve: Largest bend of the street in 1/metres.
        sunny: Probability of direct sun (cast shadows, bright and dark street sides).
        clouded: Probability of a white or grey sky instead of a blue one.
        bare: Probability that a broad-leaved tree is without leaves.
        saturation: Factor on all material colours' saturation.
        sky_light: Brightness of the sky, 0-255.
        daylight: Brightness of the street below that sky.
        exposure: Factor on the finished image.
        gamma: Exponent on the finished image; above 1 darkens the middle.
        contrast: Factor around middle grey.
        cast: RGB factors of the light.
        cast_jitter: Spread of the colour cast.
        haze: Extinction per metre.
        grain: Standard deviation of the sensor noise in grey levels.
        blur: Standard deviation of the blur in pixels at 320 columns.
        sharpen: Strength of the unsharp mask.
        vignette: Darkening of the corners, 0 to 1.
        lamps: Brightness of tail lamps, head lamps and signals, 0 to 1.
        traffic: Mean number of moving vehicles.
        parked: Probability that a kerb has parked cars.
        walkers: Mean number of groups of pedestrians.
        riders: Mean number of riders on bicycles or motorcycles.
        trees: Probability that a street side has trees.
        built: Probability that a street side is built up rather than green.
        furniture: Mean distance in metres between poles of a kind.
    """

    name: str
    family: str
    focal: Range
    elevation: Range
    horizon: Range
    centre: Range
    curve: float
    sunny: float
    clouded: float
    bare: float
    saturation: Range
    sky_light: Range
    daylight: Range
    exposure: Range
    gamma: Range
    contrast: Range
    cast: tuple[float, float, float]
    cast_jitter: float
    haze: Range
    grain: Range
    blur: Range
    sharpen: Range
    vignette: Range
    lamps: Range
    traffic: float
    parked: float
    walkers: float
    riders: float
    trees: float
    built: float
    furniture: float

    @staticmethod
    def source() -> Style:
        """The game domain: clear daylight in wide variety, saturated, sharp.

        Example:
            >>> Style.source().name
            'source'
        """
        return Style(
            name="source",
            family="game",
            focal=(0.85, 1.2),
            elevation=(1.25, 1.75),
            horizon=(0.44, 0.58),
            centre=(0.36, 0.64),
            curve=0.0012,
            sunny=0.5,
            clouded=0.72,
            bare=0.68,
            saturation=(0.15, 0.85),
            sky_light=(225.0, 310.0),
            daylight=(0.8, 1.1),
            exposure=(0.8, 1.2),
            gamma=(0.8, 1.25),
            contrast=(0.95, 1.35),
            cast=(1.0, 1.0, 1.0),
            cast_jitter=0.025,
            haze=(0.0005, 0.006),
            grain=(0.5, 3.0),
            blur=(0.0, 0.45),
            sharpen=(0.0, 1.0),
            vignette=(0.0, 0.15),
            lamps=(0.3, 0.9),
            traffic=1.9,
            parked=0.42,
            walkers=5.0,
            riders=1.0,
            trees=0.5,
            built=0.76,
            furniture=17.0,
        )

    @staticmethod
    def target() -> Style:
        """The film domain: dusk, dark, low contrast, noisy, greener, a higher and narrower camera.

        Example:
            >>> Style.target().family
            'film'
        """
        return Style(
            name="target",
            family="film",
            focal=(1.15, 1.4),
            elevation=(1.7, 2.3),
            horizon=(0.4, 0.5),
            centre=(0.42, 0.58),
            curve=0.0008,
            sunny=0.0,
            clouded=0.9,
            bare=0.3,
            saturation=(0.3, 0.7),
            sky_light=(180.0, 240.0),
            daylight=(0.38, 0.6),
            exposure=(0.65, 0.88),
            gamma=(1.05, 1.3),
            contrast=(0.8, 1.0),
            cast=(0.78, 0.94, 1.17),
            cast_jitter=0.03,
            haze=(0.003, 0.009),
            grain=(6.0, 12.0),
            blur=(0.4, 0.8),
            sharpen=(0.0, 0.0),
            vignette=(0.15, 0.4),
            lamps=(0.8, 1.0),
            traffic=3.2,
            parked=0.5,
            walkers=4.5,
            riders=1.2,
            trees=0.8,
            built=0.6,
            furniture=26.0,
        )
