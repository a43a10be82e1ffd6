import threading
import time

import hostile
import numpy as np
import pytest
import tiny
from PIL import Image

from keras_pixelcnnpp.app.answers import MOST_PICTURES, NUM_DRAWN, Answers, Picture
from keras_pixelcnnpp.app.figures import belonging_text
from keras_pixelcnnpp.classifiers import BaselineClassifier
from keras_pixelcnnpp.data.images import png_bytes, to_pixels
from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.files import write_json
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.savedmodel.trained import TrainedModel

LEVELS = tiny.tiny_split(6).images


@pytest.fixture(scope="module")
def ready(model):
    answers = Answers(TrainedModel(model, ("a", "b", "c"), "tiny"))
    with answers:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and answers._thread.is_alive():
            time.sleep(0.05)
        yield answers


def last(steps):
    """Where a drawing ends, and how many rows were done at each step."""
    steps = list(steps)
    return steps[-1], [step.rows for step in steps]


class TestDraw:
    def test_gives_what_sample_gives(self, answers, model):
        drawing, rows = last(answers.draw(2, 5, seed=3, temperature=0.7))
        assert rows == [1, 2, 3, 4]
        assert drawing.labels.tolist() == [2] * 5
        expected = model.sample([2] * 5, seed=3, temperature=0.7)
        np.testing.assert_array_equal(drawing.pixels, to_pixels(expected, 5))

    def test_of_any_class(self, answers, model):
        drawing, _ = last(answers.draw(None, MOST_PICTURES, seed=1))
        assert len(set(drawing.labels.tolist())) == 3
        expected = to_pixels(model.sample(drawing.labels, seed=1), 5)
        np.testing.assert_array_equal(drawing.pixels, expected)

    def test_without_a_seed_other_pictures_that_the_seed_told_gives_again(self, answers):
        first, second = (last(answers.draw(0, 4))[0] for _ in range(2))
        assert first.seed != second.seed
        again, _ = last(answers.draw(0, 4, seed=first.seed))
        np.testing.assert_array_equal(again.pixels, first.pixels)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"count": 0}, "from 1 to 16 pictures. Received: 0"),
            ({"count": 17}, "Received: 17"),
            ({"count": 2.5}, r"Received: 2\.5"),
            ({"count": None}, "Received: None"),
            ({"label": 3}, "integers from 0 to 2"),
            ({"label": "grey"}, "`labels`"),
            ({"temperature": 0}, "`temperature`"),
            ({"temperature": None}, "`temperature`"),
            ({"guidance": 1}, "label dropout"),
            ({"seed": -1}, "`seed`"),
        ],
    )
    def test_refuses(self, answers, given, message):
        arguments = {"label": 0, "count": 1, "seed": 0, **given}
        with pytest.raises(UserError, match=message):
            next(answers.draw(**arguments))

    def test_several_at_once_do_not_mix(self, answers, model):
        found = {}

        def draw(seed):
            found[seed] = last(answers.draw(seed % 3, 3, seed=seed))[0].pixels

        threads = [threading.Thread(target=draw, args=[seed]) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for seed in range(6):
            expected = to_pixels(model.sample([seed % 3] * 3, seed=seed), 5)
            np.testing.assert_array_equal(found[seed], expected)


class TestComplete:
    def test_gives_what_complete_gives(self, answers, model):
        picture = Picture(LEVELS[4], "")
        drawing, rows = last(answers.complete(picture, 2, 1, 3, seed=5))
        assert rows == [2, 3, 4]
        expected = model.complete(LEVELS[[4, 4, 4]], 2, [1, 1, 1], seed=5)
        np.testing.assert_array_equal(drawing.pixels, to_pixels(expected, 5))

    def test_draws_the_classes_from_the_belief(self, answers, model, monkeypatch):
        certain = np.zeros((1, 5, 3))
        certain[..., 2] = 1
        monkeypatch.setattr(answers, "judge", lambda levels: type("", (), {"belief": certain}))
        drawing, _ = last(answers.complete(Picture(LEVELS[0], ""), 4, None, 2))
        assert drawing.labels.tolist() == [2, 2]
        np.testing.assert_array_equal(drawing.pixels, to_pixels(LEVELS[[0, 0]], 5))

    @pytest.mark.parametrize("rows", [-1, 5, 1.5, None])
    def test_refuses_rows_that_are_not_there(self, answers, rows):
        with pytest.raises(UserError, match=r"integer from 0 to 4"):
            next(answers.complete(Picture(LEVELS[0], ""), rows, 0, 1))


class TestJudge:
    def test_says_what_the_model_says(self, answers, model):
        judged = answers.judge(LEVELS)
        np.testing.assert_allclose(judged.belief[:, -1], model.class_probabilities(LEVELS), 1e-4)
        of_two = model.class_probabilities(LEVELS, known_rows=2)
        np.testing.assert_allclose(judged.belief[:, 2], of_two, rtol=1e-4)
        np.testing.assert_allclose(judged.bits, model.bits_per_dim(LEVELS), rtol=1e-5)
        files = [8 * len(png_bytes(pixels)) / 16 for pixels in to_pixels(LEVELS, 5)]
        np.testing.assert_allclose(judged.bits - judged.corrected, files)

    def test_evidence(self, answers, model):
        found = answers.evidence(Picture(LEVELS[1], ""), 0, 2)
        gain = model.log_prob(LEVELS[1:2], [0]) - model.log_prob(LEVELS[1:2], [2])
        assert found.shape == (4, 4)
        assert found.sum() == pytest.approx(gain[0], rel=1e-4)
        with pytest.raises(UserError, match="labels"):
            answers.evidence(Picture(LEVELS[1], ""), 0, 3)

    def test_a_model_without_classes(self):
        model = tiny.tiny_model(num_classes=0, conditioning="none")
        answers = Answers(TrainedModel(model, (), "tiny"))
        judged = answers.judge(LEVELS)
        assert judged.belief is None
        np.testing.assert_allclose(judged.bits, model.bits_per_dim(LEVELS))
        drawing, _ = last(answers.draw(None, 2, seed=0))
        np.testing.assert_array_equal(drawing.pixels, to_pixels(model.sample(2, seed=0), 5))
        completed, _ = last(answers.complete(Picture(LEVELS[0], ""), 3, None, 2, seed=0))
        assert completed.labels is None


class TestRead:
    def test_a_picture_of_the_right_size_stays_as_it_is(self, answers, write):
        picture = answers.read(write(LEVELS[3]))
        np.testing.assert_array_equal(picture.levels, LEVELS[3])
        assert picture.story == "4×4 pixels, grey, 5 levels"

    def test_crops_and_inverts(self, answers, tmp_path):
        pixels = np.zeros((8, 16, 3), "uint8")
        pixels[:, 4:12] = 255
        Image.fromarray(pixels).save(tmp_path / "wide.png")
        picture = answers.read(tmp_path / "wide.png")
        assert np.all(picture.levels == 4)
        assert "fitted from 8×16" in picture.story
        assert np.all(answers.read(tmp_path / "wide.png", invert=True).levels == 0)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"no picture at all", "not a PNG or JPEG picture"),
            (b"", "not a PNG or JPEG picture"),
            (hostile.png(60_000, 60_000), "too large"),
            (hostile.jpeg_of_scans(1200, 1000), "scans"),
            (hostile.png(8, 8)[:45], "picture: "),
            (None, "no longer there"),
        ],
    )
    def test_a_bad_file_gets_a_sentence(self, answers, tmp_path, content, message):
        path = tmp_path / "bad.png"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            answers.read(path)
        assert str(tmp_path) not in str(error.value)

    def test_no_file(self, answers):
        with pytest.raises(UserError, match="Choose a picture"):
            answers.read(None)


