import images
import numpy as np
from command_line import one_line

from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.evaluate.report import training_words
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.run import RunFolder
from keras_pixelcnnpp.train.data import (
    load_larger,
    load_training_data,
    training_labels,
)
from keras_pixelcnnpp.train.options import BaselineOptions, PixelCNNOptions


def classes(folder):
    for split, count in {"train": 6, "val": 2, "test": 2}.items():
        for index in range(count):
            color = (index, 99, 0)
            images.write_image(folder / split / f"class{index % 2}" / f"{index}.png", color)
    return folder


def test_crops_need_image_files(pixelcnnpp, tmp_path):
    result = pixelcnnpp(
        "train", "pixelcnnpp", "--data", "digits", "--run", tmp_path, "--crop-margin", 2
    )
    one_line(result, "crop_margin", "digits")


def test_all_labels_but_a_few_of_each_class_are_hidden(capsys):
    known, config = load_training_data(BaselineOptions(data="digits", run="run", seed=3))
    options = BaselineOptions(data="digits", run="run", seed=3, labels_per_class=5)
    dataset, given = load_training_data(options)
    assert "50 images have a label, 0 a wrong one" in capsys.readouterr().out
    labels, true = (some.split("train").labels for some in (dataset, known))
    kept = labels >= 0
    np.testing.assert_array_equal(labels[kept], true[kept])
    assert list(np.bincount(labels[kept])) == [5] * 10
    for split in ("validation", "test"):
        np.testing.assert_array_equal(dataset.split(split).labels, known.split(split).labels)
    assert given["fingerprint"] == config["fingerprint"]
    assert (given["labels_per_class"], given["counts"]["train"]) == (5, [5] * 10 + [1028])
    # The other model of the run hides the same ones; another seed others.
    again = load_training_data(
        PixelCNNOptions(data="digits", run="run", seed=3, labels_per_class=5)
    )[1]
    assert again["labels_fingerprint"] == given["labels_fingerprint"]
    options = BaselineOptions(data="digits", run="run", seed=4, labels_per_class=5)
    assert load_training_data(options)[1]["labels_fingerprint"] != given["labels_fingerprint"]


def test_flipped_labels_are_other_classes_equally_often():
    known, _ = load_training_data(BaselineOptions(data="digits", run="run", seed=3))
    options = BaselineOptions(data="digits", run="run", seed=3, label_noise=0.3)
    dataset, config = load_training_data(options)
    true, labels = known.split("train").labels, dataset.split("train").labels
    assert (labels != true).sum() == round(0.3 * len(true))
    assert labels.dtype == np.int32
    assert set(labels) == set(range(10))
    steps = np.bincount((labels - true)[labels != true] % 10, minlength=10)
    # 323 fair dice of nine sides: five standard deviations are 28.
    assert steps[0] == 0
    assert np.abs(steps[1:] - 323 / 9).max() < 28
    np.testing.assert_array_equal(dataset.split("test").labels, known.split("test").labels)
    # Whoever reads the run's configuration knows which.
    np.testing.assert_array_equal(training_labels(known.split("train"), config), labels)


def test_a_run_has_one_set_of_labels(pixelcnnpp, tmp_path):
    command = ("train", "baseline", "--data", "digits", "--run", tmp_path, "--epochs", 1)
    assert pixelcnnpp(*command, "--labels-per-class", 2)[0] == 0
    config = RunFolder(tmp_path).read_config()
    assert sum(config["data"]["counts"]["train"][:-1]) == 20
    words = training_words(config, "baseline")
    assert words[words.index("--labels-per-class") + 1] == "2"
    command = ("train", "pixelcnnpp", "--data", "digits", "--run", tmp_path, "--max-examples", 50)
    result = pixelcnnpp(*command, "--labels-per-class", 3)
    one_line(result, "trained on other data: ", "labels_fingerprint was")


def test_evaluation_skips_the_files_that_the_training_skipped(pixelcnnpp, capsys, tmp_path):
    folder = classes(tmp_path / "data")
    for split, name in (("train", "2"), ("val", "0")):
        (folder / split / "class0" / f"{name}.png").write_bytes(b"no image")
    command = ("train", "baseline", "--data", folder, "--run", tmp_path / "run")
    one_line(pixelcnnpp(*command), "2 bad files", "train/class0/2.png", "skip_corrupted")
    options = BaselineOptions(data=str(folder), run="run", image_size=4, skip_corrupted=True)
    dataset, config = load_training_data(options)
    assert "left out, 2" in capsys.readouterr().out
    write_json(tmp_path / "config.json", {"data": config})
    again = RunFolder(tmp_path).load_data()
    assert "changed" not in capsys.readouterr().out
    assert again.split("train").paths == dataset.split("train").paths
    assert len(again.split("train")) == 5
    # The larger images are the same ones, or crops would be of others.
    larger = load_larger(options, dataset, 2)
    expected = load_dataset(folder, image_size=6, skip_corrupted=True).split("train")
    assert larger.paths == expected.paths == dataset.split("train").paths
    np.testing.assert_array_equal(larger.images, expected.images)
