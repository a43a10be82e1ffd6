"""A folder that holds one folder of pictures for each class, with or without splits."""

from collections import Counter

from keras_pixelcnnpp.datasets.dataset import Dataset
from keras_pixelcnnpp.datasets.images import SUFFIXES
from keras_pixelcnnpp.datasets.picture_files import file_inside, read_pictures
from keras_pixelcnnpp.datasets.splits import hold_out, with_validation
from keras_pixelcnnpp.errors import UserError

# What people call the splits, and what they are called here.
SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


def load_class_folders(folder, image_shape, seed=0):
    """Loads `train/burger/*.jpg`, `validation/burger/*.jpg`, … or just `burger/*.jpg`, ….

    The classes are the folders of the training split in alphabetical order. PNG and JPEG files
    below a class folder count, at any depth. The folder `test` may hold pictures directly: they are
    unlabeled. Without a validation folder, a tenth of the training pictures becomes that split;
    without any split folder, 80 % of each class become `train`, 10 % `validation`, 10 % `test`.

    Args:
        folder: `pathlib.Path`.
        image_shape: Triple of integers `(height, width, channels)` to convert the pictures to.
        seed: Integer, chooses the pictures of splits that aren't there.

    Returns:
        `Dataset` with 256 levels.

    Raises:
        UserError: If the folders don't fit together or a picture is bad; the message names it.
    """
    found = [name for name in SPLIT_FOLDERS if (folder / name).is_dir()]
    folders = {SPLIT_FOLDERS[name]: folder / name for name in found}
    if len(folders) < len(found):
        raise UserError(f"{folder}: two folders for one split among {', '.join(found)}")
    if folders and "train" not in folders:
        raise UserError(f"{folder}: the folder train is missing")
    class_names = tuple(path.name for path in _subfolders(folder, folders.get("train", folder)))
    for name in class_names:
        _require_text(name)
    if not class_names:
        raise UserError(
            f"{folder} holds neither train.csv, nor a folder for each class, nor a folder train "
            "with a folder for each class"
        )
    skipped = Counter()
    splits = {
        name: _read_split(folder, path, class_names, image_shape, name, skipped)
        for name, path in (folders or {"train": folder}).items()
    }
    splits, notes = with_validation(splits, seed) if folders else _split_in_three(splits, seed)
    if skipped:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(skipped.items()))
        notes = (*notes, f"Files that are neither PNG nor JPEG by name were skipped: {kinds}.")
    return Dataset(folder.resolve().name, class_names, 256, splits, notes)


def _require_text(class_name):
    # On some systems a folder's name may hold any bytes; JSON and pages hold text.
    try:
        class_name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The name of a class must be text in UTF-8. Received: the folder {class_name!a}"
        ) from None


def _read_split(root, folder, class_names, image_shape, split, skipped):
    listed = []
    for subfolder in _subfolders(root, folder):
        if subfolder.name not in class_names:
            raise UserError(
                f"{subfolder}: the training split has no class {subfolder.name!r}. "
                f"It has: {', '.join(class_names)}"
            )
        files = _pictures(subfolder.rglob("*"), skipped)
        if split == "train" and not files:
            raise UserError(f"{subfolder} holds no PNG or JPEG file")
        listed += [(file, class_names.index(subfolder.name)) for file in files]
    if split == "test" and not listed:
        listed = [(file, -1) for file in _pictures(folder.iterdir(), skipped)]
    if not listed:
        raise UserError(f"{folder} holds no PNG or JPEG file")
    paths = [file.relative_to(root).as_posix() for file, _ in listed]
    files = [file_inside(root, path) for path in paths]
    labels = [label for _, label in listed]
    return read_pictures(files, labels, paths, image_shape, [f"Split {split}"] * len(files))


def _subfolders(root, folder):
    found = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    for path in found:
        # Before it is searched: a link may lead to the root of the file system.
        if not path.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{path} leads out of the folder")
    return found


def _pictures(paths, skipped):
    """Returns the picture files among `paths`, sorted, and counts the others in `skipped`."""
    files = sorted(path for path in paths if path.is_file() and not path.name.startswith("."))
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    skipped.update(
        path.suffix or path.name for path in files if path.suffix.lower() not in SUFFIXES
    )
    return pictures


def _split_in_three(splits, seed):
    rest, held_out = hold_out(splits["train"], 0.2, seed)
    validation, test = hold_out(held_out, 0.5, seed)
    note = (
        "No folders train, validation and test: every class was split 80/10/10 into them "
        f"(seed {seed})."
    )
    return {"train": rest, "validation": validation, "test": test}, (note,)
