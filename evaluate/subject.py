"""The subject of a measurement: a model, the images, and the folder of the results."""

from functools import cached_property
from pathlib import Path

from keras_pixelcnnpp.commands.trained_model import TrainedModel
from keras_pixelcnnpp.conditions import Vectors
from keras_pixelcnnpp.data.dataset import Dataset, LabeledImages, Listing
from keras_pixelcnnpp.data.load import source_of
from keras_pixelcnnpp.evaluate.measurements import DataOptions, SampledOptions
from keras_pixelcnnpp.models.archive import load_trained_model
from keras_pixelcnnpp.models.autoregressive import AutoregressiveModel
from keras_pixelcnnpp.models.baseline_cnn import BaselineCNN
from keras_pixelcnnpp.presets import Preset
from keras_pixelcnnpp.recipes.recipe import READING
from keras_pixelcnnpp.sampling.class_samples import ClassSamples
from keras_pixelcnnpp.training.run import RunFolder, TrainedImages
from keras_pixelcnnpp.utils.errors import UserError
from keras_pixelcnnpp.utils.files import read_json, safe_names, sha256
from keras_pixelcnnpp.utils.hashes import HASH_LENGTH


class Subject(TrainedImages):
    """The model, the images and the folder of results that a command's options choose.

    Args:
        options: The options, a `DataOptions`.

    Attributes:
        run: `RunFolder` of the model, or `None` for a preset or a file.
        config: Content of the run's `config.json`, or the known facts about a preset or a file.
        data: Location of the images, a `DataSource.location`, or `None` for those of the run.
        root: Folder of all results of the model.
        folder: Folder of the results on these images: `root` for the run's split validation, and
            otherwise a subfolder.
        notes: Messages on the images, once they are loaded.
        asks_cnn: Boolean, whether a measurement has asked for the baseline CNN.

    Raises:
        UserError: If the run, the preset or the file does not exist.
    """

    def __init__(self, options: DataOptions):
        self.options = options
        self.notes: list[str] = []
        self.asks_cnn = False
        self._samples: dict[tuple, ClassSamples] = {}
        self.run = None if options.run is None else RunFolder(options.run)
        self._preset = None if options.preset is None else Preset(options.preset)
        if self.run is None:
            self.config = _known_about(self.model, self.trained.reading, self._preset)
        else:
            self.config = self.run.read_config()
        source = None if options.data is None else source_of(options.data)
        self.data = None if source is None else source.location
        usual = Path("reports", self.name) if self.run is None else self.run.reports
        self.root = options.output or usual
        self.folder = self._folder([] if source is None else [source.name])

    def _folder(self, words: list[str]) -> Path:
        """Returns the folder of the results, which has no results on other images."""
        split = self.options.split
        if split is not None and (words or split != "validation"):
            words = [*words, split]
        if not words:
            return self.root
        (name,) = safe_names(["-".join(words) or "data"])
        folder = self.root / name
        for file in folder.glob("*.json"):
            if read_json(file).get("data") != self.data:
                raise UserError(f"{folder} has results on other images. Choose another --output")
        return folder

    def read_config(self) -> dict:
        return self.config

    def listing(self) -> Listing:
        return [] if self.run is None else self.run.listing()

    @property
    def name(self) -> str:
        """Name of the run, the preset or the file."""
        path = Path(next(iter(self.options.given.values()))).resolve()
        return path.name if self.options.model is None else path.stem

    @cached_property
    def trained(self) -> TrainedModel:
        """The model, loaded."""
        return TrainedModel.named(self.options)

    @property
    def model(self) -> AutoregressiveModel:
        """The model, loaded."""
        return self.trained.model

    @property
    def cnn(self) -> BaselineCNN | None:
        """The baseline CNN of the run, or `None`."""
        self.asks_cnn = True
        return self._cnn

    @cached_property
    def _cnn(self) -> BaselineCNN | None:
        if self.run is None or not self.run.baseline_keras.exists():
            return None
        return load_trained_model(self.run.baseline_keras, BaselineCNN)

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the models in tables and plots, by section of `config`."""
        usual = {"pixelcnnpp": "PixelCNN++", "baseline": "Baseline CNN"}
        return {n: str(self.config.get(n, {}).get("title", title)) for n, title in usual.items()}

    @property
    def class_names(self) -> list[str]:
        """Names of the classes of the data that the model was trained on."""
        return self.config["data"]["class_names"]

    @cached_property
    def dataset(self) -> Dataset:
        """The images in all splits."""
        dataset = self.load_data(self.data, self.options.classes_in_order)
        self.notes += dataset.notes
        return dataset

    def sample(self, options: SampledOptions) -> ClassSamples:
        """Samples images of each class by a command's options.

        Measurements with the same options get the same samples, which are made once.
        """
        how = {"seed": options.seed, **options.of_sampler()}
        key = (options.per_class, *how.values())
        if key not in self._samples:
            self._samples[key] = ClassSamples.sample(self.model, options.per_class, **how)
        return self._samples[key]

    @property
    def split(self) -> str:
        """Name of the split to measure on."""
        return self.dataset.split_to_measure(self.options.split)

    @property
    def images(self) -> LabeledImages:
        """The images to measure on."""
        return self.dataset.split(self.split)

    @cached_property
    def weights(self) -> dict[str, str]:
        """Hashes of the weights of the models, by section of `config`."""
        if self.run is not None:
            files = {name: self.run.model(name) for name in self.run.MODEL_FILES}
        else:
            weights = self._preset.weights_path if self._preset else self.options.model
            files = {"pixelcnnpp": weights}
        return {n: sha256(file)[:HASH_LENGTH] for n, file in files.items() if file.is_file()}

    def used(self) -> dict[str, str | None]:
        """Returns the hashes of the weights on which a result depends, `None` for a missing CNN."""
        names = ["pixelcnnpp", "baseline"] if self.asks_cnn else ["pixelcnnpp"]
        return {name: self.weights.get(name) for name in names}


def _known_about(model: AutoregressiveModel, reading: dict, preset: Preset | None) -> dict:
    """Returns the known facts about a model without a run, in the form of `config.json`."""
    facts = {} if preset is None else preset.metadata
    training = facts.get("training", {})
    # Weights may have been trained for more epochs than the recipe of the preset.
    more = {"epochs": facts.get("epochs", training.get("epochs")), "network": model.network_name}
    more |= {"num_levels": model.num_levels}
    more |= {} if model.ordered_levels else {"codes": True}
    options = {name: v for name, v in (training | more).items() if name not in READING}
    vectors = [part for part in model.conditions if isinstance(part, Vectors)]
    if not model.conditions:
        options["conditioning"] = "none"
    return {
        "data": {
            "source": facts.get("data", "an unnamed data set"),
            "split_seed": facts.get("split_seed", 0),
            **reading,
            "fingerprint": facts.get("fingerprint", "unknown"),
            "class_names": list(model.class_names),
            "vector_names": [name for part in vectors for name in part.names],
            "image_shape": list(model.image_shape),
        },
        "pixelcnnpp": {
            "title": model.title,
            "options": options,
            "model": model.get_config(),
            "parameters": model.count_params(),
            "versions": facts.get("versions", {}),
        },
    }
