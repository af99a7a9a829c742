"""Light on an object and the room around it: the last step from surface coordinates, normals and a texture to colours."""

import cv2
import numpy as np

from magicapture.world.canvas import Canvas, Linear, Radial, disc, ellipse, mix
from magicapture.world.objects.patterns import Array, noise
from magicapture.world.objects.solids import CAVITY, DARK, GLASS, LAMP, Surface
from magicapture.world.objects.textures import Texture, pattern, shadow_colour


def paint_room(canvas: Canvas, texture: Texture, light: float) -> None:
    """A wall and a floor out of focus; `light` < 0: from the left. Fills the canvas."""
    rng = np.random.default_rng([texture.seed, 29])
    wall, floor = np.asarray(texture.wall), np.asarray(texture.floor)
    x = 0.5 + 0.42 * light
    canvas.paint(canvas.all, np.minimum(wall * 1.16 + 0.04, 1), to=wall * 0.62, along=Radial((x, 0.22), 1.0, power=0.7))
    dark = float(wall.mean()) < 0.35
    kind, horizon = rng.integers(3), rng.uniform(0.52, 0.63)
    if dark:
        tint = np.asarray(texture.colours[1])
        canvas.draw(ellipse(x, 0.3, 0.34, 0.26), mix(wall, tint, 0.5), 0.35, blur=0.1, mode="add")
        for _ in range(7):
            canvas.draw(
                disc(rng.uniform((0, 0), (1, 0.55)), rng.uniform(0.015, 0.045)),
                mix(tint, (1, 1, 1), 0.2),
                rng.uniform(0.1, 0.4),
                blur=0.006,
            )
    elif kind == 0:  # the light of a window, aslant
        for k in range(2):
            for row in range(2):
                left, top = x - 0.2 + 0.19 * k, 0.04 + 0.22 * row
                pane = np.array([(left, top + 0.04), (left + 0.16, top), (left + 0.16, top + 0.19), (left, top + 0.23)])
                canvas.draw(pane, np.minimum(wall * 1.25 + 0.1, 1), 0.55, blur=0.012)
    elif kind == 1:  # an alcove
        canvas.draw(ellipse(0.5 - 0.2 * light, 0.3, 0.4, 0.42), mix(wall, floor, 0.5) * 0.92, 0.5, blur=0.05)
    else:
        for _ in range(5):
            canvas.draw(disc(rng.uniform((0, 0), (1, 0.5)), rng.uniform(0.08, 0.18)), np.minimum(wall * 1.2 + 0.08, 1), 0.28, blur=0.03)
    table = np.array([(-0.2, horizon), (1.2, horizon), (1.2, 1.2), (-0.2, 1.2)])
    canvas.draw(table, floor * 0.78, blur=0.008, to=np.minimum(floor, 0.96), along=Linear((0.5, horizon), (0.5, 0.95)))
    canvas.draw(ellipse(x, 0.86, 0.5, 0.14), np.minimum(floor * 1.1 + 0.05, 1), 0.45, blur=0.06)
    canvas.draw(table - (0, 0.02), shadow_colour(texture), 0.3, blur=0.02, mode="multiply", fade=Linear((0, horizon), (0, horizon + 0.06)))


def paint_shadow(canvas: Canvas, texture: Texture, left: float, right: float, foot: float, light: float) -> None:
    """Where the object stands, from `left` to `right` on the line `foot`: a dark touch and a long soft shadow away from the light."""
    colour, middle, half = shadow_colour(texture), (left + right) / 2, (right - left) / 2
    side = -np.sign(light)
    canvas.draw(ellipse(middle + side * (0.1 + 0.35 * half), foot - 0.025, half * 1.0 + 0.1, 0.06), colour, 0.6, blur=0.03, mode="multiply")
    canvas.draw(ellipse(middle + side * 0.02, foot - 0.012, half * 1.06, 0.035), colour, 0.8, blur=0.014, mode="multiply")
    if texture.name == "lava":
        canvas.draw(ellipse(middle, foot, half * 1.3 + 0.05, 0.07), texture.colours[1], 0.4, blur=0.04, mode="add")


def _normals(data: Array, labels: Array, n: int) -> list[Array]:
    """The normals (3, h, w) with edges between faces rounded off, as no real edge is sharp."""
    width = max(3, int(round(0.012 * n)) | 1)
    inside = (labels > 0).astype(np.float32)
    weight = cv2.blur(inside, (width, width)) + 1e-6
    soft = [cv2.blur(np.ascontiguousarray(c), (width, width)) / weight for c in data[2:5]]
    size = np.sqrt(soft[0] ** 2 + soft[1] ** 2 + soft[2] ** 2) + 1e-6
    return [c / size for c in soft]


