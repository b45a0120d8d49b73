"""How Sphinx makes the site from the pages here and the executed lessons (`lib/llmesr/tools/docs.py`)."""

project = "LLM-ESR, reproduced"
author = "the authors of this repository"
copyright = "MIT licence"  # Sphinx's name for it
extensions = ["myst_nb"]
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
