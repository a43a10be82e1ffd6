from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path

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
    found |= {
        name for name, folder in mapped.items() if name and (ROOT / folder / "__init__.py").exists()
    }
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
