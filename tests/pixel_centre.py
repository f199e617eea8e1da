"""The masks that scikit-image's polygon2mask gives for the polygons of polygons.json.

    pip install scikit-image==0.26.0
    python tests/pixel_centre.py tests/fixtures/polygons.json tests/fixtures/pixel_centre.json

The result is a list with, for each case, a list of rows, each the runs of set pixels as start and length
pairs. Coordinates are rounded toward zero to single precision first, as the data set is kept in memory.
"""

import json
import sys

import numpy as np
from skimage.draw import polygon2mask


def toward_zero(values):
    single = values.astype(np.float32)
    grown = np.abs(single.astype(np.float64)) > np.abs(values)
    return np.where(grown, np.nextafter(single, np.float32(0)), single).astype(np.float64)


def runs(row):
    edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(np.int8), [0]))))
    return [int(value) for start, end in zip(edges[::2], edges[1::2]) for value in (start, end - start)]


def mask(case):
    union = np.zeros((case["height"], case["width"]), dtype=bool)
    for polygon in case["polygons"]:
        rows_and_columns = toward_zero(np.array(polygon))[:, ::-1]
        union |= polygon2mask(union.shape, rows_and_columns)
    return [runs(row) for row in union]


if __name__ == "__main__":
    source, target = sys.argv[1:]
    with open(source) as file:
        cases = json.load(file)
    with open(target, "w") as file:
        json.dump([mask(case) for case in cases], file, separators=(",", ":"))
