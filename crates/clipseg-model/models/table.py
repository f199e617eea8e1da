"""Prints mean IoU by kind of phrase, with 95 % confidence intervals by bootstrap over pictures.

    table.py DATA SPLIT NAME=ROWS.csv … [--names boat heart umbrella rocket]

DATA is a folder of `clipseg data scenes`, ROWS.csv what `clipseg eval --data DATA --split SPLIT --csv` wrote for a
model. Only Python's standard library is needed.
"""

import argparse
import csv
import json
import random
from collections import defaultdict
from pathlib import Path

DRAWS = 1000


def interval(by_picture):
    """The mean over phrases, and the middle 95 % of its values over pictures that are drawn with replacement."""
    pictures = list(by_picture.values())
    sums = [(sum(scores), len(scores)) for scores in pictures]
    draw = random.Random(0)
    means = []
    for _ in range(DRAWS):
        drawn = draw.choices(sums, k=len(sums))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    means.sort()
    mean = sum(total for total, _ in sums) / sum(count for _, count in sums)
    return mean, means[int(0.025 * DRAWS)], means[int(0.975 * DRAWS) - 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("split")
    parser.add_argument("rows", nargs="+")
    parser.add_argument("--names", nargs="*", default=[])
    arguments = parser.parse_args()

    unseen = {tuple(pair) for pair in json.loads((arguments.data / "unseen.json").read_text())["pairs"]}
    records = json.loads((arguments.data / f"refer_{arguments.split}.json").read_text())
    structure = {record["task_id"]: record["phrase_structure"] for record in records}

    def is_unseen(row):
        phrase = structure[row["task_id"]]
        return any((attribute, phrase["name"]) in unseen for attribute in phrase["attributes"])

    kinds = {
        "all": lambda row: True,
        "names alone": lambda row: "p_name" in row["subsets"].split(),
        "names with attributes": lambda row: "p_att+" in row["subsets"].split(),
        "relations": lambda row: "p_rel" in row["subsets"].split(),
        "seen pairs": lambda row: not is_unseen(row),
        "unseen pairs": is_unseen,
    }
    if arguments.names:
        names = set(arguments.names)
        kinds["held-out names alone"] = lambda row: row["phrase"] in names

    files = [one.split("=", 1) for one in arguments.rows]
    print("| phrases | number | " + " | ".join(name for name, _ in files) + " |")
    print("|---|--:|" + "---|" * len(files))
    tables = [list(csv.DictReader(Path(path).open(newline=""))) for _, path in files]
    for kind, belongs in kinds.items():
        cells = []
        for rows in tables:
            by_picture = defaultdict(list)
            for row in rows:
                if belongs(row):
                    by_picture[row["image_id"]].append(float(row["iou"]))
            number = sum(map(len, by_picture.values()))
            cells.append("{:.3f} ({:.3f} to {:.3f})".format(*interval(by_picture)) if number else "–")
        print(f"| {kind} | {number} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
