"""Price the released models anew: their cards, and one number by three ways.

python -m experiments.price --data FOLDER --trained FOLDER [--models NAME,...]
    [--weights squeezenet_weights.pkl --photos FOLDER]

A card's energies are what ``estimate`` says of what ``profile`` found: of the released network and
of the unpruned one, on the samples that its run counted densities on. FOLDER of --data holds
Fashion-MNIST, that of --trained the unpruned networks of train.py; those of --weights and --photos
are said in squeezenet.py. Writes the cards (``priced`` holds the layers with all densities and
widths, so that a card can be checked without the data) and results/released.csv, with the price by
the card, by profile and estimate, and by estimate of the network's ONNX file with that profile.

python -m experiments.price --table     docs/reference/released.md, of the cards and that table
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from picojoule.estimation import estimate
from picojoule.files import write_atomically
from picojoule.frontends.run_results import PRICED
from picojoule.network_records import network_of, network_record
from picojoule.pruning.datasets import Samples, fashion_mnist
from picojoule.pruning.graph.surgery import export_onnx
from picojoule.pruning.layers.profiling import profile
from picojoule.pruning.networks import NETWORKS
from picojoule.pruning.released import cards, load_model

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "src" / "picojoule" / "data" / "models"
RESULTS = ROOT / "experiments" / "results" / "released.csv"
PAGE = ROOT / "docs" / "reference" / "released.md"
COMMAND = "python -m experiments.price"
COLUMNS = ("model", "card", "profile_and_estimate", "onnx_and_profile")


def task_of(card: Mapping[str, Any], wanted: argparse.Namespace) -> tuple[nn.Module, Samples]:
    """The unpruned network of a card, and the samples that its run counted densities on."""
    count = card["recipe"]["options"]["profile"]
    if card["network"] == "squeezenet1.1":
        from experiments.squeezenet import Pictures, with_weights

        draw = np.random.default_rng(card["seed"])
        fitted = Pictures(wanted.photos, lambda n: n > 0)
        inputs = torch.stack(list(fitted.scenes(count, draw)))
        return with_weights(wanted.weights), Samples(inputs, torch.zeros(count).long())
    make, _ = NETWORKS[card["network"]]
    model = make(card["classes"])
    model.load_state_dict(
        load_file(wanted.trained / f"{card['network']}-{card['seed']}.safetensors")
    )
    data = fashion_mnist(wanted.data)
    return model.eval(), data.train.representative(count, card["seed"])


def priced(card: dict[str, Any], model: nn.Module, samples: Samples) -> dict[str, str]:
    """Put its energies into the card; one line of the results."""
    recipe = card["recipe"]
    asked = {
        "accelerator": recipe["accelerator"],
        "batch": recipe["batch"],
        "dataflow": recipe["dataflow"],
    }
    network = load_model(card["name"], narrow=True)
    found = profile(network, samples)
    after = estimate(found.workload, **asked).energy
    before = estimate(profile(model, samples).workload, **asked).energy
    card |= {"energy": after, "energy_unpruned": before, "reduction": before / after}
    card |= {"densities": f"counted on {len(samples)} training samples", "priced_by": COMMAND}
    card[PRICED] = network_record(found.workload)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{card['name']}.onnx"
        export_onnx(network, (samples.inputs[:1],), path)
        exported = estimate(path, profile=found, **asked).energy
    written = json.loads(json.dumps(card))
    by_card = estimate(network_of(written[PRICED], card["name"]), **asked).energy
    return dict(
        zip(COLUMNS, (card["name"], repr(by_card), repr(after), repr(exported)), strict=True)
    )


def read_results() -> dict[str, dict[str, str]]:
    """The lines of the results, by model."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open(newline="") as file:
        return {line["model"]: line for line in csv.DictReader(file)}


def page() -> str:
    """The page of the released models."""
    results = read_results()
    lines = []
    for card in cards():
        three = [float(results[card["name"]][column]) for column in COLUMNS[1:]]
        apart = max(three) / min(three) - 1
        lines.append(
            f"| `{card['name']}` | 1/{card['reduction']:.2f} | "
            + " | ".join(f"{value / 1e6:,.6f}" for value in three)
            + f" | {apart:.0e} |"
        )
    text = PAGE_HEAD.strip() + "\n\n" + "\n".join([TABLE_HEAD.strip(), *lines]) + "\n"
    return text.replace("| 0e+00 |", "| 0 |")


PAGE_HEAD = """
# Released models

`picojoule list models` names them, `picojoule.load_model(name, narrow=True)` loads the network that
the energy is of. One energy, found in three ways, in millions of MAC energies for one image on
`eyeriss-cvpr17`: by the layers that the card holds (`picojoule estimate NAME -a eyeriss-cvpr17`),
by `picojoule profile` of the network on the data and `estimate` of what it found, and by `estimate`
of the network's ONNX file with that profile (`--profile`). `python -m experiments.price` made the
cards and this table; the last column is how far the three are apart.
"""
TABLE_HEAD = """
| model | energy of the unpruned | card | `profile`, `estimate` | ONNX, `--profile` | apart |
| --- | --- | --- | --- | --- | --- |
"""


def main(
    task: Callable[[Mapping[str, Any], argparse.Namespace], tuple[nn.Module, Samples]] = task_of,
) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trained", "weights", "photos"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--models")
    parser.add_argument("--table", action="store_true", help="only write the page")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    results = read_results()
    known = [str(card["name"]) for card in cards()]
    for name in () if wanted.table else (wanted.models or ",".join(known)).split(","):
        path = MODELS / f"{name}.json"
        card = json.loads(path.read_text("utf-8"))
        results[name] = priced(card, *task(card, wanted))
        sys.stderr.write(f"{name}: {results[name]}\n")
        write_atomically(path, json.dumps(card, indent=1) + "\n")
        text = io.StringIO(newline="")
        lines = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        lines.writeheader()
        lines.writerows(results[each] for each in known if each in results)
        write_atomically(RESULTS, text.getvalue())
    if wanted.table:
        write_atomically(PAGE, page())


if __name__ == "__main__":
    main()
