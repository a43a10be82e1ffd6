"""The site: `make docs`. Neither the build nor a reader's browser fetches anything."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

# Also in the badges and first cells of the notebooks.
repository = "https://github.com/keras-pixelcnnpp/keras-pixelcnnpp"

project = html_title = "keras-pixelcnnpp"
copyright = "keras-pixelcnnpp maintainers, Apache-2.0"  # noqa: A001 (Sphinx's name)
extensions = [
    "myst_nb",
    "mathml",
    "site_links",
]
exclude_patterns = ["_build", "**/runs"]
nitpicky = True

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]

nb_execution_mode = "off"  # `make notebooks` runs them and stores their outputs
nb_render_markdown_format = "myst"
