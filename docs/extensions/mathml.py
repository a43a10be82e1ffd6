"""Formulas as MathML, which browsers render without a script."""

from docutils import nodes
from docutils.utils.math import latex2mathml


def visit_inline(translator, node):
    """Writes a formula within a line."""
    translator.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_block(translator, node):
    """Writes a formula of its own lines."""
    formula = latex2mathml.tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Adds the renderer `mathml`, which `html_math_renderer` selects."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
