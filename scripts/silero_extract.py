#!/usr/bin/env python3
"""Extracts the weights of Silero VAD v6 into crates/audio/assets/silero_v6.bin.

    python3 -m venv /tmp/silero && /tmp/silero/bin/pip install onnx numpy
    /tmp/silero/bin/python scripts/silero_extract.py

The source is `silero_vad.onnx` of the PyPI package silero-vad 6.2.3 (MIT). The package's
`silero_vad_16k.safetensors` holds other numbers than the released model and must not be used.

Layout, little endian:

    8 bytes   b"SILERO6\\0"
    then for 16 kHz (BINS = 129) and after it 8 kHz (BINS = 65), all f32, row-major:
    conv1     [128][BINS][3]   bias [128]      kernel 3, stride 1, padding 1
    conv2     [64][128][3]     bias [64]       kernel 3, stride 2, padding 1
    conv3     [64][64][2]      bias [64]       taps 1 and 2: tap 0 only ever meets padding
    conv4     [128][64]        bias [128]      tap 1: taps 0 and 2 only ever meet padding
    lstm      [512][256]       bias [512]      columns: input 128, hidden 128; rows: gates i, f, g, o
    output    [128]            bias [1]

The STFT basis is left out: it is a periodic Hann window times the DFT, which the program computes as an FFT.
"""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import onnx
from onnx import numpy_helper

PACKAGE = "silero-vad==6.2.3"
ASSETS = pathlib.Path(__file__).resolve().parent.parent / "crates/audio/assets"


def package_files(folder):
    """Downloads the wheel into `folder`; returns the bytes of the model and of its licence."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE], check=True
    )
    with zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl"))) as wheel:
        names = wheel.namelist()
        model = wheel.read("silero_vad/data/silero_vad.onnx")
        licence = wheel.read(next(n for n in names if n.endswith("licenses/LICENSE")))
    return model, licence


def branch_tensors(graph, branch):
    """All constants of one branch of the rate switch, by the last part of their name."""
    switch = next(n for n in graph.node if n.op_type == "If")
    body = next(a.g for a in switch.attribute if a.name == branch)
    tensors = {}
    for node in body.node:
        if node.op_type == "Constant":
            name = node.output[0].split("Inline_0__")[-1]
            tensors[name] = numpy_helper.to_array(node.attribute[0].t)
    return tensors


def check_basis(basis):
    """The STFT basis must be what the program computes: a periodic Hann window times cos and -sin."""
    rows, _, size = basis.shape
    n = np.arange(size)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / size)
    k = np.arange(rows // 2)[:, None]
    angle = 2 * np.pi * k * n / size
    ours = np.concatenate([hann * np.cos(angle), -hann * np.sin(angle)])
    worst = np.abs(ours - basis[:, 0, :]).max()
    assert worst < 1e-6, f"the STFT basis is no Hann-windowed DFT: {worst}"


def layers(t, bins):
    """The tensors of one rate in file order, each checked against its documented shape."""
    check_basis(t["stft.forward_basis_buffer"])
    conv = lambda i, kind: t[f"encoder.{i}.reparam_conv.{kind}"]
    lstm = np.concatenate([t["decoder.rnn.weight_ih"], t["decoder.rnn.weight_hh"]], axis=1)
    ordered = [
        (conv(0, "weight"), (128, bins, 3)), (conv(0, "bias"), (128,)),
        (conv(1, "weight"), (64, 128, 3)), (conv(1, "bias"), (64,)),
        (conv(2, "weight")[:, :, 1:], (64, 64, 2)), (conv(2, "bias"), (64,)),
        (conv(3, "weight")[:, :, 1], (128, 64)), (conv(3, "bias"), (128,)),
        (lstm, (512, 256)), (t["decoder.rnn.bias_ih"] + t["decoder.rnn.bias_hh"], (512,)),
        (t["decoder.decoder.2.weight"].reshape(128), (128,)), (t["decoder.decoder.2.bias"], (1,)),
    ]
    for tensor, shape in ordered:
        assert tensor.shape == shape, (tensor.shape, shape)
        assert np.isfinite(tensor).all()
    return [tensor for tensor, _ in ordered]


def main():
    with tempfile.TemporaryDirectory() as folder:
        model, licence = package_files(folder)
    graph = onnx.load_from_string(model).graph
    out = bytearray(b"SILERO6\0")
    for branch, bins in [("then_branch", 129), ("else_branch", 65)]:
        for tensor in layers(branch_tensors(graph, branch), bins):
            out += np.ascontiguousarray(tensor, dtype="<f4").tobytes()
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "silero_v6.bin").write_bytes(out)
    (ASSETS / "silero_v6.LICENSE").write_bytes(licence)
    print(f"{len(out)} bytes")


if __name__ == "__main__":
    main()
