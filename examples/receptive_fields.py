"""What a pixel sees in each network of the family, before any training: receptive_fields.png.

    python examples/receptive_fields.py [--output docs/pictures/receptive_fields.png]

From gradients: grey is what no gradient reaches. PixelCNN has a blind spot above to the right, the
other two see every earlier pixel within reach, and none sees the pixel itself or what comes after.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from keras_pixelcnnpp.evaluate.receptive_field import receptive_field_png
from keras_pixelcnnpp.files import write_bytes
from keras_pixelcnnpp.models.archive import ARCHITECTURES
from keras_pixelcnnpp.receptive_field import count_seen, pixel_influence

SIZE = 24
TARGET = (16, 8)
ARGUMENTS = {
    "pixelcnn": {"filters": 32, "num_blocks": 10},
    "gated_pixelcnn": {"filters": 32, "num_blocks": 10},
    "pixelcnnpp": {"filters": 16, "num_blocks": 2, "dropout_rate": 0.0},
}


def influence(architecture):
    """What the target sees, `(SIZE, SIZE)`: the mean over a few pictures of noise."""
    keras.utils.set_random_seed(0)
    model = ARCHITECTURES[architecture](
        (SIZE, SIZE, 1), 0, head="logistic_mixture", conditioning="none", **ARGUMENTS[architecture]
    )
    images = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE, 1)).astype("uint8")
    model.initialize(images)
    return pixel_influence(model, images, None, [TARGET])[0]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("receptive_fields.png"))
    options = parser.parse_args(arguments)
    seen = {name: influence(name) for name in ARGUMENTS}
    counts = [count_seen(values, TARGET) for values in seen.values()]
    titles = [ARCHITECTURES[name].title for name in seen]
    write_bytes(options.output, receptive_field_png(list(seen.values()), counts, titles))
    for title, count in zip(titles, counts, strict=True):
        print(
            f"{title}: sees {count['seen']} of {count['earlier']} earlier pixels, "
            f"{count['blind_spot_seen']} of {count['blind_spot']} in the blind spot, "
            f"{count['later_seen']} others"
        )
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
