import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny
from command_line import done, one_line
from images import write_course_folder, write_image
from PIL import Image

from keras_pixelcnnpp.data import folders
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.recipes.recipe import BaselineRecipe, PixelCNNRecipe, recipe_of_run
from keras_pixelcnnpp.train.data import data_section, load_larger, load_training_data
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import write_json

pytestmark = pytest.mark.once


def begun(folder, data, **how):
    """Returns the recipe and the data of a training, and its run, whose first epoch begins."""
    recipe, run = BaselineRecipe(data=str(data), **how), RunFolder(folder / "run")
    dataset = load_training_data(recipe)
    write_json(run.config_json, {"data": data_section(recipe, dataset)})
    run.write_listing(dataset.listing())
    return recipe, dataset, run


@pytest.mark.parametrize(("resize", "channels"), [("stretch", 1), ("center_crop", None)])
def test_evaluation_reads_the_images_as_the_training_did(capsys, tmp_path, resize, channels):
    """The same images are skipped, and all are resized in the same way."""
    folder = write_course_folder(tmp_path / "data")
    for name in ("train/002.png", "validation/000.png"):
        (folder / name).write_bytes(b"no image")
    how = {"image_size": 4, "channels": channels, "resize": resize, "skip_corrupted": True}
    recipe, dataset, run = begun(tmp_path, folder, **how)
    assert "Skipped 2 files" in capsys.readouterr().out
    again = run.load_data()
    assert capsys.readouterr().out == ""
    assert again.split("train").paths == dataset.split("train").paths
    assert again.fingerprint() == dataset.fingerprint()
    # The larger images have the same order: the corner shows the file.
    train = load_larger(recipe, replace(recipe, crop_margin=2), dataset)[0].split("train")
    assert train.larger.shape == (19, 6, 6, channels or 3)
    np.testing.assert_array_equal(train.larger[:, -1, -1], train.images[:, -1, -1])
    some = train.some(5, seed=1)
    np.testing.assert_array_equal(some.larger[:, -1, -1], some.images[:, -1, -1])
    write_image(folder / "train/000.png", color=(9, 9, 9))
    for source in (None, str(folder)):
        message = "has changed since the run was trained on it: the content or the class of "
        with pytest.raises(UserError, match=rf"{message}train/000\.png is another\. Restore it"):
            run.load_data(source)


def test_one_missing_and_one_new_image_are_named(tmp_path):
    """The run has an image twice, and knows one by another name."""
    names = [f"{name}/{index}.png" for name in ("a", "b") for index in range(12)]
    for index, name in enumerate(names):
        write_image(tmp_path / "data" / name, color=(9 * index, 0, 0), size=(4, 4))
    write_image(tmp_path / "data" / "a" / "copy.png", color=(9, 0, 0), size=(4, 4))
    _, _, run = begun(tmp_path, tmp_path / "data", image_size=4)
    (tmp_path / "data/b/3.png").rename(tmp_path / "data/b/renamed.png")
    run.load_data()
    (tmp_path / "data/a/5.png").unlink()
    refused = r"has changed since the run was trained on it: a/5\.png is missing{}\. Restore it"
    with pytest.raises(UserError, match=refused.format("")):
        run.load_data()
    write_image(tmp_path / "data/b/new.png", color=(0, 9, 9), size=(4, 4))
    with pytest.raises(UserError, match=refused.format(r", b/new\.png is new")):
        run.load_data()


