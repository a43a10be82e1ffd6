"""Rules by which a training run may use its folder, and which files it replaces there."""

import shutil
from pathlib import Path

from keras_pixelcnnpp.data.identity import Listing, changes_text
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
        _say_what_is_dropped(run, known[section], config[section])
        config[section] = _with_commands(known[section], config[section])
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
    begun, given = (recipe_of_run(one, section) for one in (known or config, config))
    if not goes_on or begun.epochs != given.epochs:
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
    is_shorter = saved and saved[-1] > Progress(given.epochs)
    if is_shorter or (has_model and begun.epochs == given.epochs):
        raise UserError(
            f"{run.path} has already trained {section} for {saved[-1]}. Use more --epochs to "
            f"continue it, or --overwrite to replace it. Received: epochs={given.epochs}"
        )


def _with_commands(known: dict, section: dict) -> dict:
    """Returns the section of a resumed training, with the commands that began and resumed it."""
    resumed = [*known.get("resumed", []), section.get("command")]
    begun = {name: known.get(name) for name in ("command", "callbacks")}
    return {**section, **begun, "resumed": resumed}


def _say_what_is_dropped(run: RunFolder, before: dict, now: dict) -> None:
    """Tells the user which callbacks a run was begun with, by a script, that a command lacks."""
    begun_with = before.get("callbacks")
    if not isinstance(begun_with, list):  # another program has changed the file
        return
    if dropped := [name for name in begun_with if name not in now.get("callbacks", ())]:
        say(
            f"Note: {run.path} was begun by another command, {before.get('command')}. This one "
            f"goes on without its callbacks: {', '.join(map(str, dropped))}"
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
    values = recipe_of_run(config, section).values_read()
    for name in RECIPES.keys() & known.keys() - {section}:
        if recipe_of_run(known, name).values_read() != values:
            return (
                f"The model {name} of {run.path} reads the images as other values: 8 bits, 16 bits "
                "(--num-levels from 257 on), or codes"
            )
    before, now = (recipe_of_run(one, section) for one in (known, config))
    names = ["max_examples", "seed"] if before.max_examples or now.max_examples else []
    is_same = known["data"]["fingerprint"] == config["data"]["fingerprint"]
    if not is_same:
        names += [name for name in DATA if name != "data"]
    if found := before.differences(now, names):
        return f"{run.path} was trained on images of other options: {found}"
    if is_same:
        return None
    listings = run.listing(), listing
    files = [
        [(image.split, image.class_name, image.condition, image.sha256) for image in one]
        for one in listings
    ]
    classes = [[*one["data"]["class_names"]] for one in (known, config)]
    if files[0] != files[1] or classes[0] != classes[1]:
        source = f"{known['data']['source']}{changes_text(*listings)}"
        return f"{run.path} was trained on other images, or classes, of {source}"
    say(
        f"Warning: the files are those that {run.path} was trained on, but their pixels "
        "differ, perhaps because another version of Pillow decodes them."
    )
    return None


def _remove_training(run: RunFolder, section: str, with_state: bool = True) -> None:
    """Removes the model, the results, and the checkpoints of a training run."""
    removed = [run.checkpoints(section), run.logs(section)] if with_state else []
    if run.has_checkpoint(section) or run.model(section).exists():
        # A server may be reading `savedmodel`, which the next export replaces.
        removed += [run.model(section), run.reports]
    # Errors are raised here, because old checkpoints would be used for the new run.
    for path in filter(Path.exists, removed):
        say(f"Removing {path}, which belongs to the earlier training")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
