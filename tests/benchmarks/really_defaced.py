"""A model on heads that others really defaced: `python -m tests.benchmarks.really_defaced MODEL HEADS`.

HEADS has a manifest.csv (file, person, ...) whose files in `defaced/` are published volumes without originals.
They were looked at in this software's own pictures and judged by hand before any model was asked.
"""

import argparse
import csv
import sys
from pathlib import Path

from inference.predict import Classifier
from inference.storage import network_inputs
from inference.truth import CLASSES
from inference.volumes import read_volume
from reviews.thresholds import ThresholdPolicy, predicted_class, triage

JUDGED = {
    "studyforrest02": "pass",
    "ds000011_05": "pass",
    "ds000011_02": "face: lips",
    "ds000011_03": "face: remains of nose and mouth",
    "ds000011_04": "face: lips",
    "ds000011_01": "unclear: rough mouth",
    "ds000011_06": "unclear: lower lip",
    "ds000011_07": "unclear: rough mouth",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "heads"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    with (options.heads / "manifest.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    files = {r["person"]: options.heads / r["file"] for r in rows if r["file"].startswith("defaced/")}
    classifier = Classifier.load(options.model)
    lines = ["| head | judged | " + " | ".join(CLASSES) + " | goes to |", "|---" * (len(CLASSES) + 3) + "|"]
    right = clear = 0
    for person, judged in JUDGED.items():
        result = classifier.predict([network_inputs(read_volume(files[person]))])[0]
        p = result.probabilities
        way = triage(p, ThresholdPolicy()).route if result.in_distribution else "refer"
        lines.append(f"| {person} | {judged} | " + " | ".join(f"{p[c]:.2f}" for c in CLASSES) + f" | {way} |")
        if not judged.startswith("unclear"):
            clear += 1
            right += predicted_class(p) == judged.split(":")[0]
    sys.stdout.write("\n".join([*lines, "", f"{right} of {clear} clear ones right.", ""]))


if __name__ == "__main__":
    main()
