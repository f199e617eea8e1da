"""Reads a COCO file with COCO's own tools and compares every mask, area and box with what the file says.

    python tests/coco.py FILE [--masks PATTERN] [--answers OUT]

Needs pycocotools and numpy, and Pillow for --masks. COCO() must accept the file, and loadRes() the annotations with run
lengths; it reads no polygons. PATTERN names the picture of each annotation's mask, such as `masks/{stem}-{category_id}-*-mask.png`, with
the pixels that the annotation must decode to. --answers writes what the tools decode, as the tests read it.
"""

import argparse
import copy
import glob
import json
from pathlib import Path

import numpy as np
from pycocotools import mask as tools
from pycocotools.coco import COCO

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file", type=Path)
parser.add_argument("--masks")
parser.add_argument("--answers", type=Path)
arguments = parser.parse_args()

truth = COCO(arguments.file)
# loadRes numbers the annotations anew and changes them.
compressed = [one for one in truth.dataset["annotations"] if isinstance(one["segmentation"], dict)]
results = truth.loadRes(copy.deepcopy(compressed)) if compressed else COCO()
loaded = dict(zip((one["id"] for one in compressed), results.anns.values()))
answers = []
for annotation in truth.dataset["annotations"]:
    name = f"annotation {annotation['id']}"
    decoded = truth.annToMask(annotation).astype(bool)
    rle = truth.annToRLE(annotation)
    area, box = int(tools.area(rle)), tools.toBbox(rle).tolist()
    assert area == decoded.sum() == annotation["area"], f"{name}: area {area}, the file says {annotation['area']}"
    assert box == annotation["bbox"], f"{name}: box {box}, the file says {annotation['bbox']}"
    assert 0 <= annotation["score"] <= 1, f"{name}: score {annotation['score']}"
    if result := loaded.get(annotation["id"]):
        assert np.array_equal(results.annToMask(result), decoded), f"{name}: loadRes gives other pixels"
        # Its area is that of the box.
        for field in ("image_id", "category_id", "bbox", "score"):
            found = np.asarray(result[field]).tolist()
            assert found == annotation[field], f"{name}: loadRes gives {field} {found}"
    if arguments.masks:
        from PIL import Image

        picture = truth.imgs[annotation["image_id"]]
        pattern = arguments.masks.format(stem=Path(picture["file_name"]).stem, **annotation)
        (file,) = glob.glob(pattern)
        assert np.array_equal(np.array(Image.open(file)) > 0, decoded), f"{name}: other pixels than {file}"
    rows = []
    for row in decoded.astype(int):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]]))).tolist()
        rows.append([v for a, b in zip(edges[::2], edges[1::2]) for v in (a, b - a)])
    answers.append({"id": annotation["id"], "area": area, "box": box, "rows": rows})
print(f"{arguments.file}: COCO's tools decode {len(answers)} annotations as written, loadRes accepts {len(loaded)}")
if arguments.answers:
    arguments.answers.write_text(json.dumps(answers) + "\n")
