"""Procedural pictures: a textured shape somewhere on a ground, with things in the way.

15 classes = 5 shapes (disc, ring, triangle, cross, star) × 3 textures (plain, stripes, checks). A network must see
fine texture and coarse outline at once, so kernel sizes, depth and width all matter; plain shapes are a way in.
Nuisance, drawn anew for each picture: place, size, rotation, squeeze, colours, period, direction and contrast of the
texture, a ground with a gradient and a weak texture of its own, up to two occluding bars, brightness, noise.
The classes look the same mirrored, so flipping keeps the label.

The ranges below set how hard it is. Validation accuracy of six random networks of 5 to 18 thousand parameters (stem
stride 2, stages of 24, 48 and 64 channels) with the default sizes and training settings: 32-51 % after 4 epochs,
34-80 % after 8, 46-95 % after 24; chance is 7 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from child_models.augmentation import AugmentationConfig
from child_models.datasets.base import SPLITS, Dataset, Split, make_dataset
from child_models.datasets.config import ShapesConfig

SIZE = 32
SHAPES = ("disc", "ring", "triangle", "cross", "star")
TEXTURES = ("plain", "stripes", "checks")
CLASS_NAMES = tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)
RADIUS = (8.5, 13.0)
"""Of the shape, pixels."""
PERIOD = (4.5, 7.5)
"""Of stripes and checks, pixels."""
DARK = (0.35, 0.75)
"""Darker tone of a texture, share of the lighter one: at 1 nothing would be seen of it."""
GROUND_TEXTURE = (0.0, 0.15)
"""Contrast of the ground's own texture."""
NOISE = (0.0, 0.1)
"""Standard deviation of each pixel's noise; 1 is white."""
BAR_SHARE = 0.2
"""Chance of each of two occluding bars."""
_TINT = 0.15
_CHUNK = 250  # pictures drawn at once: small enough for the processor's cache

Floats = NDArray[np.float32]  # mostly (pictures, height, width)


def load_shapes(config: ShapesConfig) -> Dataset:
    """Draw all pictures (about 0.15 ms each). A split's pictures do not depend on the other splits' sizes."""
    sizes = (config.num_train, config.num_validation, config.num_test)
    splits = {
        name: _draw_split(np.random.default_rng([config.seed, number]), size)
        for number, (name, size) in enumerate(zip(SPLITS, sizes, strict=True))
    }
    return make_dataset("shapes", splits, CLASS_NAMES, AugmentationConfig(shift=2, flip=True))


def _draw_split(rng: np.random.Generator, size: int) -> Split:
    labels = rng.permutation(np.arange(size, dtype=np.int64) % len(CLASS_NAMES))
    parts = [_draw(rng, labels[start : start + _CHUNK]) for start in range(0, size, _CHUNK)]
    return Split(images=np.concatenate(parts), labels=labels)


def _draw(rng: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pictures of the classes `labels`: (pictures, 3, 32, 32)."""
    count = len(labels)
    shape, texture = np.divmod(labels, len(TEXTURES))
    ground = _ground(rng, count)
    inside = _coverage(_Pose.draw(rng, count), shape)
    pattern = _texture(rng, texture)
    light = _vivid(rng, count)
    dark = light * _uniform(rng, *DARK, count)[:, None]
    body = _mix(dark, light, pattern)
    picture = ground + (body - ground) * inside[:, None]
    picture = _occlude(rng, picture)
    brightness = _uniform(rng, 0.75, 1.1, count)[:, None]
    noise = _uniform(rng, *NOISE, count)[:, None]
    picture = picture * brightness + noise * rng.standard_normal(picture.shape, dtype=np.float32)
    pixels: NDArray[np.uint8] = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return pixels


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where each picture's shape lies: coordinates of every pixel in its own frame, in radii."""

    across: Floats
    along: Floats
    radius: Floats  # (pictures, 1, 1), in pixels

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int) -> _Pose:
        radius = _uniform(rng, *RADIUS, count)
        room = np.maximum(SIZE / 2 - radius, 2.0)
        column, row = (_uniform(rng, -1.0, 1.0, count) * room for _ in range(2))
        across, along = _turned(rng, column, row, count)
        squeeze = _uniform(rng, 0.85, 1.18, count)
        return cls(across / radius * squeeze, along / radius / squeeze, radius)


def _coverage(pose: _Pose, shape: NDArray[np.int64]) -> Floats:
    """How much of each pixel the shape covers, in [0, 1]: a signed distance, softened over a pixel."""
    distance = np.empty_like(pose.across)
    for number, outline in enumerate((_disc, _ring, _triangle, _cross, _star)):
        rows = shape == number
        distance[rows] = outline(pose.across[rows], pose.along[rows])
    coverage: Floats = np.clip(0.5 - distance * pose.radius, 0, 1)
    return coverage


def _disc(x: Floats, y: Floats) -> Floats:
    distance: Floats = np.hypot(x, y) - np.float32(0.85)
    return distance


def _ring(x: Floats, y: Floats) -> Floats:
    distance: Floats = np.abs(np.hypot(x, y) - np.float32(0.65)) - np.float32(0.25)
    return distance


