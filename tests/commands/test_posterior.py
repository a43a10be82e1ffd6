"""A run that is conditioned on vectors: trained from files, and used by the commands."""

import csv

import numpy as np
import pytest
from command_line import done, one_line, read_rows
from PIL import Image

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.commands.given import grid_of
from keras_pixelcnnpp.data.identity import ListedImage, are_among
from keras_pixelcnnpp.data.load import load_dataset
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.recipes.recipe import recipe_of_run
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.hashes import array_hashes

pytestmark = [pytest.mark.once, pytest.mark.eagerly]


def lattices(count, seed=0):
    """Returns black and white images, and the shares of white and a contrast of each."""
    rng = np.random.default_rng(seed)
    vectors = rng.uniform([0.1, -1], [0.9, 1], (count, 2))
    vectors[0], vectors[-1] = [0.1, -1], [0.9, 1]
    white = rng.random((count, 3, 3, 1)) < vectors[:, :1, None, None]
    return np.where(white, 255, 0).astype("uint8"), vectors


IMAGES = lattices(4)[0]


@pytest.fixture(scope="module")
def run_of_vectors(run_of_arrays):
    (train, conditions), (validation, others) = lattices(40), lattices(10, 1)
    others[3, 0] = 0.907  # outside of the range of the training vectors
    given = {"vectors_train": conditions, "vectors_val": others}
    given |= {"x_train": train, "x_val": validation}
    return run_of_arrays(given, vectors="share,contrast", sample_every=1)


@pytest.fixture(scope="module")
def arrays(run_of_vectors):
    return run_of_vectors.read_config()["data"]["source"]


def test_a_run_keeps_the_vectors_and_their_bounds(run_of_vectors, arrays, tmp_path):
    config = run_of_vectors.read_config()
    assert recipe_of_run(config, "pixelcnnpp").vectors == "share,contrast"
    model = load_trained_model(run_of_vectors.model_keras)
    vectors = np.load(arrays)["vectors_train"]
    bounds = model.encoder["vector"].bounds
    np.testing.assert_array_equal(bounds, [vectors.min(axis=0), vectors.max(axis=0)])
    assert model.conditions.names == ("share", "contrast")
    model.save_to_preset(tmp_path / "preset")
    assert Preset(tmp_path / "preset").recipe().filters == 4
    split = run_of_vectors.load_data().split("validation")
    others = np.load(arrays)["vectors_val"]
    np.testing.assert_array_equal(split.given["vector"], others)
    bits = model.bits_per_dim(split.images, split.given["vector"]).mean()
    assert run_of_vectors.history("pixelcnnpp")[0]["val_bits_per_dim"] == pytest.approx(bits)


@pytest.mark.filterwarnings("ignore:In ")  # on a coarse grid
def test_scales_and_bounds_of_a_command(run_of_arrays, pixelcnnpp, tmp_path):
    images, vectors = lattices(12)
    given = {"x_train": images, "vectors_train": vectors, "x_val": images, "vectors_val": vectors}
    run = run_of_arrays(given, vectors="share:log:0.05:1,contrast:-2:2")
    model = load_trained_model(run.model_keras)
    assert (model.conditions.names, model.conditions[0].scale) == (
        ("share", "contrast"),
        ("log", "linear"),
    )
    np.testing.assert_allclose(model.encoder["vector"].bounds, [[0.05, -2], [1, 2]])
    # The middle of the logarithms is 0 for the network.
    scaled = model.condition_values([[0.05**0.5, 0]], 1)["vector"]
    np.testing.assert_allclose(scaled, [[0, 0]], atol=1e-6)
    config = run.read_config()
    assert recipe_of_run(config, "pixelcnnpp").vectors == "share:log:0.05:1,contrast:-2:2"
    words = "posterior", "--run", run.path, "--data", config["data"]["source"], "--overwrite"
    words = (*words, "--output", tmp_path / "p.csv")
    out = done(pixelcnnpp(*words, "--grid", "share=0.3:0.6:3,contrast=0:0.2:2"))
    assert "Prior: uniform in share, also" in out
    assert "write -log(share) of each vector" in out
    assert "Prior" not in done(pixelcnnpp(*words, "--grid", "share=0.4,contrast=0:0.2:2"))
    for text, message in (
        ("share:ln,contrast", "NAME:log:LOW:HIGH for each component. Received: share:ln"),
        ("share:1,contrast", "Received: share:1"),
        ("share:0:nan,contrast", "Received: share:0:nan"),
        ("share:0:1,contrast", "bounds of all components, or of none"),
    ):
        where = "--data", config["data"]["source"], "--run", tmp_path / "new"
        one_line(pixelcnnpp("train", *where, "--vectors", text), message)