def light_object(surface: Surface, texture: Texture, light: float, unit: float) -> None:
    """Colours every pixel of the surface; `unit`: how many object units the pattern counts as one."""
    canvas = surface.canvas
    rows, columns = np.flatnonzero(canvas.labels.any(1)), np.flatnonzero(canvas.labels.any(0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    labels, data = canvas.labels[part], surface.data[:, part[0], part[1]]
    u, v, openness = data[0] / np.float32(unit), data[1] / np.float32(unit), data[5]
    skin = pattern(texture, u, v)
    nx, ny, nz = _normals(data, labels, canvas.n)
    edge = np.clip(1 - nz, 0, 1)
    # the object's frame may be mirrored or tilted: the light is turned into it, not the normals out of it
    turn = surface.matrix / surface.scale()
    lx, ly = turn.T @ np.array([0.62 * light, -0.60])
    lz = 0.55
    size = float(np.sqrt(lx * lx + ly * ly + lz * lz))
    lx, ly, lz = lx / size, ly / size, lz / size
    bx, by = (nx, ny) if skin.bump is None else (nx + skin.bump[0], ny + skin.bump[1])
    facing = bx * lx + by * ly + nz * lz
    key = np.clip((facing + 0.18) / 1.18, 0, 1)
    wall, floor = np.asarray(texture.wall, np.float32)[:, None, None], np.asarray(texture.floor, np.float32)[:, None, None]
    sky = np.float32(0.25) + 0.5 * wall + 0.25 * wall.mean()
    up = np.clip(0.5 + 0.5 * ny, 0, 1)
    grounded = (0.62 + 0.38 * np.clip(v / 0.16, 0, 1)) * openness
    ambient = (floor * 0.75 * (1 - up) + sky * up) * 0.5 + 0.08
    colour = skin.colour * (ambient * grounded + key * openness * np.array((0.98, 0.95, 0.88), np.float32)[:, None, None])
    if texture.metal:
        colour += (skin.colour * _mirrored(texture, nx, by, nz, lx, openness) - colour) * texture.metal
    if texture.clear:
        behind = canvas.rgb[:, part[0], part[1]]
        through = texture.clear * (1 - edge)
        colour = colour * (1 - through) + (behind * 0.7 + skin.colour * 0.45) * through + edge**2 * skin.colour * 0.5
    hx, hy, hz = lx, ly, lz + 1
    half = float(np.sqrt(hx * hx + hy * hy + hz * hz))
    shine = np.clip((bx * hx + by * hy + nz * hz) / half, 0, 1)
    gloss = texture.gloss * (shine**texture.sharpness + 0.22 * shine ** (texture.sharpness / 6))
    rim = edge**3 * np.clip(0.35 - 0.9 * (nx * lx + ny * ly), 0, 1) * (0.2 + 0.5 * texture.gloss)
    colour += (gloss * 0.85 + rim * 0.6) * openness
    if skin.glow is not None:
        colour += skin.glow * 1.1
    colour = _others(texture, colour, labels, facing, shine, nx, ny, u, v)
    colour = np.where(colour > 0.8, 1 - 0.2 * np.exp((0.8 - colour) * 5), colour)  # white keeps its form
    alpha = (labels > 0).astype(np.float32)
    target = canvas.rgb[:, part[0], part[1]]
    target += (np.clip(colour, 0, 1) - target) * alpha


def _mirrored(texture: Texture, nx: Array, ny: Array, nz: Array, side: float, openness: Array) -> Array:
    """What a polished surface sees: bright sky, a dark horizon, the floor, and a strip of light at the side: (3, h, w)."""
    rx, ry = 2 * nz * nx, 2 * nz * ny
    floor = np.asarray(texture.floor, np.float32)[:, None, None]
    sky = np.clip(0.42 + 0.75 * ry, 0.2, 1.1)
    ground = np.clip(0.34 - 0.3 * ry, 0.2, 0.6)
    over = np.clip((ry + 0.02) / 0.16, 0, 1)
    band = np.exp(-(((rx - side * 1.15) / 0.2) ** 2)) + 0.5 * np.exp(-(((rx + side * 1.35) / 0.14) ** 2))
    dark = np.exp(-(((rx + side * 0.6) / 0.3) ** 2))
    tone = (ground * (1 - over) + sky * over) * (1 - 0.55 * dark) + 0.75 * band
    return (tone + 0.25 * floor * (1 - over)) * openness * 1.08


def _others(texture: Texture, colour: Array, labels: Array, facing: Array, shine: Array, nx: Array, ny: Array, u: Array, v: Array) -> Array:
    """Tyres, windows, lamps and hollows: what is not of the texture, though coloured by it."""
    dark = np.asarray(mix(texture.colours[0], (0.07, 0.07, 0.09), 0.82), np.float32)[:, None, None]
    lit = np.clip(facing, 0, 1)
    if (labels == DARK).any():
        colour = np.where(labels == DARK, dark * (0.55 + 0.9 * lit) + 0.12 * shine**12, colour)
    if (labels == GLASS).any():
        wall = np.asarray(texture.wall, np.float32)[:, None, None]
        streak = np.clip(1 - np.abs((u - 0.7 * v) * 3.2 % 1 - 0.5) * 4, 0, 1)
        glass = dark * 0.5 + wall * (0.16 + 0.5 * np.clip(v * 1.6 - 0.35, 0, 0.6)) + 0.22 * streak
        colour = np.where(labels == GLASS, glass, colour)
    if (labels == CAVITY).any():
        colour = np.where(labels == CAVITY, colour * (0.22 + 0.35 * lit), colour)
    if (labels == LAMP).any():
        lamp = np.array((1.0, 0.95, 0.75), np.float32)[:, None, None] * (0.85 + 0.3 * noise(u * 9, v * 9, 1))
        colour = np.where(labels == LAMP, lamp, colour)
    return colour
