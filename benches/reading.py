"""Reads a JSON file as Python does: seconds, rate, peak memory. `python benches/reading.py FILE`"""

import json
import os
import resource
import sys
import time

path = sys.argv[1]
size = os.path.getsize(path)
start = time.perf_counter()
with open(path) as file:
    phrases = json.load(file)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(f"{len(phrases)} phrases in {seconds:.2f} s, {size / seconds / 1e6:.0f} MB/s, "
      f"peak memory {peak / 1e6:.0f} MB, {peak / size:.2f} times the file")
