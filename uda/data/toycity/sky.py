"""The sky: a vertical gradient under clouds that shrink towards the horizon."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from uda.data.toycity.camera import Camera
from uda.data.toycity.canvas import Canvas
from uda.data.toycity.scene import Light
from uda.data.toycity.textures import TextureBank, wrap

SKY = 10


def draw_sky(
    canvas: Canvas, camera: Camera, light: Light, bank: TextureBank, rng: np.random.Generator
) -> None:
    """Fill the canvas down to the horizon (and a little below) with sky."""
    bottom = int(np.clip(camera.horizon + 4, 1, canvas.height))
    height = (np.arange(bottom, 0, -1, dtype=np.float32) / bottom)[:, None, None]  # 1 at the top
    zenith = np.array(light.zenith, np.float32)
    rim = np.array(light.sky, np.float32)
    sky = np.broadcast_to(rim + (zenith - rim) * height**0.8, (bottom, canvas.width, 3))
    if light.clouds > 0:
        cover = _clouds(canvas, camera, bottom, bank, rng)
        cover = np.clip(cover * light.cloud_gain + light.clouds * 2 - 1, 0, 1)[:, :, None]
        shade = np.array(light.cloud_colour, np.float32)
        thick = shade * (1 - light.cloud_depth * cover)
        sky = sky * (1 - cover) + thick * cover
    canvas.image[:bottom] = np.clip(sky, 0, 255).astype(np.uint8)
    canvas.label[:bottom] = SKY


def _clouds(
    canvas: Canvas, camera: Camera, bottom: int, bank: TextureBank, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Noise on a plane high above the street, (bottom, width) float32, mean near 0."""
    step = 2  # clouds are smooth: half resolution is enough
    rows = np.arange(0, bottom, step, dtype=np.float32)
    columns = np.arange(0, canvas.width, step, dtype=np.float32)
    above = np.maximum(camera.horizon - rows, 0) + 0.12 * canvas.height
    depth = 0.35 * canvas.height / above
    zoom = rng.uniform(60, 220)
    u = (columns[None, :] - camera.centre) / canvas.width * depth[:, None] * zoom * 2.5
    v = np.broadcast_to((depth * zoom)[:, None], u.shape)
    offset = rng.uniform(0, 256, 2).astype(np.float32)
    noise = cv2.remap(bank.soft, wrap(u + offset[0]), wrap(v + offset[1]), cv2.INTER_LINEAR)
    size = (canvas.width, bottom)
    return np.asarray(cv2.resize(noise, size, interpolation=cv2.INTER_LINEAR), np.float32)
