"""Writes test images of the digits data set as PNG files, such as FOLDER/3_000123.png."""

import argparse
from pathlib import Path

from PIL import Image

from keras_pixelcnnpp.data.load import load_dataset


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()

    dataset = load_dataset("digits")
    test = dataset.split("test")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    count = min(arguments.count, len(test))
    for row in range(count):
        name = f"{dataset.class_names[test.labels[row]]}_{Path(test.paths[row]).name}.png"
        Image.fromarray(test.images[row, :, :, 0]).save(arguments.folder / name)
    print(f"Wrote {count} images to {arguments.folder}; each file name begins with the digit")


if __name__ == "__main__":
    main()
