"""Write the networks that picojoule ships: ``python -m tools.make_networks [FOLDER]``.

Every network is defined here from its architecture and written to
``src/picojoule/data/networks/`` as CSV; AlexNet also as the 25-column file that
energyestimation.mit.edu read. ``tests/test_networks.py`` regenerates all of them, compares them
byte for byte, and checks their totals against published ones.

Conventions
- Batch 1; biases are not counted; fully connected layers behind a feature map are convolutions
  with a kernel as large as the map (Asilomar'17: an FC layer is a CONV layer with H = R, E = 1).
- Operators that are not modelled are counted under their ONNX names. Dropout, reshape and
  transpose do no arithmetic and are left out.
- Densities come from ``data/published``; where none are published they are 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from picojoule.frontends.energy_site import format_energy_site
from picojoule.reports.network_table import format_table
from picojoule.workload import Workload, linear, matmul
from tools.alexnet import (
    ALEXNET_PAPER,
    ALEXNET_TABLE,
    DATA,
    FC_LEFT,
    alexnet_asilomar,
    alexnet_cvpr17,
    alexnet_dc,
    alexnet_eap,
    alexnet_eap_classes,
    bvlc_alexnet,
)
from tools.make_tiny_networks import NETWORKS as TINY
from tools.network_builder import Builder

# --- convolutional networks ---------------------------------------------------------------------


def googlenet(five: int = 5) -> Builder:
    """BVLC GoogLeNet; *five* is the kernel of the 5 x 5 branches (torchvision's net has 3)."""
    net = Builder(channels=3, size=224)
    net.conv("conv1/7x7_s2", 64, 7, stride=2, pad=3)
    net.pool("MaxPool", 3, 2, ceil=True)
    net.apply("LRN")
    net.conv("conv2/3x3_reduce", 64, 1)
    net.conv("conv2/3x3", 192, 3, pad=1, then="Relu LRN")
    net.pool("MaxPool", 3, 2, ceil=True)
    modules = {  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection: Table 1 of the paper
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }
    for module, (one, reduce3, three, reduce5, out5, projection) in modules.items():
        if module in ("4a", "5a"):
            net.pool("MaxPool", 3, 2, ceil=True)
        start, prefix, branches = net.flow, f"inception_{module}", []
        net.conv(f"{prefix}/1x1", one, 1)
        branches.append(net.flow)
        net.flow = start
        net.conv(f"{prefix}/3x3_reduce", reduce3, 1)
        net.conv(f"{prefix}/3x3", three, 3, pad=1)
        branches.append(net.flow)
        net.flow = start
        net.conv(f"{prefix}/5x5_reduce", reduce5, 1)
        net.conv(f"{prefix}/5x5", out5, five, pad=five // 2)
        branches.append(net.flow)
        net.flow = start
        net.pool("MaxPool", 3, 1, pad=1)
        net.conv(f"{prefix}/pool_proj", projection, 1)
        net.concat(*branches, net.flow)
    net.pool("AveragePool", 7, 1)
    net.full("loss3/classifier", 1000, then="Softmax")
    return net


def squeezenet(
    stem: tuple[int, int], size: int, pools: tuple[int, int], last_pad: int = 0
) -> Builder:
    """SqueezeNet with a *stem* of (channels, kernel) and max-pooling before the fires *pools*."""
    net = Builder(channels=3, size=size)
    net.conv("conv1", stem[0], stem[1], stride=2)
    net.pool("MaxPool", 3, 2, ceil=True)
    fires = (16, 16, 32, 32, 48, 48, 64, 64)
    for number, squeeze in enumerate(fires, start=2):
        if number in pools:
            net.pool("MaxPool", 3, 2, ceil=True)
        net.conv(f"fire{number}/squeeze1x1", squeeze, 1)
        squeezed = net.flow
        net.conv(f"fire{number}/expand1x1", 4 * squeeze, 1)
        expanded = net.flow
        net.flow = squeezed
        net.conv(f"fire{number}/expand3x3", 4 * squeeze, 3, pad=1)
        net.concat(expanded, net.flow)
    net.conv("conv10", 1000, 1, pad=last_pad)
    net.global_pool()
    net.apply("Softmax")
    return net


def squeezenet_10() -> Builder:
    return squeezenet(stem=(96, 7), size=227, pools=(5, 9), last_pad=1)


def squeezenet_11() -> Builder:
    return squeezenet(stem=(64, 3), size=224, pools=(4, 6))


def vgg16() -> Builder:
    net = Builder(channels=3, size=224)
    for block, (count, out) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for number in range(1, count + 1):
            net.conv(f"conv{block}_{number}", out, 3, pad=1)
        net.pool("MaxPool", 2, 2)
    net.full("fc6", 4096)
    net.full("fc7", 4096)
    net.full("fc8", 1000, then="")
    return net


NORM = "BatchNormalization"
NORM_RELU, NORM_CLIP = f"{NORM} Relu", f"{NORM} Clip"


def resnet(blocks: Sequence[int], bottleneck: bool) -> Builder:
    """ResNet with *blocks* residual blocks per stage; strides sit at the 3 x 3 (v1.5)."""
    net = Builder(channels=3, size=224)
    net.conv("conv1", 64, 7, stride=2, pad=3, then=NORM_RELU)
    net.pool("MaxPool", 3, 2, pad=1)
    for stage, count in enumerate(blocks, start=1):
        width = 64 << (stage - 1)
        out = 4 * width if bottleneck else width
        for number in range(count):
            prefix = f"layer{stage}.{number}"
            stride = 2 if stage > 1 and number == 0 else 1
            start = net.flow
            if bottleneck:
                net.conv(f"{prefix}.conv1", width, 1, then=NORM_RELU)
                net.conv(f"{prefix}.conv2", width, 3, stride, pad=1, then=NORM_RELU)
                net.conv(f"{prefix}.conv3", out, 1, then=NORM)
            else:
                net.conv(f"{prefix}.conv1", width, 3, stride, pad=1, then=NORM_RELU)
                net.conv(f"{prefix}.conv2", out, 3, pad=1, then=NORM)
            deep = net.flow
            net.flow = start
            if stride != 1 or start.channels != out:
                net.conv(f"{prefix}.downsample", out, 1, stride, then=NORM)
            net.sum(deep.at, net.flow.at)
            net.flow = deep._replace(at=net.wires.at)
            net.apply("Relu")
    net.global_pool()
    net.full("fc", 1000, then="")
    return net


def mobilenet_v1() -> Builder:
    net = Builder(channels=3, size=224)
    net.conv("conv_0", 32, 3, stride=2, pad=(0, 1, 0, 1), then=NORM_CLIP)
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for number, (stride, out) in enumerate(zip(strides, widths, strict=True), start=1):
        same = (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)  # TensorFlow's SAME padding
        depthwise = f"conv_{number}_depthwise"
        net.conv(depthwise, net.channels, 3, stride, pad=same, groups=net.channels, then=NORM_CLIP)
        net.conv(f"conv_{number}_pointwise", out, 1, then=NORM_CLIP)
    net.global_pool()
    net.full("classifier", 1000, then="Softmax")
    return net


def mobilenet_v2() -> Builder:
    net = Builder(channels=3, size=224)
    net.conv("stem", 32, 3, stride=2, pad=1, then=NORM_CLIP)
    # expansion, channels, blocks, stride: Table 2 of the paper
    table = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    block = 0
    for expansion, out, count, first_stride in table:
        for number in range(count):
            block += 1
            stride, start = first_stride if number == 0 else 1, net.flow
            wide = expansion * start.channels
            if expansion != 1:
                net.conv(f"block{block}/expand", wide, 1, then=NORM_CLIP)
            net.conv(f"block{block}/depthwise", wide, 3, stride, pad=1, groups=wide, then=NORM_CLIP)
            net.conv(f"block{block}/project", out, 1, then=NORM)
            if stride == 1 and start.channels == out:
                net.sum(net.wires.at, start.at)
    net.conv("head", 1280, 1, then=NORM_CLIP)
    net.global_pool()
    net.full("classifier", 1000, then="")
    return net


# --- transformers -------------------------------------------------------------------------------


def encoder(
    net: Builder,
    prefix: str,
    *,
    rows: int,
    attended: int,
    fused: bool,
    norm_first: bool = True,
    mask: str = "",
    width: int = 768,
    heads: int = 12,
) -> None:
    """One transformer block: attention of *rows* tokens to *attended* ones, then the MLP.

    The second operands of the two attention products (keys, then values) are activations.

    Args:
        fused: one product makes query, keys and values.
        norm_first: normalise before attention and MLP, not after them.
        mask: the operator that masks scores.
    """

    def dense(name: str, inputs: int, outputs: int) -> str:
        layer = linear(f"{prefix}{name}", in_features=inputs, out_features=outputs, rows=rows)
        return net.add(layer)

    wires, start = net.wires, net.wires.at
    if norm_first:
        net.apply("LayerNormalization")
    if fused:
        dense("attention.qkv", width, 3 * width)
        # A tensor's parts where they lie: not in the list of operators.
        query, key, value = wires.operators("Split", words=[rows * width] * 3)
    else:
        base = wires.at
        parts = []
        for name in ("query", "key", "value"):
            wires.at = base
            parts.append(dense(f"attention.{name}", width, width))
        query, key, value = parts
    if attended > rows:  # what earlier tokens left, and this one's behind it
        earlier = (attended - rows) * width
        cached = [
            (wires.given(f"{prefix}past_{what}", earlier), new)
            for what, new in (("keys", key), ("values", value))
        ]
        key, value = (wires.operator("Concat", *pair, words=attended * width) for pair in cached)
        wires.outputs += [key, value]
    head = width // heads
    shape = {"rows": rows, "heads": heads}
    scores = matmul(f"{prefix}attention.scores", inner=head, columns=attended, **shape)
    net.add(scores, "MatMul", query, key)
    net.apply("Mul")  # by 1 / sqrt(head)
    if mask:
        net.apply(mask)
    net.apply("Softmax")
    context = matmul(f"{prefix}attention.context", inner=attended, columns=head, **shape)
    net.add(context, "MatMul", wires.at, value)
    dense("attention.output", width, width)
    net.sum(wires.at, start)
    if not norm_first:
        net.apply("LayerNormalization")
    start = wires.at
    if norm_first:
        net.apply("LayerNormalization")
    dense("mlp.expand", width, 4 * width)
    net.apply("Gelu")
    dense("mlp.project", 4 * width, width)
    net.sum(wires.at, start)
    if not norm_first:
        net.apply("LayerNormalization")


def vit_b16() -> Builder:
    net = Builder(channels=3, size=224)
    net.conv("patches", 768, 16, stride=16, then="")
    tokens = net.size**2 + 1  # and the class token
    net.count("Concat", "Add")  # class token, position embedding: stored, both
    net.wires.operator("Concat", words=tokens * 768)
    for block in range(12):
        encoder(net, f"encoder.{block}.", rows=tokens, attended=tokens, fused=True)
    net.apply("LayerNormalization")
    net.wires.operator("Slice", words=768)  # the class token
    net.add(linear("head", in_features=768, out_features=1000))
    return net


def bert_base(tokens: int = 128) -> Builder:
    net = Builder(channels=768, size=1, name="")
    words = tokens * 768
    ids = [net.wires.given(name, tokens, bits=64) for name in ("input_ids", "token_type_ids")]
    embedded = [net.wires.operator("Gather", each, words=words, bits=16) for each in ids]
    net.count("Gather", "Gather", "Gather", "Add")  # positions are stored
    net.sum(*embedded)
    net.apply("LayerNormalization")
    for block in range(12):
        encoder(
            net,
            f"encoder.{block}.",
            rows=tokens,
            attended=tokens,
            fused=False,
            norm_first=False,
            mask="Add",
        )
    net.wires.operator("Slice", words=768)  # the first token
    net.add(linear("pooler", in_features=768, out_features=768))
    net.apply("Tanh")
    return net


def gpt2(rows: int, attended: int) -> Builder:
    net = Builder(channels=768, size=1, name="")
    net.count("Gather", "Gather", "Add")  # token and position embedding; positions are stored
    tokens = net.wires.given("input_ids", rows, bits=64)
    net.wires.operator("Gather", tokens, words=rows * 768, bits=16)
    for block in range(12):
        mask = "Where" if rows > 1 else ""  # causal
        encoder(net, f"h.{block}.", rows=rows, attended=attended, fused=True, mask=mask)
    net.apply("LayerNormalization")
    net.add(linear("lm_head", in_features=768, out_features=50257, rows=rows))
    return net


# --- all networks -------------------------------------------------------------------------------

GPT2_PAPER = "Radford et al., Language Models are Unsupervised Multitask Learners, 2019"
GPT2_TABLE = (
    "layer table: the 124 M parameter model as in transformers' GPT2LMHeadModel (fused QKV; the "
    "output layer shares its weights with the embedding)"
)

NETWORKS: dict[str, Callable[[], Workload]] = {
    "bvlc-alexnet": lambda: bvlc_alexnet().workload(
        "bvlc-alexnet", f"{ALEXNET_PAPER}; {ALEXNET_TABLE}; dense"
    ),
    "bvlc-alexnet-cvpr17": alexnet_cvpr17,
    "bvlc-alexnet-asilomar": alexnet_asilomar,
    "bvlc-alexnet-dc": alexnet_dc,
    "bvlc-alexnet-eap": alexnet_eap,
    "bvlc-alexnet-eap-100": lambda: alexnet_eap_classes(
        "100",
        100,
        "with them the non-skipped MACs come to 3.44e7 where Fig. 5 has 3.70e7, "
        "the weights to 3.95e6 where it has 3.92e6",
    ),
    "bvlc-alexnet-eap-10r": lambda: alexnet_eap_classes(
        "10r",
        10,
        f"{FC_LEFT}the non-skipped MACs come to 2.01e7 where Fig. 5 has 1.90e7",
    ),
    "bvlc-alexnet-eap-10d": lambda: alexnet_eap_classes(
        "10d",
        10,
        f"{FC_LEFT}the non-skipped MACs come to 2.34e7 where Fig. 5 has 2.20e7",
    ),
    "googlenet": lambda: googlenet().workload(
        "googlenet",
        "Szegedy et al., Going Deeper with Convolutions, CVPR 2015, Table 1; layer table: BVLC "
        "Caffe bvlc_googlenet (224 x 224 input, pooling rounds up, no auxiliary classifiers)",
    ),
    "squeezenet1.0": lambda: squeezenet_10().workload(
        "squeezenet1.0",
        "Iandola et al., SqueezeNet, arXiv 1602.07360; layer table: forresti/SqueezeNet "
        "SqueezeNet_v1.0/deploy.prototxt (227 x 227 input; conv10 has pad 1 there, so 15 x 15 "
        "outputs of which the border is only the bias)",
    ),
    "squeezenet1.1": lambda: squeezenet_11().workload(
        "squeezenet1.1",
        "Iandola et al., SqueezeNet, arXiv 1602.07360; layer table: v1.1 as in torchvision and "
        "in onnx's light_squeezenet.onnx (224 x 224 input)",
    ),
    "vgg16": lambda: vgg16().workload(
        "vgg16",
        "Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, configuration D; "
        "layer table: Caffe's VGG_ILSVRC_16_layers = torchvision vgg16 (224 x 224 input)",
    ),
    "resnet18": lambda: resnet((2, 2, 2, 2), bottleneck=False).workload(
        "resnet18",
        "He et al., Deep Residual Learning, CVPR 2016, Table 1; layer table: torchvision resnet18 "
        "(224 x 224 input, projection shortcuts)",
    ),
    "resnet50": lambda: resnet((3, 4, 6, 3), bottleneck=True).workload(
        "resnet50",
        "He et al., Deep Residual Learning, CVPR 2016, Table 1; layer table: torchvision resnet50, "
        "v1.5: a bottleneck's stride is at its 3 x 3 (224 x 224 input, projection shortcuts)",
    ),
    "mobilenetv1": lambda: mobilenet_v1().workload(
        "mobilenetv1",
        "Howard et al., MobileNets, arXiv 1704.04861, Table 1; layer table: TensorFlow slim "
        "mobilenet_v1 1.0-224 with 1000 classes (SAME padding: bottom and right at stride 2)",
    ),
    "mobilenetv2": lambda: mobilenet_v2().workload(
        "mobilenetv2",
        "Sandler et al., MobileNetV2, CVPR 2018, Table 2; layer table: torchvision mobilenet_v2 "
        "1.0 (224 x 224 input, padding 1)",
    ),
    "vit-b16": lambda: vit_b16().workload(
        "vit-b16",
        "Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, Table 1; layer table: "
        "torchvision vit_b_16 (224 x 224 input, 197 tokens, fused QKV)",
    ),
    "bert-base": lambda: bert_base().workload(
        "bert-base",
        "Devlin et al., BERT, NAACL 2019; layer table: transformers' BertModel (12 layers of 768, "
        "12 heads, 128 tokens, pooler; no task head; the embeddings are look-ups)",
    ),
    "gpt2": lambda: gpt2(rows=1024, attended=1024).workload(
        "gpt2",
        f"{GPT2_PAPER}; {GPT2_TABLE}; one forward pass over 1024 tokens with scores for every "
        "position, the masked upper half of the attention included",
    ),
    "gpt2-decode": lambda: gpt2(rows=1, attended=1024).workload(
        "gpt2-decode",
        f"{GPT2_PAPER}; {GPT2_TABLE}; one token is decoded and attends to 1024 tokens, itself "
        "included; the key-value cache is the second operand of the attention products",
    ),
    **TINY,
}


def files() -> dict[str, str]:
    """File name -> content of everything this script writes."""
    content = {f"{name}.csv": format_table(make()) for name, make in NETWORKS.items()}
    content["NetworkConf_AlexNet_Asilomar.txt"] = format_energy_site(alexnet_asilomar())
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the shipped networks.")
    parser.add_argument("folder", type=Path, nargs="?", default=DATA / "networks")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_bytes(text.encode())


if __name__ == "__main__":
    main()
