from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def settings():
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_package_folder_is_listed():
    options = settings()["options"]
    mapped = dict(
        line.split(" = ") for line in options["package_dir"].splitlines() if " = " in line
    )
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in (ROOT / "keras_pixelcnnpp").rglob("__init__.py")
    }
    for name, folder in mapped.items():
        if name:
            for path in (ROOT / folder).rglob("__init__.py"):
                inner = path.parent.relative_to(ROOT / folder).parts
                found.add(".".join((name, *inner)))
    assert set(options["packages"].split()) == found


def test_the_command_is_installed():
    (entry,) = distribution("keras-pixelcnnpp").entry_points.select(name="pixelcnnpp")
    assert callable(entry.load())


def test_the_two_tfp_distributions_never_meet():
    extras = settings()["options.extras_require"]
    assert "tfp-nightly" not in extras["tensorflow"]
    assert "tensorflow-probability" not in extras["jax"]
    for shared in (extras["dev"], extras["fid"], settings()["options"]["install_requires"]):
        assert "tfp" not in shared
        assert "tensorflow" not in shared


def locked_versions(lock):
    """The pinned requirements that hold for the Python that runs, and how many have no hash."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    blocks = text.replace("\\\n", " ").splitlines()
    pins = [line for line in blocks if line and not line.lstrip().startswith("#")]
    requirements = [Requirement(line.split(" --hash")[0]) for line in pins]
    versions = {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in requirements
        if pin.marker is None or pin.marker.evaluate()
    }
    return versions, sum("--hash=sha256:" not in line for line in pins)


@pytest.mark.parametrize(
    ("lock", "wanted_extras"),
    [
        ("tensorflow", ("tensorflow", "dev")),
        ("jax", ("jax", "dev")),
        ("torch", ("torch", "dev")),
        ("docs", ("tensorflow", "docs")),
    ],
)
def test_locked_versions_are_those_that_setup_cfg_allows(lock, wanted_extras):
    """After a change in setup.cfg: make lock."""
    locked, without_hash = locked_versions(lock)
    assert without_hash == 0
    if lock == "torch":
        pin = Requirement((ROOT / "requirements" / "torch.in").read_text().splitlines()[-1])
        locked["torch"] = next(iter(pin.specifier)).version
    options, extras = settings()["options"], settings()["options.extras_require"]
    lines = "".join([options["install_requires"], *(extras[name] for name in wanted_extras)])
    for line in lines.splitlines():
        wanted = Requirement(line) if line else None
        if wanted and (wanted.marker is None or wanted.marker.evaluate()):
            version = locked[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(version, prereleases=True), line
