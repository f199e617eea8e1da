"""Generate pascal.txt: the words for each class of PASCAL VOC, including hyponyms.

    python make.py /usr/share/wordnet > pascal.txt

The argument is the folder of the WordNet 3.0 database (Debian package `wordnet-base`), which has the same
senses as nltk's `wordnet` corpus. The synsets are those of `datasets/phrasecut.py` in timojl/clipseg. For
`person` that file has its own list of words instead of the hyponyms, which include every profession and
role. Irregular plurals are written out, by WordNet's list of exceptions and its rule for `-men`.
"""

import sys
from pathlib import Path

# In the order of PASCAL-5i. `boat` and `diningtable` are in none of the zero-shot pairs.
CLASSES = {
    "aeroplane": "aeroplane.1",
    "bicycle": "bicycle.1",
    "bird": "bird.1",
    "boat": "vessel.2",
    "bottle": "bottle.1",
    "bus": "bus.1",
    "car": "car.1",
    "cat": "cat.1",
    "chair": "chair.1",
    "cow": "cattle.1",
    "diningtable": "table.2",
    "dog": "dog.1",
    "horse": "horse.1",
    "motorbike": "motorcycle.1",
    "person": None,
    "pottedplant": "pot_plant.1",
    "sheep": "sheep.1",
    "sofa": "sofa.1",
    "train": "train.1",
    "tvmonitor": "television.3",
}
PERSON = ["person", "human", "man", "woman", "toddler", "baby", "body", "child", "infant"]


def senses(folder):
    """Return the offsets of the synsets of each lemma, the most frequent first."""
    found = {}
    for line in (folder / "index.noun").read_text("ascii").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        count = int(fields[2])
        found[fields[0]] = fields[-count:]
    return found


def synsets(folder):
    """Return the words and the offsets of the direct hyponyms of each synset."""
    found = {}
    for line in (folder / "data.noun").read_text("ascii").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split(" | ")[0].split()
        count = int(fields[3], 16)
        words = fields[4:4 + 2 * count:2]
        pointers = fields[5 + 2 * count:]
        below = [offset for symbol, offset in zip(pointers[::4], pointers[1::4]) if symbol == "~"]
        found[fields[0]] = (words, below)
    return found


def names(offset, all_synsets):
    waiting, seen, found = [offset], set(), set()
    while waiting:
        offset = waiting.pop()
        if offset in seen:
            continue
        seen.add(offset)
        words, below = all_synsets[offset]
        found.update(word.replace("_", " ").lower() for word in words)
        waiting.extend(below)
    return found


def irregular_plurals(folder):
    found = {}
    for line in (folder / "noun.exc").read_text("ascii").splitlines():
        plural, *singulars = [word.replace("_", " ") for word in line.split()]
        for singular in singulars:
            found.setdefault(singular, []).append(plural)
    return found


def with_plurals(words, irregular):
    found = set(words)
    for word in words:
        *before, last = word.split(" ")
        plurals = list(irregular.get(last, []))
        if last.endswith("man") and last not in ("human", "doberman"):
            plurals.append(last[:-2] + "en")
        found.update(" ".join([*before, plural]) for plural in plurals)
    return sorted(found)


def main():
    folder = Path(sys.argv[1])
    irregular = irregular_plurals(folder)
    index, all_synsets = senses(folder), synsets(folder)
    for name, synset in CLASSES.items():
        if synset is None:
            words = PERSON
        else:
            lemma, sense = synset.split(".")
            words = names(index[lemma][int(sense) - 1], all_synsets)
        print(f"{name}: {', '.join(with_plurals(words, irregular))}")


if __name__ == "__main__":
    main()
