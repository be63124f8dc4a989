"""A model on heads that others really defaced: `python -m tests.benchmarks.really_defaced MODEL HEADS`.

HEADS has a manifest.csv (file, person, ...) whose files in `defaced/` are published volumes without originals.
They were looked at in this software's own pictures and judged by hand before any model was asked. Those in `other/`
show little or no face, or a skull-stripped brain: none of them may be called 'face'.
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


HEAD = "| head | judged | " + " | ".join(CLASSES) + " | goes to |\n" + "|---" * (len(CLASSES) + 3) + "|"


def asked(classifier, file, judged):
    """(line of a table, predicted class) of one file."""
    result = classifier.predict([network_inputs(read_volume(file))])[0]
    p = result.probabilities
    way = triage(p, ThresholdPolicy()).route if result.in_distribution else "refer"
    name = file.name.removesuffix(".nii.gz")
    line = f"| {name} | {judged} | " + " | ".join(f"{p[c]:.2f}" for c in CLASSES) + f" | {way} |"
    return line, predicted_class(p)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "heads"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    with (options.heads / "manifest.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    classifier = Classifier.load(options.model)
    defaced, others, clear, free = [], [], [], []
    for row in rows:
        file = options.heads / row["file"]
        if row["file"].startswith("defaced/"):
            judged = JUDGED[row["person"]]
            line, found = asked(classifier, file, judged)
            defaced.append(line)
            if not judged.startswith("unclear"):
                clear.append(found == judged.split(":")[0])
        elif row["file"].startswith("other/"):
            line, found = asked(
                classifier, file, "stripped" if "SKULL" in row["notes"] else "no face in view"
            )
            others.append(line)
            free.append(found not in ("face", "both"))
    lines = [HEAD, *defaced, "", f"{sum(clear)} of {len(clear)} clear ones right.", "",
             HEAD, *others, "", f"{sum(free)} of {len(free)} not called 'face' or 'both'."]  # fmt: skip
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
