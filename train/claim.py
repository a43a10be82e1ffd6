"""Rules by which a training run may use its folder, and which files it replaces there."""

import shutil

from keras_pixelcnnpp.data.identity import Listing
from keras_pixelcnnpp.training.checkpoints import Checkpoints, Progress
from keras_pixelcnnpp.training.recipe import DATA, MAY_CHANGE, RECIPES, Recipe, recipe_of_run
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import remove_leftovers, write_json


def claim(
    run: RunFolder, section: str, config: dict, listing: Listing, *, resume: bool, overwrite: bool
) -> None:
    """Writes `config.json` and `split.csv` of a training run, and removes older results.

    The run folder is locked. `config` has the sections `data` and `section` of the training, and
    `listing` is that of its images. With `resume`, a training without a checkpoint starts again.

    Raises:
        UserError: If a rule forbids it. The message says how to proceed, and no file has changed.
    """
    for folder in (run.path, run.checkpoints(section), run.logs(section)):
        remove_leftovers(folder)
    known = run.read_config() if run.config_json.exists() else {}
    others = {name: known[name] for name in RECIPES if name in known and name != section}
    if resume:
        _require_same_options(run, section, known, config)
    elif not overwrite:
        _require_no_model(run, section, known)
    if others or resume:
        _require_same_images(run, known, config, listing)
    for name in others:
        _require_same_choice(run, name, known, recipe_of_run(config, section))
    _remove_replaced(run, section, known, config, resume)
    if others or resume:
        config = {**config, "data": known["data"]}
    else:
        run.write_listing(listing)
    write_json(run.config_json, {"data": config["data"], **others, section: config[section]})


def _require_same_options(run: RunFolder, section: str, known: dict, config: dict) -> None:
    """A training run is resumed with the options of its beginning, or more epochs if finished."""
    saved, has_model = Checkpoints(run.checkpoints(section)).saved(), run.model(section).exists()
    if section not in known or (has_model and not saved):
        raise UserError(
            f"Nothing to resume in {run.path}: it has no checkpoint of {section}. "
            "Omit --resume to start a run."
        )
    begun, given = recipe_of_run(known, section), recipe_of_run(config, section)
    names = [name for name in vars(given) if name not in (*DATA, *MAY_CHANGE)]
    if found := begun.differences(given, names):
        raise UserError(
            f"{run.path} was trained with other options. To resume it, use the same: "
            f"{found}. Or replace it with --overwrite, or choose another folder."
        )
    if saved and saved[-1] > Progress(given.epochs):
        raise UserError(
            f"{run.path} has already trained {section} for {saved[-1]}. Expected at least "
            f"that number of epochs. Received: epochs={given.epochs}"
        )
    if has_model and begun.epochs == given.epochs:
        raise UserError(
            f"The training of {section} in {run.path} has finished. Use more --epochs to "
            "continue it, or --overwrite to replace it."
        )


def _require_no_model(run: RunFolder, section: str, known: dict) -> None:
    """A model or a checkpoint is replaced only if the user asks for it."""
    if run.has_checkpoint(section) or run.model(section).exists():
        how = "--resume to continue it or " if section in known else ""
        raise UserError(
            f"{run.path} already contains a run of {section}. Add {how}--overwrite to replace it, "
            "or choose another folder."
        )


def _require_same_images(run: RunFolder, known: dict, config: dict, listing: Listing) -> None:
    """Both models of a run are trained on the same images in the same splits."""
    if known["data"]["fingerprint"] == config["data"]["fingerprint"]:
        return
    before, given = recipe_of_run(known, "baseline"), recipe_of_run(config, "baseline")
    found = before.differences(given, [name for name in DATA if name != "data"])
    files = [
        [(image.split, image.class_name, image.sha256) for image in rows]
        for rows in (run.listing(), listing)
    ]
    in_order = [*known["data"]["class_names"]] == [*config["data"]["class_names"]]
    if files[0] == files[1] and not found and in_order:
        say(
            f"Warning: the files are those that {run.path} was trained on, but their pixels "
            "differ, perhaps because another version of Pillow decodes them."
        )
        return
    advice = f"Use the options {found}" if found else "They have changed: restore them"
    if files[0] == files[1] and not in_order:
        advice = "Its classes had another order: start a new run"
    raise UserError(f"{run.path} was trained on other images. {advice}; or choose another folder.")


def _require_same_choice(run: RunFolder, other: str, known: dict, given: Recipe) -> None:
    """Both models of a run are trained on the same part of the images."""
    before, now = (
        f"{one.max_examples} images, chosen by seed {one.seed or 0}"
        if one.max_examples
        else "all images"
        for one in (recipe_of_run(known, other), given)
    )
    if before != now:
        raise UserError(
            f"The {other} in {run.path} was trained on {before}. Use the same "
            f"--max-examples and --seed, or choose another folder. Received: {now}"
        )


def _remove_replaced(run: RunFolder, section: str, known: dict, config: dict, resume: bool) -> None:
    """Removes what would belong to the earlier training: its checkpoints, model and results."""
    has_checkpoint = run.has_checkpoint(section)
    is_continued = resume and has_checkpoint
    if is_continued:
        begun, given = (recipe_of_run(one, section) for one in (known, config))
        if begun.epochs == given.epochs:
            return
    has_results = has_checkpoint or run.model(section).exists()
    folders = [] if is_continued else [run.checkpoints(section), run.logs(section)]
    if has_results:
        folders.append(run.reports)
        # A server may be reading `savedmodel`, which the next export replaces.
        folders += [run.samples] if section == "pixelcnnpp" else []
    # Errors are raised here, because old checkpoints would be used for the new run.
    for folder in filter(lambda path: path.exists(), folders):
        say(f"Removing {folder}, which belongs to the earlier training")
        shutil.rmtree(folder)
    run.model(section).unlink(missing_ok=True)
