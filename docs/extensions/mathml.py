"""Formulas as MathML, which browsers render without a script."""

import re

from docutils import nodes
from docutils.utils.math import latex2mathml

# A named function is set apart from the letters next to it.
NAME = r"<mi[^>]*>(?:log|exp)</mi>"
NAME = rf"(?:<msub>\s*{NAME}\s*<mn>2</mn>\s*</msub>|{NAME})(?:\s*<mo>&ApplyFunction;</mo>)?"
LETTER = r"(?:<mi>\w</mi>|<mn>\d+</mn>)"
SPACE = '<mspace width="0.17em"></mspace>'


def mathml(formula, as_block=False):
    """Translates LaTeX to MathML.

    Args:
        formula: String of LaTeX, as MyST reads it between dollar signs.
        as_block: Boolean, whether the formula has lines of its own.

    Returns:
        String, an element `math`.
    """
    text = latex2mathml.tex2mathml(formula, as_block=as_block)
    # A name of several letters is upright by itself.
    text = re.sub(r'<mi mathvariant="normal">(\w\w+)</mi>', r"<mi>\1</mi>", text)
    text = re.sub(rf"({NAME})(?=\s*{LETTER})", rf"\1{SPACE}", text)
    return re.sub(rf"({LETTER})(?=\s*{NAME})", rf"\1{SPACE}", text)


def visit_inline(translator, node):
    """Writes a formula within a line."""
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_block(translator, node):
    """Writes a formula of its own lines."""
    formula = mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Adds the renderer `mathml`, which `html_math_renderer` selects."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