@pytest.mark.filterwarnings("ignore:In 1 of 1 posteriors")  # of ten images, on a coarse grid
def test_posterior_is_that_of_the_model(run_of_vectors, arrays, pixelcnnpp, tmp_path):
    table, figure = tmp_path / "posterior.csv", tmp_path / "posterior.png"
    words = ("posterior", "--run", run_of_vectors.path, "--data", arrays, "--output", table)
    done(pixelcnnpp(*words, "--grid", "contrast=0.5,share=0.1:0.9:5", "--figure", figure))
    model, rows = load_trained_model(run_of_vectors.model_keras), read_rows(table)
    grid = np.array([[share, 0.5] for share in np.linspace(0.1, 0.9, 5)])
    found = model.grid_posterior(np.load(arrays)["x_val"], grid)
    expected = found.mean[:, 0], *found.interval(0.9)[:, 0].T, np.sqrt(found.covariance[:, 0, 0])
    names = "share_mean", "share_low", "share_high", "share_sd"
    for name, values in zip(names, expected, strict=True):
        np.testing.assert_allclose([float(row[name]) for row in rows], values, rtol=1e-4)
    assert max(len(row["share_mean"]) for row in rows) > 10  # all digits
    assert max(float(row["contrast_sd"]) for row in rows) < 1e-12
    others = np.load(arrays)["vectors_val"]
    assert [float(row["share_true"]) for row in rows] == others[:, 0].tolist()
    with Image.open(figure) as image:
        assert image.size[0] > 2 * image.size[1]  # one panel: contrast is fixed
    one_line(pixelcnnpp(*words, "--grid", "share=0.5", "--overwrite"), "--grid", "contrast=…")
    groups, prior, log_prior = tmp_path / "groups.txt", tmp_path / "prior.txt", [0, 1, 2, 3, 4]
    groups.write_text("one set\n" * 10)
    prior.write_text("".join(f"{number}\n" for number in log_prior))
    words = (*words, "--grid", "contrast=0.5,share=log:0.1:0.9:5", "--groups", groups, "--rows", 2)
    done(pixelcnnpp(*words, "--prior", prior, "--figure", figure, "--overwrite"))
    grid = {"share": np.geomspace(0.1, 0.9, 5), "contrast": 0.5}
    how = {"log_prior": log_prior, "groups": np.zeros(10), "observed": 2}
    found = model.grid_posterior(np.load(arrays)["x_val"], grid, **how)
    (row,) = read_rows(table)
    assert row["group"] == "one set"
    assert float(row["share_mean"]) == pytest.approx(found.mean[0, 0], rel=1e-4)
    prior.write_text("1\nx\n1\n1\n1\n")
    one_line(pixelcnnpp(*words, "--prior", prior, "--overwrite"), "prior.txt", "row 1")
    groups.write_text("one set\n" * 9)
    one_line(pixelcnnpp(*words, "--overwrite"), "`groups`. Expected 10 values")


def test_commands_take_a_vector_or_refuse(run_of_vectors, pixelcnnpp, tmp_path):
    named, vector = ("--run", run_of_vectors.path), ("--vector", "contrast=0,share=0.8")
    samples = tmp_path / "samples.npy"
    done(pixelcnnpp("sample", *named, *vector, "--count", 3, "--output", samples, "--seed", 1))
    model = load_trained_model(run_of_vectors.model_keras)
    expected = model.sample(np.tile([0.8, 0], (3, 1)), seed=1, verbose=0)
    np.testing.assert_array_equal(np.load(samples), expected)
    image = tmp_path / "image.png"
    Image.fromarray(lattices(1)[0][0, ..., 0]).save(image)
    output = ("--output", tmp_path / "completions.png")
    done(pixelcnnpp("complete", image, *named, *vector, "--count", 2, *output))
    one_line(pixelcnnpp("complete", image, *named, *output, "--overwrite"), "--vector share=…")
    one_line(pixelcnnpp("sample", *named, *vector, "--output", tmp_path / "many"), "vectors")
    one_line(pixelcnnpp("classify", image, *named), "vectors (share, contrast)")
    score = ("score", *named, "--data", tmp_path, "--output", tmp_path / "scores.csv")
    one_line(pixelcnnpp(*score), "--vector share=…")
    done(pixelcnnpp(*score, *vector))
    row = next(row for row in read_rows(tmp_path / "scores.csv") if row["path"] == "image.png")
    expected = model.bits_per_dim(lattices(1)[0], [0.8, 0])
    np.testing.assert_allclose(float(row["bits_per_dim"]), expected, rtol=1e-5)
    assert [float(row[name]) for name in ("share", "contrast")] == [0.8, 0]
    nats = model.log_prob(lattices(1)[0], [0.8, 0])[0]
    assert float(row["log_prob"]) == pytest.approx(nats, rel=1e-5)
    others = ("--vector", "contrast=0,share=0.5", "--resume")
    one_line(pixelcnnpp(*score, *others), "scores of another model or of other images")
    compress = ("compress", image, *named, "--output", tmp_path / "images.pxc")
    one_line(pixelcnnpp(*compress), "vectors (share, contrast)")
    one_line(pixelcnnpp("evaluate", "generation", *named), "conditioned on vectors")
    done(pixelcnnpp("evaluate", "likelihood", *named))
    assert (run_of_vectors.reports / "likelihood.png").exists()