def _triangle(x: Floats, y: Floats) -> Floats:
    half, high = np.float32(0.5), np.float32(np.sqrt(0.75))  # cosine and sine of 60°
    slanted = np.maximum(high * y - half * x, -high * y - half * x)
    distance: Floats = np.maximum(slanted, x) - np.float32(0.57)
    return distance


def _cross(x: Floats, y: Floats) -> Floats:
    x, y = np.abs(x), np.abs(y)
    long, wide = np.float32(0.95), np.float32(0.38)
    distance: Floats = np.minimum(np.maximum(x - long, y - wide), np.maximum(y - long, x - wide))
    return distance


def _star(x: Floats, y: Floats) -> Floats:
    """Five points at radius 1.1, notches at 0.5: the plane folded into half of one point."""
    tip, notch = 1.1, 0.5
    sector = np.float32(2 * np.pi / 5)
    radius = np.hypot(x, y)
    angle = np.abs((np.arctan2(y, x) % sector) - sector / 2)  # 0 at a point, π/5 at a notch
    along, aside = radius * np.cos(angle), radius * np.sin(angle)
    edge = np.array([notch * np.cos(np.pi / 5) - tip, notch * np.sin(np.pi / 5)])
    normal = (np.array([edge[1], -edge[0]]) / np.hypot(*edge)).astype(np.float32)
    distance: Floats = normal[0] * (along - np.float32(tip)) + normal[1] * aside
    return distance


def _texture(rng: np.random.Generator, kind: NDArray[np.int64]) -> Floats:
    """Pattern of each picture in [0, 1]; any direction and phase. Plain is 1 all over."""
    count = len(kind)
    period = _uniform(rng, *PERIOD, count)
    column, row = (_uniform(rng, 0.0, 8.0, count) for _ in range(2))  # where a wave begins
    across, along = _turned(rng, column, row, count)
    wave_x = np.sin(across * (np.float32(2 * np.pi) / period))
    wave_y = np.sin(along * (np.float32(2 * np.pi) / period))
    choices = (np.ones_like(wave_x), wave_x, wave_x * wave_y * 2)
    rows = kind[:, None, None]
    wave = np.select([rows == number for number in range(len(choices))], choices)
    pattern: Floats = np.clip(0.5 + 1.5 * wave, 0, 1)
    return pattern


def _ground(rng: np.random.Generator, count: int) -> Floats:
    """A gradient between two pale colours, with a weak texture over it: (pictures, 3, height, width)."""
    slope, _ = _turned(rng, np.float32(0), np.float32(0), count)
    first, second = (_pale(rng, count) for _ in range(2))
    gradient = _mix(first, second, np.clip(0.5 + slope / SIZE, 0, 1))
    pattern = _texture(rng, rng.integers(0, len(TEXTURES), count)) - np.float32(0.5)
    strength = _uniform(rng, *GROUND_TEXTURE, count)[:, None]
    return gradient + strength * pattern[:, None]


def _occlude(rng: np.random.Generator, picture: Floats) -> Floats:
    """Up to two straight bars, 2 to 4 pixels wide, in any direction and colour."""
    count = len(picture)
    for _ in range(2):
        offset = _uniform(rng, -12.0, 12.0, count)
        across, _along = _turned(rng, offset, np.float32(0), count)
        half_width = _uniform(rng, 1.0, 2.0, count)
        bar = np.clip(half_width + 0.5 - np.abs(across), 0, 1) * (
            rng.random((count, 1, 1)) < BAR_SHARE
        )
        colour = _pale(rng, count)
        picture = picture + (colour - picture) * bar[:, None].astype(np.float32)
    return picture


def _turned(
    rng: np.random.Generator, column: Floats | np.float32, row: Floats | np.float32, count: int
) -> tuple[Floats, Floats]:
    """Pixel coordinates from (column, row), both relative to the middle, in randomly turned axes."""
    pixels = np.arange(SIZE, dtype=np.float32) - np.float32((SIZE - 1) / 2)
    angle = _uniform(rng, 0.0, 2 * np.pi, count)
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = pixels[None, None, :] - column, pixels[None, :, None] - row
    return x * cosine + y * sine, y * cosine - x * sine


def _pale(rng: np.random.Generator, count: int) -> Floats:
    """A grey with a tint: (pictures, 3, 1, 1)."""
    grey = _uniform(rng, 0.1, 0.9, count)[:, None]
    return grey + rng.uniform(-_TINT, _TINT, (count, 3, 1, 1)).astype(np.float32)


def _vivid(rng: np.random.Generator, count: int) -> Floats:
    """One channel full, one empty, one between, in any order: (pictures, 3, 1, 1)."""
    levels = np.stack([np.ones(count), rng.random(count), np.zeros(count)], axis=1)
    colour: Floats = rng.permuted(levels, axis=1).astype(np.float32)[:, :, None, None]
    return colour


def _mix(first: Floats, second: Floats, share: Floats) -> Floats:
    return first + (second - first) * share[:, None]


def _uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Floats:
    """One number a picture: (pictures, 1, 1)."""
    return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)
