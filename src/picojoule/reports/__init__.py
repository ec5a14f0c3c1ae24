"""Results for people: :mod:`text` for a terminal or a file, :mod:`html` for a notebook.

Renderers know results; results know no renderer.
"""
