"""What a search leaves in its directory for people: trials, the front as data, the front as a picture."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from polytask.files import replacing
from polytask.fusion._base import Fusion
from polytask.fusion._json import fusion_to_json
from polytask.fusion._picture import picture
from polytask.fusion._study import Trial


def write_report(
    trials: Sequence[Trial], front: Sequence[Trial], objectives: Sequence[str], fusion: Callable[[Trial], Fusion], directory: Path
) -> None:
    """Writes `trials.csv`, `front.json` and `front.svg`, each whole or not at all.

    Args:
        trials: All trials.
        front: Those of the front.
        objectives: Names of the values.
        fusion: The fusion of a trial.
        directory: Where to.
    """
    names = list(fusion(trials[0]).weights)
    chosen = {trial.number for trial in front}
    with replacing(directory / "trials.csv") as scratch, scratch.open("w", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", *objectives, *(f"weight {name}" for name in names), "front"])
        writer.writerows([trial.number, *trial.values, *trial.weights, int(trial.number in chosen)] for trial in trials)
    points = [
        {
            "trial": trial.number,
            "values": dict(zip(objectives, trial.values, strict=True)),
            "fusion": fusion_to_json(fusion(trial)),
        }
        for trial in front
    ]
    with replacing(directory / "front.json") as scratch:
        scratch.write_text(json.dumps({"objectives": list(objectives), "front": points}, indent=2), encoding="utf8")
    with replacing(directory / "front.svg") as scratch:
        scratch.write_text(picture([trial.values for trial in trials], chosen, objectives), encoding="utf8")
