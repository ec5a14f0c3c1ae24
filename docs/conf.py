"""Sphinx: Markdown by MyST, looks by Furo, references generated from the code."""

from __future__ import annotations

from picojoule import __version__

project = "picojoule"
author = "The picojoule maintainers"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "tools.sphinx_tables",  # found where sphinx is run from the root: python -m sphinx
]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_use_rtype = False
html_theme = "furo"
html_title = f"picojoule {release}"
html_static_path: list[str] = []
html_show_copyright = False
