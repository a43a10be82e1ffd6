"""`pixelcnnpp sample` and `classify`: a preset, a run or a file, without exporting it."""

import numpy as np
import pytest
import tiny
from command_line import one_line
from PIL import Image

from keras_pixelcnnpp.data.images import png_bytes, read_image, to_levels, to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.sampling.class_samples import class_label
from keras_pixelcnnpp.savedmodel.trained import TrainedModel


@pytest.fixture(scope="module")
def model():
    return tiny.random_model()


@pytest.fixture
def file(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.fixture
def picture(tmp_path):
    levels = tiny.tiny_split(3).images[2]
    Image.fromarray(to_pixels(levels, 5)[..., 0]).save(tmp_path / "picture.png")
    return levels, tmp_path / "picture.png"


def test_a_run_knows_the_names_of_its_classes(model, tmp_path):
    data = tiny.tiny_data_config(tiny.tiny_dataset())
    write_json(tmp_path / "config.json", {"data": data})
    model.save(tmp_path / "model.keras")
    trained = TrainedModel.find(tmp_path)
    assert trained.class_names == ("dark", "grey", "bright")
    assert [class_label(trained.class_names, name) for name in ("grey", "2")] == [1, 2]
    for unknown in ("red", "3", "²"):
        with pytest.raises(UserError, match=r"Expected one of: dark, grey, bright \(or 0 to 2\)"):
            class_label(trained.class_names, unknown)
    with pytest.raises(UserError, match="knows no labels"):
        class_label((), "grey")


@pytest.mark.parametrize("entry", [{}, {"resize": "squeeze"}])
def test_pictures_of_another_shape_are_read_as_in_training(pixelcnnpp, model, tmp_path, entry):
    data = tiny.tiny_data_config(tiny.tiny_dataset())
    write_json(tmp_path / "config.json", {"data": data | entry})
    model.save(tmp_path / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 1), dtype="uint8")
    wide, csv = tmp_path / "wide.png", tmp_path / "out.csv"
    wide.write_bytes(png_bytes(pixels))
    assert pixelcnnpp("classify", "--run", tmp_path, wide, "--csv", csv)[0] == 0
    levels = to_levels(read_image(wide, (4, 4, 1), entry.get("resize", "crop")), 5)
    expected = model.class_probabilities(levels[None])[0]
    found = [float(value) for value in csv.read_text().splitlines()[1].split(",")[-3:]]
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_preset_knows_its_data(model, tmp_path):
    model.save_to_preset(tmp_path, metadata={"data": "tiny"})
    assert TrainedModel.find(tmp_path).class_names == ("Class0", "Class1", "Class2")
    assert TrainedModel.find("fashion_mnist").class_names[9] == "Ankle boot"


@pytest.mark.tensorflow
@pytest.mark.parametrize("exported", [False, True])
def test_classify(pixelcnnpp, trained, savedmodel, picture, tmp_path, exported):
    levels, path = picture
    trained.save(tmp_path / "model.keras")
    csv, bad = tmp_path / "predictions.csv", tmp_path / "no.png"
    source = ("classify", "--model", tmp_path / "model.keras")
    if exported:
        source = ("savedmodel", "classify", savedmodel.parent)
    status, out, err = pixelcnnpp(*source, path, bad, tmp_path, "--csv", csv)
    assert status == 2
    assert [line.split(": ", 2)[2] for line in err.splitlines()] == [
        f"{bad}: no such file",
        f"{tmp_path}: cannot be read: not a file",
    ]
    expected = trained.class_probabilities(levels[None])[0]
    names = ("dark", "grey", "bright") if exported else ("Class0", "Class1", "Class2")
    assert names[expected.argmax()] in out
    assert f"{expected.max():.1%}" in out
    row = csv.read_text().splitlines()[1].split(",")
    assert row[0] == str(path)
    np.testing.assert_allclose([float(value) for value in row[-3:]], expected, atol=1e-5)


def test_sample(pixelcnnpp, model, file, tmp_path):
    output = tmp_path / "out" / "samples.png"
    options = ["--label", "Class2", "--label", "0", "--count", 3, "--seed", 4]
    status, out, _ = pixelcnnpp("sample", "--model", file, *options, "--output", output)
    assert status == 0
    assert "Class0, Class2" in out
    grid = np.asarray(Image.open(output))[::16, ::16]  # pictures of 4×4 are enlarged
    drawn = to_pixels(model.sample([0, 0, 0, 2, 2, 2], seed=4), 5)[..., 0]
    # The first row is that of Class0, with a pixel between the pictures.
    np.testing.assert_array_equal(grid[1:5, 1:5], drawn[0])
    np.testing.assert_array_equal(grid[6:10, 1:5], drawn[3])


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["sample"], ["Which model?", "0 of them"]),
        (["sample", "--preset", "digits", "--run", "runs"], ["2 of them"]),
        (["sample", "--preset", "nowhere"], ["Unknown preset", "'nowhere'"]),
        (["sample", "--preset", "report"], ["without weights"]),
        (["sample", "--preset", "digits", "--label", "cat"], ["No class 'cat'"]),
        (["sample", "--preset", "digits", "--guidance", "1"], ["label dropout"]),
        (["sample", "--preset", "digits", "--temperature", "0"], ["`temperature`"]),
        # Before it looks for the model.
        (["sample", "--preset", "nowhere", "--output", "s3://bucket/a.png"], ["to a URL", "s3://"]),
        (["classify", "--run", "nowhere", "a.png"], ["nowhere", "Train it"]),
        (["sample", "--model", "nowhere.keras"], ["nowhere.keras"]),
    ],
)
def test_mistakes(pixelcnnpp, arguments, fragments):
    one_line(pixelcnnpp(*arguments), *fragments)
