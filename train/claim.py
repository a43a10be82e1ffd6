"""Rules by which a training run may use its folder, and which files it replaces there."""

import shutil
from pathlib import Path

from keras_pixelcnnpp.data.identity import Listing
from keras_pixelcnnpp.recipes.recipe import DATA, MAY_CHANGE, RECIPES, recipe_of_run
from keras_pixelcnnpp.training.checkpoints import Checkpoints, Progress
from keras_pixelcnnpp.training.run import RunFolder
from keras_pixelcnnpp.utils.errors import UserError, say
from keras_pixelcnnpp.utils.files import remove_leftovers, write_json


def claim(
    run: RunFolder, section: str, config: dict, listing: Listing, *, resume: bool, overwrite: bool
) -> None:
    """Writes `config.json` and `split.csv` of a training run, and removes older results.

    The run folder is locked. `config` has the sections `data` and `section` of the training, and
    `listing` is that of its images. With `resume`, a training without a checkpoint starts again.
    With `overwrite`, the run's other model is removed if it was trained on other images.

    Raises:
        UserError: If a rule forbids it. The message says how to proceed, and no file has changed.
    """
    for folder in (run.path, run.checkpoints(section), run.logs(section)):
        remove_leftovers(folder)
    known = run.read_config() if run.config_json.exists() else {}
    others = {name: known[name] for name in RECIPES if name in known and name != section}
    if resume:
        _require_same_options(run, section, known, config)
        config[section]["command"] = known[section].get("command")
    elif not overwrite:
        _require_no_model(run, section, known)
    is_shared = bool(others or resume)
    if is_shared and (reason := _other_images(run, section, known, config, listing)):
        if not overwrite:
            raise UserError(f"{reason}. Add --overwrite to start over, or choose another folder")
        say(f"{reason}. The earlier training is overwritten")
        for name in others:
            _remove_training(run, name)
        others, is_shared = {}, False
    goes_on = resume and run.has_checkpoint(section)
    if not (goes_on and _has_same_epochs(section, known, config)):
        _remove_training(run, section, with_state=not goes_on)
    if is_shared:
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
            f"{run.path} was trained with other options: {found}. To resume it, omit them. To "
            "start over, use --overwrite, or choose another folder."
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


def _other_images(
    run: RunFolder, section: str, known: dict, config: dict, listing: Listing
) -> str | None:
    """Returns how the images of the run differ from those of a training, or `None`."""
    if reason := _other_data(run, known, config, listing):
        return reason
    before, now = (
        f"{one.max_examples} images, chosen by seed {one.seed or 0}"
        if one.max_examples
        else "all images"
        for one in (recipe_of_run(known, section), recipe_of_run(config, section))
    )
    if before == now:
        return None
    return f"{run.path} was trained on {before}. This training has {now}"


def _other_data(run: RunFolder, known: dict, config: dict, listing: Listing) -> str | None:
    if known["data"]["fingerprint"] == config["data"]["fingerprint"]:
        return None
    source, given = known["data"]["source"], config["data"]["source"]
    before, now = (recipe_of_run(one, "baseline") for one in (known, config))
    files = [
        [(image.split, image.class_name, image.sha256) for image in rows]
        for rows in (run.listing(), listing)
    ]
    if files[0] != files[1] and source != given:
        return f"{run.path} was trained on {source}. {given} has other images"
    if found := before.differences(now, [name for name in DATA if name != "data"]):
        return f"{run.path} was trained on images that were read with other options: {found}"
    if files[0] != files[1]:
        return f"The images in {source} have changed since {run.path} was trained on them"
    if [*known["data"]["class_names"]] != [*config["data"]["class_names"]]:
        return f"{run.path} was trained on classes in another order"
    say(
        f"Warning: the files are those that {run.path} was trained on, but their pixels "
        "differ, perhaps because another version of Pillow decodes them."
    )
    return None


def _has_same_epochs(section: str, known: dict, config: dict) -> bool:
    begun, given = (recipe_of_run(one, section) for one in (known, config))
    return begun.epochs == given.epochs


def _remove_training(run: RunFolder, section: str, with_state: bool = True) -> None:
    """Removes the model, the results, and the checkpoints of a training run."""
    removed = [run.checkpoints(section), run.logs(section)] if with_state else []
    if run.has_checkpoint(section) or run.model(section).exists():
        removed += [run.model(section), run.reports]
        # A server may be reading `savedmodel`, which the next export replaces.
        removed += [run.samples] if section == "pixelcnnpp" else []
    # Errors are raised here, because old checkpoints would be used for the new run.
    for path in filter(Path.exists, removed):
        say(f"Removing {path}, which belongs to the earlier training")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
