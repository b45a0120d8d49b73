"""How Sphinx makes the book. It asks no network: equations become MathML, which browsers draw by themselves."""

from docutils import nodes
from latex2mathml.converter import convert

project = "LLM-ESR, reproduced"
author = "the authors of this repository"
copyright = "MIT licence"  # Sphinx's name for it
extensions = ["myst_nb"]
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_static_path = ["book.css"]
html_css_files = ["book.css"]
html_math_renderer = "mathml"
nb_render_markdown_format = "gfm"  # tables in outputs
nb_execution_mode = "off"  # the pipeline has executed the lessons
nb_ipywidgets_js = {}  # the only script that would be loaded from elsewhere
nb_merge_streams = True
nb_output_stderr = "remove"
nb_mime_priority_overrides = [("html", "text/html", 5)]  # tables before their plain text
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]  # progress bars


def inline_math(writer: nodes.NodeVisitor, node: nodes.math) -> None:
    """Write an equation within a line."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block_math(writer: nodes.NodeVisitor, node: nodes.math_block) -> None:
    """Write an equation on a line of its own."""
    writer.body.append(f'<div class="equation">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: object) -> None:
    """Register the renderer; Sphinx calls this."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
