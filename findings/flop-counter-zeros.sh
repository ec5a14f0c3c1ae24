#!/bin/sh
# torch 2.13.0, CPU: torch.utils.flop_counter.FlopCounterMode says 0 for attention, recurrent layers,
# matrix times vector, dot, bilinear and pairwise distances, without a warning.
#
# Expected: it counts what multiplies, or says what it does not know. Its registry holds the fused
# attention kernels of GPUs and the operators mm, addmm, bmm, baddbmm and convolutions; on a CPU
# attention goes to another kernel, LSTMs to one operator for the whole recurrence, and matrix
# times vector to mv: none of them is in it. So the same transformer has other FLOPs on another
# device, and an LSTM has none. Seen on 2026-11-28, Python 3.11:
#
#   mm 256, scaled_dot_product_attention 0, LSTM 0, mv 0, addmv 0, dot 0, addbmm 0, Bilinear 0, cdist 0
#
# Ends with 1 when that changes. Takes about a minute; not part of CI.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

a, b, v = torch.ones(4, 8), torch.ones(8, 4), torch.ones(8)
heads = torch.ones(1, 2, 16, 8)
seen = {}
for name, call in {
    "mm": lambda: torch.mm(a, b),
    "attention": lambda: nn.functional.scaled_dot_product_attention(heads, heads, heads),
    "LSTM": lambda: nn.LSTM(8, 8)(torch.ones(3, 1, 8)),
    "mv": lambda: torch.mv(a, v),
    "addmv": lambda: torch.addmv(torch.ones(4), a, v),
    "dot": lambda: torch.dot(v, v),
    "addbmm": lambda: torch.addbmm(torch.ones(4, 4), a[None], b[None]),
    "Bilinear": lambda: nn.Bilinear(4, 4, 4)(a[:, :4], a[:, :4]),
    "cdist": lambda: torch.cdist(torch.ones(40, 8), torch.ones(40, 8)),
}.items():
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    seen[name] = counter.get_total_flops()
print(seen)
expected = {name: 256 if name == "mm" else 0 for name in seen}
raise SystemExit(seen != expected)
PYTHON
