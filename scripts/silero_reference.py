#!/usr/bin/env python3
"""Makes the reference of crates/audio/tests/vad.rs: sound, and what ONNX Runtime makes of it.

    apt-get install flite espeak-ng pocketsphinx-testdata
    python3 -m venv /tmp/silero && /tmp/silero/bin/pip install onnxruntime numpy
    /tmp/silero/bin/python scripts/silero_reference.py

Writes to crates/audio/fixtures, for 16 kHz and 8 kHz:

    silero_16k.s16   mono samples, signed 16 bit little endian: speech of four voices, noise, a tone, quiet
    silero_8k.s16    speech, dithered and digital silence
    silero_16k.f32   the probability of each window of 512 samples (256 at 8 kHz), f32 little endian
    silero_8k.f32
    silero_person_*  the same of a person: sentences of "Sense and Sensibility" as read for LibriVox, which are in
                     the public domain and in Debian's package pocketsphinx-testdata
"""

import pathlib
import subprocess
import sys
import tempfile
import wave
import zipfile

import numpy as np
import onnxruntime

PACKAGE = "silero-vad==6.2.3"
READ_ALOUD = pathlib.Path("/usr/share/pocketsphinx/test/data/librivox")
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "crates/audio/fixtures"


def model_bytes(folder):
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE], check=True
    )
    with zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl"))) as wheel:
        return wheel.read("silero_vad/data/silero_vad.onnx")


def resample(samples, have, want):
    """Band-limited resampling of a whole sound through its spectrum."""
    count = len(samples) * want // have
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(count // 2 + 1, dtype=complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return np.fft.irfft(kept, count) * count / len(samples)


def spoken(command, folder, rate):
    """What a speech program writes to a WAV file, at `rate` Hz in -1..1."""
    path = f"{folder}/speech.wav"
    subprocess.run([*command, path], check=True)
    with wave.open(path) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2") / 32768
        return resample(samples, sound.getframerate(), rate)


def sound(folder, rate):
    """The test sound: a bit of everything the network meets in a call."""
    flite = lambda voice, text: spoken(["flite", "-voice", voice, "-t", text, "-o"], folder, rate)
    espeak = lambda voice, text: spoken(["espeak-ng", "-v", voice, text, "-w"], folder, rate)
    random = np.random.default_rng(7)
    seconds = lambda s: int(s * rate)
    noise = random.standard_normal(seconds(1)) * 0.02
    pink = np.cumsum(random.standard_normal(seconds(1)))
    pink = (pink - pink.mean()) / np.abs(pink).max() * 0.3
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(seconds(1)) / rate)
    first = flite("slt", "Good morning, I would like to change my appointment.")
    return np.concatenate([
        first, np.zeros(seconds(0.8)),
        flite("rms", "Yes. The number is four seven one, nine."), noise,
        espeak("en", "Could you say that once more? I did not hear you."), tone,
        espeak("de", "Guten Tag, ich rufe wegen meiner Rechnung an."), pink,
        first * 10 ** (-30 / 20), random.uniform(-1, 1, seconds(0.8)) / 32768,
    ])  # fmt: skip


def person(rate):
    """A person who reads, with the noise of a room."""
    sentences = []
    for number in ("0880", "0930"):
        with wave.open(str(READ_ALOUD / f"sense_and_sensibility_01_austen_64kb-{number}.wav")) as sound:
            samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2") / 32768
            sentences.append(resample(samples, sound.getframerate(), rate))
    return np.concatenate(sentences)


def probabilities(model, samples, rate):
    """Window by window, each with the end of the one before it, as the package's own wrapper does."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    window, overlap = (512, 64) if rate == 16000 else (256, 32)
    state = np.zeros((2, 1, 128), dtype=np.float32)
    before = np.zeros(overlap, dtype=np.float32)
    result = []
    for start in range(0, len(samples) - window + 1, window):
        chunk = np.concatenate([before, samples[start : start + window].astype(np.float32) / 32768])
        inputs = {"input": chunk[None], "state": state, "sr": np.array(rate, dtype=np.int64)}
        speech, state = session.run(None, inputs)
        before = chunk[-overlap:]
        result.append(speech[0, 0])
    return np.array(result, dtype="<f4")


def main():
    FIXTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        model = model_bytes(folder)
        sounds = [
            ("silero_16k", 16000, sound(folder, 16000)),
            ("silero_8k", 8000, sound(folder, 8000)),
            ("silero_person_16k", 16000, person(16000)),
            ("silero_person_8k", 8000, person(8000)),
        ]
        for name, rate, samples in sounds:
            samples = (samples * 32767).round().clip(-32768, 32767).astype("<i2")
            speech = probabilities(model, samples, rate)
            samples.tofile(FIXTURES / f"{name}.s16")
            speech.tofile(FIXTURES / f"{name}.f32")
            print(f"{name}: {len(samples) / rate:.1f} s, {len(speech)} windows, {(speech >= 0.5).sum()} with speech")


if __name__ == "__main__":
    main()