class TestCompress:
    def test_there_and_back(self, answers, model):
        pytest.importorskip("constriction")
        result = answers.compress(Picture(LEVELS[2], ""))
        np.testing.assert_array_equal(result.levels, LEVELS[2])
        assert result.label == model.class_log_likelihoods(LEVELS[2:3])[0].argmax()
        sizes = dict(result.sizes)
        assert sizes["coded"] - sizes["promised, −log2 p"] < 8
        assert sizes["as PNG files"] > 60


class TestCompare:
    def test_a_run_with_a_cnn(self, model, tmp_path):
        cnn = BaselineCNN((4, 4, 1), 3, num_levels=5)
        write_json(tmp_path / "config.json", {"data": tiny.tiny_data_config(tiny.tiny_dataset())})
        model.save(tmp_path / "model.keras")
        assert (
            "pixelcnnpp train baseline --resize squeeze --data tiny"
            in Answers.load(tmp_path).no_baseline
        )
        cnn.save(tmp_path / "baseline.keras")
        answers = Answers.load(tmp_path)
        expected = BaselineClassifier(cnn).predict_proba(LEVELS[:1])[0]
        np.testing.assert_allclose(answers.ask_cnn(Picture(LEVELS[0], "")), expected, rtol=1e-5)

    def test_a_file_has_none(self, model, tmp_path):
        model.save(tmp_path / "model.keras")
        answers = Answers.load(tmp_path / "model.keras")
        assert answers.trained.class_names == ("Class0", "Class1", "Class2")
        with pytest.raises(UserError, match="pixelcnnpp app --run"):
            answers.ask_cnn(Picture(LEVELS[0], ""))


class TestBelonging:
    def test_the_model_draws_what_to_compare_with(self, ready, model):
        drawn = ready.drawn()
        assert len(drawn.bits) == NUM_DRAWN
        examples = ready.examples()
        assert examples.shape == (MOST_PICTURES, 4, 4, 1)
        judged = ready.judge((examples // 63).astype("uint8"))
        np.testing.assert_allclose(drawn.corrected[:MOST_PICTURES], judged.corrected, rtol=1e-4)

    def test_says_what_it_compares_with(self, ready):
        drawn = ready.drawn()
        familiar = ready.judge((ready.examples()[:1] // 63).astype("uint8"))
        told = belonging_text(familiar, drawn)
        assert f"**{familiar.bits[0]:.3f} bits/dim**" in told
        assert f"Of {NUM_DRAWN} pictures that this model drew" in told
        assert "not those that it was trained on" in told
        strange = type(familiar)(None, familiar.bits + 9, familiar.corrected + 9)
        assert "No.** Once the bits of the PNG file" in belonging_text(strange, drawn)
        assert f"0 of the {NUM_DRAWN} are as strange" in belonging_text(strange, drawn)
        assert "still drawing" in belonging_text(familiar, None)

    def test_ends_in_the_middle_of_it(self, model):
        with Answers(TrainedModel(model, ("a", "b", "c"), "tiny")) as answers:
            pass
        assert not answers._thread.is_alive()
        assert answers.examples().shape[1:] == (4, 4, 1)

    def test_a_model_that_cannot_draw_is_told_in_a_line(self, model, monkeypatch, capsys):
        answers = Answers(TrainedModel(model, ("a", "b", "c"), "tiny"))
        monkeypatch.setattr(answers, "judge", lambda levels: 1 / 0)
        with answers:
            assert len(answers.examples()) == MOST_PICTURES
        assert capsys.readouterr().err.count("\n") == 1
        assert answers.drawn() is None
