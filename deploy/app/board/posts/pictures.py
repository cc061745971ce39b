"""Landscapes for the seed, painted by arithmetic: no photo of anybody's, nothing to download."""

import io
import math
import random

from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
SIZE = (960, 630)

# Sky above, sky at the horizon, hills from far to near, water.
MOODS: list[tuple[Colour, Colour, Colour, Colour]] = [
    ((64, 105, 160), (250, 214, 165), (38, 70, 83), (82, 121, 150)),
    ((28, 37, 80), (236, 120, 100), (30, 30, 55), (86, 66, 110)),
    ((120, 180, 220), (225, 240, 245), (60, 110, 80), (110, 165, 185)),
    ((150, 165, 180), (225, 222, 215), (85, 100, 105), (150, 165, 170)),
    ((13, 20, 45), (60, 90, 130), (10, 18, 30), (30, 50, 80)),
    ((255, 176, 110), (255, 230, 180), (110, 70, 50), (220, 150, 110)),
]


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour in the one."""
    a, b, c = (round(x + (y - x) * share) for x, y in zip(one, other, strict=True))
    return (a, b, c)


def ridge(dice: random.Random, base: float, rough: float) -> list[float]:
    """Heights from left to right: a sum of waves."""
    waves = [(rough / n, n * dice.uniform(0.6, 1.4), dice.uniform(0, 6.3)) for n in (1, 2, 3, 5, 9)]
    return [
        base + sum(a * math.sin(f * x / SIZE[0] * 6.3 + p) for a, f, p in waves)
        for x in range(0, SIZE[0] + 8, 8)
    ]


def landscape(number: int) -> bytes:
    """The `number`-th landscape as JPEG; the same number gives the same picture."""
    dice = random.Random(number)  # noqa: S311 - a picture, not a secret
    width, height = SIZE
    high, low, hill, water = MOODS[number % len(MOODS)]
    sky = Image.new("RGB", (1, height))
    shore = int(height * dice.uniform(0.62, 0.72))
    for y in range(height):
        sky.putpixel((0, y), mix(high, low, min(1.0, y / shore) ** 1.3))
    picture = sky.resize(SIZE)
    draw = ImageDraw.Draw(picture)
    sun_x, sun_y = dice.randint(150, width - 150), dice.randint(90, shore - 120)
    glow = Image.new("L", SIZE, 0)
    ImageDraw.Draw(glow).ellipse((sun_x - 90, sun_y - 90, sun_x + 90, sun_y + 90), fill=150)
    glow = glow.filter(ImageFilter.GaussianBlur(45))
    picture.paste((255, 244, 214), (0, 0), glow)
    draw.ellipse((sun_x - 34, sun_y - 34, sun_x + 34, sun_y + 34), fill=(255, 246, 224))
    for layer in range(4):
        heights = ridge(dice, shore - 150 + layer * 45, 60 - layer * 9)
        points = [(x * 8.0, y) for x, y in enumerate(heights)]
        colour = mix(low, hill, 0.35 + 0.2 * layer)
        draw.polygon([(0, height), *points, (width, height)], fill=colour)
    mirror(picture, shore, water)
    for _ in range(dice.randint(5, 11)):
        reed(draw, dice, mix(hill, (0, 0, 0), 0.4))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=84, optimize=True)
    return out.getvalue()


def mirror(picture: Image.Image, shore: int, water: Colour) -> None:
    """Fills everything below the shore with the reflection of what is above it."""
    width, height = picture.size
    depth = height - shore
    above = picture.crop((0, shore - depth, width, shore)).transpose(
        Image.Transpose.FLIP_TOP_BOTTOM
    )
    above = above.filter(ImageFilter.GaussianBlur(3))
    tint = Image.new("RGB", above.size, water)
    below = Image.blend(above, tint, 0.38)
    lines = ImageDraw.Draw(below)
    for y in range(6, depth, 13):
        lines.line((0, y, width, y), fill=mix(water, (255, 255, 255), 0.12), width=1)
    picture.paste(below, (0, shore))


def reed(draw: ImageDraw.ImageDraw, dice: random.Random, colour: Colour) -> None:
    """One reed in the foreground."""
    width, height = SIZE
    x, tall, lean = dice.randint(0, width), dice.randint(60, 170), dice.randint(-25, 25)
    draw.line((x, height, x + lean, height - tall), fill=colour, width=4)
    top = (x + lean - 5, height - tall - 34, x + lean + 5, height - tall)
    draw.ellipse(top, fill=mix(colour, (90, 50, 20), 0.5))
