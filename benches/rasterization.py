"""Masks a second with Pillow and scikit-image: the rivals of rasterization.rs.

    python benches/rasterization.py
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import PIL
import skimage
from PIL import Image, ImageDraw
from skimage.draw import polygon2mask

WIDTH, HEIGHT = 640, 480
POLYGONS = Path(__file__).parent.parent / "tests" / "fixtures" / "polygons.json"


def pillow(cases):
    for polygons in cases:
        canvas = Image.new("L", (WIDTH, HEIGHT), 0)
        draw = ImageDraw.Draw(canvas)
        for polygon in polygons:
            if len(polygon) > 1:
                draw.polygon(polygon, outline=1, fill=1)


def scikit_image(cases):
    for polygons in cases:
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        for polygon in polygons:
            mask |= polygon2mask(mask.shape, polygon)


def rate(run, cases, times):
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run(cases)
        seconds.append(time.perf_counter() - start)
    return len(cases) / statistics.median(seconds)


if __name__ == "__main__":
    whole, exact = [], []
    for case in json.loads(POLYGONS.read_text()):
        scale = np.array([WIDTH / case["width"], HEIGHT / case["height"]])
        polygons = [np.array(polygon) * scale for polygon in case["polygons"]]
        # What is timed gets its coordinates ready made: truncated pairs, or rows and columns.
        whole.append([[(int(x), int(y)) for x, y in polygon] for polygon in polygons])
        exact.append([np.ascontiguousarray(polygon[:, ::-1]) for polygon in polygons])
    print(f"Pillow {PIL.__version__}: {rate(pillow, whole, 15):,.0f} masks/s")
    print(f"scikit-image {skimage.__version__}: {rate(scikit_image, exact, 3):,.0f} masks/s")