def test_random_crops_are_of_whole_images(tmp_path):
    """Evaluation gets the centers of the same images, in a folder (12×10 pixels) and an array."""
    folder, array = write_course_folder(tmp_path / "data"), tiny.save_npz(tmp_path / "tiny.npz")
    for source, shape in ((folder, (10, 12, 3)), (array, (4, 4, 1))):
        given, dataset, run = begun(tmp_path / source.stem, source, image_size=2, random_crops=True)
        larger, recipe = load_larger(given, replace(given, crop_margin=4), dataset)
        whole, train = larger.split("train").larger, dataset.split("train")
        assert {image.shape for image in whole} == {shape}
        assert recipe.crop_margin == 0
        top, left = (side // 2 - 1 for side in shape[:2])
        for image, center in zip(whole, train.images, strict=True):
            np.testing.assert_array_equal(image[top : top + 2, left : left + 2], center)
        assert run.load_data().fingerprint() == dataset.fingerprint()
        config = {"data": data_section(given, dataset), "baseline": {"options": {}}}
        assert recipe_of_run(config, "baseline").random_crops
    crops = replace(given, crop_margin=2)
    with pytest.raises(UserError, match=r"`crop_margin`.*none with --random-crops"):
        load_larger(crops, given, dataset)
    crops = BaselineRecipe(data=str(array), crop_margin=2)
    with pytest.raises(UserError, match=r"folder of image.*crop_margin=2, data="):
        load_larger(crops, crops, dataset)
    with pytest.raises(UserError, match=r"000.png: Expected at least 11×11 pixels"):
        load_training_data(BaselineRecipe(data=str(folder), image_size=11, random_crops=True))


def test_images_are_not_enlarged_for_random_crops(capsys, tmp_path):
    asked = BaselineRecipe(data=str(write_course_folder(tmp_path)), image_size=9, crop_margin=2)
    dataset = load_training_data(asked)
    not_asked = load_larger(BaselineRecipe(), asked, dataset)  # files are 12×10
    assert not_asked == (dataset, replace(asked, crop_margin=0))
    assert "train/000.png is smaller than 11×11" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"`crop_margin`.*would be blurred"):
        load_larger(asked, asked, dataset)
    larger, _ = load_larger(asked, replace(asked, crop_margin=1), dataset)
    assert larger.split("train").larger.shape[1:] == (10, 10, 3)


def test_evaluation_reads_the_same_white_level(tmp_path, capsys):
    for index in range(20):
        path = tmp_path / "data" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 200 * index + 295, dtype="uint16")).save(path)
    how = {"image_size": 4, "channels": 1, "white_level": 4095}
    _, dataset, run = begun(tmp_path, tmp_path / "data", **how)
    assert run.load_data().fingerprint() == dataset.fingerprint()
    # The same images elsewhere are split in the same way, so none of them was trained on.
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    moved = run.load_data(str(tmp_path / "moved"))
    assert moved.split("test").paths == dataset.split("test").paths
    capsys.readouterr()
    other = run.load_data(str(tmp_path / "data" / "b"))
    assert "Warning: 8 of 10 images were trained on (split all of b)." in capsys.readouterr().out
    assert other.split("all").images.max() == 255
    data = run.read_config()["data"]
    assert (data["resize"], data["white_level"]) == ("center_crop", 4095)


def test_another_decoder_gives_a_warning(tmp_path, capsys, monkeypatch):
    """The files are recognized, wherever they are, although their pixels differ."""
    folder = write_course_folder(tmp_path / "data")
    _, dataset, run = begun(tmp_path, folder, image_size=4)
    shutil.copytree(folder, tmp_path / "copy")
    fit = folders.fit_image
    monkeypatch.setattr(folders, "fit_image", lambda *given: fit(*given) ^ 1)
    for source in (folder, tmp_path / "copy"):
        capsys.readouterr()
        again = run.load_data(str(source))
        assert "Warning: these are the files of the training, but" in capsys.readouterr().out
        assert again.split("train").paths == dataset.split("train").paths
        assert (again.split("train").images != dataset.split("train").images).any()
        assert run.training_images(again).paths == dataset.split("train").labeled().paths


@pytest.mark.parametrize("is_csv", [False, True])
def test_an_unconditional_model_is_trained_next_to_other_classes(tmp_path, is_csv):
    folder, run = tmp_path / "data", RunFolder(tmp_path / "run")
    for split, name in (("train", "cat"), ("validation", "cat"), ("test", "car")):
        write_image(folder / split / name / "a.png", color=(9, 9, 9))
        if is_csv:
            (folder / f"{split}.csv").write_text(f"{split}/{name}/a.png,{name}\n")
    with pytest.raises(UserError, match="the training split has no class 'car'"):
        load_training_data(PixelCNNRecipe(data=str(folder)))
    recipe = PixelCNNRecipe(data=str(folder), conditioning="none")
    dataset = load_training_data(recipe)
    assert dataset.split("test").labels.tolist() == [-1]
    config = {"data": data_section(recipe, dataset), "pixelcnnpp": {"options": recipe.options()}}
    write_json(run.config_json, config)
    run.write_listing(dataset.listing())
    assert run.load_data().fingerprint() == dataset.fingerprint()


