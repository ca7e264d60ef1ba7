"""Builds one tiny Keras model with two inputs and two outputs, as .keras and SavedModel. Run as a script: FOLDER."""

import os
import sys
from pathlib import Path

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras


def build(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3), batch_size=1, name="image")
    tokens = keras.Input((4,), batch_size=1, dtype="int64", name="tokens")
    pooled = keras.layers.Add(name="pooled")(
        [
            keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(image)),
            keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(16, 8)(tokens)),
        ]
    )
    model = keras.Model([image, tokens], [keras.layers.Dense(5, name="logits")(pooled), pooled])
    model.save(folder / "tiny.keras")
    model.export(folder / "saved", verbose=False)
    generator = np.random.default_rng(0)
    images = generator.standard_normal((3, 1, 6, 6, 3)).astype(np.float32)
    ids = generator.integers(0, 16, (3, 1, 4))
    outputs = [model([a, b], training=False) for a, b in zip(images, ids, strict=True)]
    np.savez(
        folder / "expected.npz",
        images=images,
        ids=ids,
        logits=np.stack([np.asarray(row[0]) for row in outputs]),
        pooled=np.stack([np.asarray(row[1]) for row in outputs]),
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
