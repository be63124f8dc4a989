"""A model on heads that others really defaced: `python -m inference.training.really_defaced MODEL HEADS`.

HEADS has a manifest.csv (file, person, ...) whose files in `defaced/` are published volumes without originals.
They were looked at in this software's own pictures and judged by hand before any model was asked. Those in `other/`
show the eyes alone at the edge of the field of view, or a skull-stripped brain: all of them are for a person to judge.
"""

import argparse
import csv
import sys
from pathlib import Path

from inference.classes import CLASSES
from inference.classifier import Classifier
from inference.projections.network_input import network_inputs
from inference.triage import Context, ThresholdPolicy, predicted_class, triage
from inference.volumes import read_volume

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
    """(line of a table, predicted class, route) of one file."""
    result = classifier.predict([network_inputs(read_volume(file))])[0]
    p = result.probabilities
    way = triage(p, ThresholdPolicy(), Context.of_network_alone(result.in_distribution)).route
    name = file.name.removesuffix(".nii.gz")
    line = f"| {name} | {judged} | " + " | ".join(f"{p[c]:.2f}" for c in CLASSES) + f" | {way} |"
    return line, predicted_class(p), way


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "heads"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    with (options.heads / "manifest.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    classifier = Classifier.load(options.model)
    defaced, others, clear, referred = [], [], [], []
    for row in rows:
        file = options.heads / row["file"]
        if row["file"].startswith("defaced/"):
            judged = JUDGED[row["person"]]
            line, found, _ = asked(classifier, file, judged)
            defaced.append(line)
            if not judged.startswith("unclear"):
                clear.append(found == judged.split(":")[0])
        elif row["file"].startswith("other/"):
            line, _, way = asked(classifier, file, "stripped" if "SKULL" in row["notes"] else "eyes alone")
            others.append(line)
            referred.append(way == "refer")
    lines = [HEAD, *defaced, "", f"{sum(clear)} of {len(clear)} clear ones right.", "",
             HEAD, *others, "", f"{sum(referred)} of {len(referred)} referred."]  # fmt: skip
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
