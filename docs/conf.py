"""How Sphinx makes the site from the pages here and the executed lessons (`lib/llmesr/tools/docs.py`)."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html import HTMLWriter

project = "LLM-ESR, reproduced"
author = "the authors of this repository"
copyright = "MIT licence"  # Sphinx's name for it
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
nb_render_markdown_format = "gfm"  # tables in outputs
nb_execution_mode = "off"  # the pipeline has executed the lessons
nb_ipywidgets_js = {}  # progress bars are not shown
nb_merge_streams = True
nb_output_stderr = "remove"
nb_mime_priority_overrides = [("html", "text/html", 5)]  # tables before their plain text
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]  # progress bars
html_math_renderer = "mathml"  # browsers draw it themselves; MathJax would be fetched from elsewhere


def _inline(writer: HTMLWriter, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _display(writer: HTMLWriter, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Draw equations as MathML."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
