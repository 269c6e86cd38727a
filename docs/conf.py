"""The site made of these pages: `make docs`."""

import inspect
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import figures  # noqa: E402
import tworoutine  # noqa: E402

project = "tworoutine"
author = "The tworoutine authors"
copyright = author
version = release = tworoutine.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"tworoutine {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_copyright = False
html_copy_source = False

myst_heading_anchors = 4
napoleon_numpy_docstring = False
autodoc_mock_imports = ["twisted"]
autodoc_member_order = "bysource"
default_role = "literal"

# --- the table of contents --------------------------------------------------


def fill_in(app, name, source):
    """Leave out what is not there yet, and add what nobody has a place for."""
    # The README is no page: what it says is on the first one.
    source[0] = source[0].replace("](../README.md", "](index.md")
    if name == "reference":
        source[0] += "".join(more(source[0]))
    if name != "index":
        return
    pages = {path.stem for path in HERE.glob("*.md")} - {"index"}
    text = source[0]
    others = pages - set(re.findall(r"^\w+$", text, re.M))
    source[0] = re.sub(
        r"^others\n",
        "".join(f"{page}\n" for page in sorted(others)),
        text,
        flags=re.M,
    )


def more(reference):
    """Public names without a place in the reference, as help() has them."""
    names = [
        name
        for name in tworoutine.__all__
        if not re.search(rf"tworoutine\.{name}\b", reference)
    ]
    if names:
        yield "\n## More\n"
    for name in names:
        what = getattr(tworoutine, name)
        yield f"\n### {name}\n\n```text\n{inspect.getdoc(what)}\n```\n"


def setup(app):
    figures.main()
    app.connect("source-read", fill_in)