def test_an_image_of_another_size_is_told(run_of_vectors, pixelcnnpp, tmp_path):
    image = tmp_path / "large.png"
    Image.fromarray(lattices(1)[0][0, ..., 0].repeat(2, axis=0).repeat(3, axis=1)).save(image)
    output = ("--grid", "contrast=0,share=0.5", "--output", tmp_path / "posterior.csv")
    out = done(pixelcnnpp("posterior", "--run", run_of_vectors.path, "--data", image, *output))
    assert f"Resized: {image} (9×6 to 3×3).\n" in out
    assert f"Cropped to another aspect ratio: {image} (9×6 to 6×6).\n" in out


def test_columns_of_a_csv_file_are_vectors(tmp_path):
    """Also one with a name that labels may have."""
    images, vectors = lattices(20)
    rows = [["path", "class_name", "share", "class"]]
    for number, (image, vector) in enumerate(zip(images, vectors, strict=True)):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{number}.png")
        rows.append([f"{number}.png", "x", *vector])
    with (tmp_path / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    how = {"image_size": 3, "channels": 1}
    dataset = load_dataset(tmp_path, **how, vectors=("class", "share"))
    assert dataset.vector_names == ("class", "share")
    assert dataset.conditions.names == ("class", "share")  # one class tells nothing more
    order = [int(path.removesuffix(".png")) for path in dataset.split("train").paths]
    np.testing.assert_allclose(
        dataset.split("train").given["vector"], vectors[order][:, ::-1], rtol=1e-6
    )
    assert dataset.split_as(dataset.listing()[::-1]).split("test").given["vector"].shape == (2, 2)
    other = load_dataset(tmp_path, **how, vectors=("share", "class"))
    assert dataset.fingerprint() != other.fingerprint()
    with pytest.raises(UserError, match="column field"):
        load_dataset(tmp_path, **how, vectors=("field",))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x_train": IMAGES, "x_val": IMAGES, "vectors_train": np.zeros(4)},
            r"Expected vectors_val with 1 numbers.*none",
        ),
        ({"vectors": np.zeros(3)}, "vectors must be numbers"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", images=IMAGES, **arrays)
    with pytest.raises(UserError, match=message):
        load_dataset(tmp_path / "data.npz", make_splits=False)


def test_a_grid_has_all_vectors_in_the_order_of_the_model():
    found = grid_of("b=1,a=0:1:3", ("a", "b"))
    np.testing.assert_array_equal(found, [[0, 1], [0.5, 1], [1, 1]])
    first = ("a=0:1:3", "a=log:0:1:3", "a=0:1", "a=0:1:1e9", "a=x", "a=nan", "a=1,a=1")
    for wrong in (first[0], *(f"{text},b=1" for text in first[1:])):
        with pytest.raises(UserError, match="--grid"):
            grid_of(wrong, ("a", "b"))


def vector_texts(vectors):
    """Returns what a listing says of vectors."""
    return kp.Vectors(vectors.shape[1]).texts(vectors)


def test_an_image_is_known_with_its_vector():
    images, vectors = lattices(3)
    others = [vector_texts(vectors), vector_texts(vectors + 0.1)]
    listing = [
        ListedImage("train", "", "", digest, "", text)
        for text, digest in zip(others[0], array_hashes(images), strict=True)
    ]
    assert are_among(listing, images, (), others[0]).all()
    assert not are_among(listing, images, (), others[1]).any()
    assert are_among(listing, images).all()  # as images alone


def test_an_image_of_a_list_without_vectors_is_known_with_any():
    images, vectors = lattices(3)
    listing = [ListedImage("train", "", "", digest, "", "") for digest in array_hashes(images)]
    assert are_among(listing, images, (), vector_texts(vectors)).all()


def test_unlabeled_images_are_no_data_for_vectors():
    model = kp.GatedPixelCNN((3, 3, 1), conditions=kp.Vectors(1), filters=2, num_blocks=1)
    images = kp.data.LabeledImages(IMAGES, np.full(4, -1), ("",) * 4)
    with pytest.raises(UserError, match="vectors"):
        model.conditions.from_data(images)
