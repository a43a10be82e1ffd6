"""Classifies and samples images with an exported model. Needs only TensorFlow and Pillow.

python use_savedmodel.py runs/demo/savedmodel/1 --classify IMAGE… --sample samples
"""

import argparse
import importlib.util
import json
import os
import re
from pathlib import Path

from PIL import Image

# TensorFlow reads this variable when it is imported. It hides messages below errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf


def classify(served, class_names, images):
    """Prints the class of each PNG or JPEG file; images may have any size."""
    contents = tf.constant([image.read_bytes() for image in images])
    result = served.signatures["classify_bytes"](image_bytes=contents)
    for image, chosen, probabilities in zip(
        images, result["class_id"].numpy(), result["probabilities"].numpy(), strict=True
    ):
        # Files that cannot be decoded have the class -1.
        answer = f"{class_names[chosen]} ({probabilities[chosen]:.1%})" if chosen >= 0 else "bad"
        print(f"{image.parent.name}/{image.name}: {answer}")


def sample(served, config, folder):
    """Samples one image of each class."""
    labels = tf.range(len(config["class_names"]))
    sampled = served.signatures["sample"](
        labels=labels, seed=tf.constant(0), temperature=tf.constant(1.0)
    )
    images = sampled["images"].numpy()
    folder.mkdir(parents=True, exist_ok=True)
    for label, (name, image) in enumerate(zip(config["class_names"], images, strict=True)):
        # Class names such as T-shirt/top are not valid file names.
        safe = re.sub(r"[^\w-]+", "_", name)
        Image.fromarray(image.squeeze()).save(folder / f"{label}_{safe}.png")
    print(f"Wrote {len(images)} images to {folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("savedmodel", type=Path, help="runs/NAME/savedmodel/1")
    parser.add_argument("--classify", type=Path, nargs="+", default=[], metavar="IMAGE")
    parser.add_argument("--sample", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()

    here = "is" if importlib.util.find_spec("keras_pixelcnnpp") else "is not"
    print(f"The package keras_pixelcnnpp {here} installed here")
    served = tf.saved_model.load(str(arguments.savedmodel))
    config = json.loads((arguments.savedmodel / "assets" / "config.json").read_text())
    if arguments.classify:
        classify(served, config["class_names"], arguments.classify)
    if arguments.sample:
        sample(served, config, arguments.sample)


if __name__ == "__main__":
    main()
