"""Pictures as large as those of rendered heads, without a head."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

SIZE = (576, 639)


def paint(folder: Path, names: Sequence[str]) -> None:
    """One shaded ball per view; its size in bytes is like that of a rendered head."""
    folder.mkdir()
    for name in names:
        ball = Image.radial_gradient("L").resize(SIZE).point(lambda value: max(0, 220 - value))
        image = ImageChops.add(ball, Image.effect_noise(SIZE, 10).point(lambda value: value // 6))
        ImageDraw.Draw(image).text((30, 30), name, fill=255)
        image.save(folder / f"{name}.webp", quality=80)
        image.resize((SIZE[0] // 2, SIZE[1] // 2)).save(folder / f"{name}.thumb.webp", quality=80)
