"""Turn a finished run into a released model.

python -m experiments.release --run FOLDER --name lenet5-fashion-best --network lenet5
    --data Fashion-MNIST --command "the command that made the run"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors.torch import load_file

from picojoule.files import write_atomically
from picojoule.pruning.released import packed

MODELS = Path(__file__).parents[1] / "src" / "picojoule" / "data" / "models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    for name in ("name", "network", "data", "command"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--measure", default="accuracy on the test images")
    parser.add_argument("--note", default="")
    wanted = parser.parse_args()
    result = json.loads((wanted.run / "result" / "result.json").read_text())
    head = json.loads((wanted.run / "run.json").read_text())
    tensors = load_file(wanted.run / "result" / "weights.safetensors")
    raw = packed(tensors)
    sizes = {name: tensors[f"{name}.weight"].numel() for name in result["weights"]}
    kept = sum(result["weights"][name] * size for name, size in sizes.items())
    kind = "test" if "test_after" in result["accuracy"] else "validation"
    recipe = {key: value for key, value in head["recipe"].items() if key != "options"}
    card = {
        "name": wanted.name,
        "network": wanted.network,
        "classes": wanted.classes,
        "data": wanted.data,
        "measure": wanted.measure,
        "accuracy": result["accuracy"][f"{kind}_after"],
        "accuracy_unpruned": result["accuracy"][f"{kind}_before"],
        "energy": result["after"]["energy"],
        "energy_unpruned": result["before"]["energy"],
        "energy_unit": result["energy_unit"],
        "reduction": result["reduction"],
        "weights_kept": kept / sum(sizes.values()),
        "weights_kept_by_layer": result["weights"],
        "channels": result["widths"],
        "recipe": recipe | {"options": head["recipe"]["options"]},
        "seed": head["seed"],
        "versions": head["versions"],
        "command": wanted.command,
        "bytes": len(raw),
    }
    if result.get("bits"):
        card["bits"] = result["bits"]
    if wanted.note:
        card["note"] = wanted.note
    MODELS.mkdir(parents=True, exist_ok=True)
    write_atomically(MODELS / f"{wanted.name}.safetensors", raw)
    write_atomically(MODELS / f"{wanted.name}.json", json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
