"""Shows the notebooks with what `docs/run_notebooks.py` kept of them, if it is of these cells."""

import json
from pathlib import Path


def cells(notebook):
    """What was typed into a notebook."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def show_outputs(app, docname, source):
    """Replaces a notebook that was read by the same one with outputs."""
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    kept = Path(app.srcdir) / "_build" / "notebooks" / path.name
    app.env.note_dependency(str(kept), docname=docname)
    if kept.exists():
        text = kept.read_text(encoding="utf-8")
        if cells(json.loads(text)) == cells(json.loads(source[0])):
            source[0] = text


def setup(app):
    """Connects the function above, before links are rewritten."""
    app.connect("source-read", show_outputs, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