def test_an_unconditional_model_takes_other_classes(tmp_path):
    folder = write_course_folder(tmp_path / "data")
    _, _, run = begun(tmp_path, folder, image_size=4)
    write_image(tmp_path / "other" / "cars" / "a.png", color=(9, 9, 9))
    with pytest.raises(UserError, match="classes that the model was not trained on"):
        run.load_data(str(tmp_path / "other"))
    unconditional = {"options": {"conditioning": "none"}}
    write_json(run.config_json, {**run.read_config(), "pixelcnnpp": unconditional})
    assert len(run.load_data(str(tmp_path / "other")).split("all")) == 1


def test_images_of_the_training_are_recognized_in_every_form(tmp_path):
    """As files, copies in another format and arrays; only those that were chosen count."""
    folder = write_course_folder(tmp_path / "data")
    recipe, dataset, run = begun(tmp_path, folder, image_size=10, max_examples=12)
    options = {"pixelcnnpp": {"options": recipe.options()}}
    write_json(run.config_json, {**run.read_config(), **options})
    chosen = dataset.split("train").some(12)
    copies = tmp_path / "copies"
    for path in (*dataset.split("train").paths, *dataset.split("test").paths):
        copy = (copies / path).with_suffix(".bmp")
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(folder / path).save(copy)
    arrays = {f"x_{name}": split.images for name, split in dataset.splits.items()}
    np.savez(tmp_path / "arrays.npz", **arrays)
    for source in (folder, copies, tmp_path / "arrays.npz"):
        given = run.load_images(str(source))
        for images in given.splits.values():  # validation and test repeat some of the pixels
            equal = images.images[:, None] == chosen.images[None]
            expected = equal.all(axis=(2, 3, 4)).any(axis=1)
            np.testing.assert_array_equal(run.trained_on(images), expected)
        assert run.trained_on(given.split("train")).sum() == 12


def test_a_data_set_as_image_files(pixelcnnpp, tmp_path):
    """The files have the images, labels and splits of the data set."""
    source, folder = tiny.save_npz(tmp_path / "tiny.npz"), tmp_path / "images"
    assert "train, validation" in done(pixelcnnpp("data", source, "--output", folder))
    expected = load_dataset(source)
    found = load_dataset(folder, image_size=expected.image_shape[:2], channels=1)

    def content(dataset, split):
        names, images = [*dataset.class_names, "unlabeled"], dataset.split(split)
        pairs = zip(images.labels, images.images, strict=True)
        return sorted((names[label], image.tobytes()) for label, image in pairs)

    for split in expected.splits:
        assert content(found, split) == content(expected, split)
    one_line(pixelcnnpp("data", source, "--output", folder), "exists already")
    images = expected.split("train").images
    arrays = {"x_train": images, "vectors_train": np.zeros((len(images), 1))}
    np.savez(tmp_path / "vectors.npz", **arrays)
    one_line(pixelcnnpp("data", tmp_path / "vectors.npz", "--output", tmp_path / "v"), "vectors")


def test_data_reads_and_tells_as_train_does(pixelcnnpp, tmp_path, capsys):
    """With the same options and messages; missing folders of the output are made."""
    source, output = write_course_folder(tmp_path / "source"), tmp_path / "new" / "images"
    (source / "train" / "000.png").write_bytes(b"no image")
    words = ("data", source, "--output", output, "--image-size", 4, "--channels", 1, "--count", 2)
    out = done(pixelcnnpp(*words, "--skip-corrupted"))
    capsys.readouterr()
    how = {"image_size": 4, "channels": 1, "skip_corrupted": True}
    load_training_data(BaselineRecipe(data=str(source), **how))
    assert out.startswith(capsys.readouterr().out)
    first, _ = output.glob("train/*/*.png")
    with Image.open(first) as image:
        assert (image.size, image.mode) == ((4, 4), "L")
