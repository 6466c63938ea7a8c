"""Sphinx configuration: builds offline with `-W -n`, and the pages ask for nothing over a network.

Formulas are written into the pages as MathML, which browsers draw themselves. The tutorials are
scripts, `docs/tutorials/*.py`, which run in the build; `site_made.py` makes other parts of the
site, and `site_checks.py` looks at the whole.
"""

import builtins
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from inspect import getdoc, isclass, ismodule
from pathlib import Path
from pydoc import locate

# ruff: noqa: E402 - what is missing is said before it is imported
from sphinx.errors import ConfigError

_NEEDED = (
    *("furo", "matplotlib", "myst_parser", "onnx", "onnxruntime", "onnxscript", "skimage"),
    *("sphinx_copybutton", "sphinx_design", "sphinx_gallery"),
)
_MISSING = [name for name in _NEEDED if not find_spec(name)]
if _MISSING:
    raise ConfigError(
        f"Building the documentation needs {', '.join(_MISSING)}, which is not installed. "
        "Run: pip install -e '.[docs]'"
    )

from docutils.nodes import Element, SkipNode, Text, TextElement, document, math, math_block
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

import opmask
from opmask.launching import let_threads_sleep

let_threads_sleep()  # the tutorials train; beside other work waiting threads would take the cores

project = "opmask"
author = "The opmask authors"
copyright = f"2026, {author}"
version = release = opmask.__version__

sys.path.insert(0, str(Path(__file__).parent))
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "site_checks",  # beside this file
    "site_made",
]
exclude_patterns = ["_build", "_extra", "tutorials"]
default_role = "literal"
smartquotes_action = "qe"  # not dashes, which flags begin with
html_theme = "furo"
html_title = f"opmask {release}"
html_math_renderer = "mathml"  # MathJax would be fetched from a network
html_static_path = ["_static"]
html_extra_path = ["_extra"]  # the demo, a page of its own
html_css_files = ["style.css"]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
myst_heading_anchors = 3


sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/tutorials/",
    "image_scrapers": ("site_made.keep_pictures", "matplotlib"),
    "ignore_repr_types": r"PIL\.|NoneType|matplotlib",
    "within_subsection_order": "FileNameSortKey",
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,  # a page that asks for scripts over a network
    "remove_config_comments": True,
    "plot_gallery": True,
}

autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "special-members": "__call__, __getitem__",
}
autodoc_inherit_docstrings = False  # not nn.Module's texts about forward
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields in one list with the arguments, not as members of their own

# Names of other projects resolve only when asked for, because that needs a network.
if os.environ.get("OPMASK_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "kornia": ("https://kornia.readthedocs.io/en/latest/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "PIL": ("https://pillow.readthedocs.io/en/stable/", None),
        "python": ("https://docs.python.org/3/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }

# Theirs may be missing, ours may not.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|nn|kornia|msgspec|numpy|np|PIL)\..+|Tensor"),
    (r"py:.*", rf"({'|'.join(sys.stdlib_module_names)})\..+"),
    (r"py:(class|exc)", "|".join(dir(builtins))),
    (r"py:class", r"opmask\.\S+\.[A-Z]|Head"),  # type variables and an alias
    (r"py:class", r"tuple\[\w+"),  # Sphinx cuts types at commas where a default is a factory
]


def _resolve_as_python_would(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: TextElement
) -> Element | None:
    """Resolve names that exist, but are documented under another module than they were named by.

    `opmask.LAB` is described on the page of `opmask.color`, and a docstring may name what
    opmask or the modules of its package hold or import. What Python would not find either stays
    missing.
    """
    target, package = node["reftarget"], node.get("py:module") or "opmask"
    modules = ["opmask", *sorted(name for name in sys.modules if name.startswith(package))]
    for name in (target, *(f"{module}.{target}" for module in modules)):
        thing = locate(name) if name.startswith("opmask.") else None
        if thing is None or ismodule(thing):
            continue
        parts = name.split(".")
        depth = sum(ismodule(locate(".".join(parts[:n]))) for n in range(1, len(parts)))
        node["refspecific"] = True
        for role in node["reftype"], "obj":  # a function, then anything: modules share its name
            found = env.domains.python_domain.resolve_xref(
                env, node["refdoc"], app.builder, role, ".".join(parts[depth:]), node, contnode
            )
            if found is not None:
                return found
    return None


def _show_public_bases(
    app: Sphinx, name: str, obj: type, options: object, bases: list[object]
) -> None:
    """Name the public class that another base stands for."""
    for i, base in enumerate(bases):
        if isclass(base):
            bases[i] = next(filter(_is_public, base.__mro__))


def _is_public(kind: type) -> bool:
    """Whether a class is one that others know: of ours, one that its room exports."""
    room = ".".join(kind.__module__.split(".")[:2])
    ours = room.startswith("opmask.")
    exported = not ours or getattr(sys.modules[room], kind.__name__, None) is kind
    return exported and not kind.__name__.startswith("_")


def _begin_with_names(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """End what a package says of itself with a table of all that it exports."""
    if what != "module" or not hasattr(obj, "__path__"):
        return
    rows = []
    for each in getattr(obj, "__all__", []):
        thing = getattr(obj, each)
        if not ismodule(thing) and getattr(thing, "__module__", name).startswith(name):
            told = getdoc(thing) if callable(thing) else None
            sentence = (told or "").partition("\n")[0]
            rows += [f"   * - :obj:`~{name}.{each}`", f"     - {sentence}"]
    if rows:
        lines += ["", ".. list-table::", "", *rows, ""]


def _draw_dashes(app: Sphinx, doctree: document) -> None:
    """Put a dash where Sphinx sets two hyphens between the name of an argument and its text."""
    for text in list(doctree.findall(Text)):
        if text == " -- ":
            text.parent.replace(text, Text(" – "))


def _skip_fields(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Leave out the fields of a named tuple, which its docstring lists."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def _mathml(node: math | math_block, *, as_block: bool) -> str:
    """The MathML of a formula; one that docutils cannot read is a warning."""
    try:
        return tex2mathml(node.astext().replace("'", r"^\prime "), as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s In %s", error, node.astext(), location=node)
        return ""


def _write_inline(translator: HTML5Translator, node: math) -> None:
    translator.body.append(_mathml(node, as_block=False))
    raise SkipNode


def _write_block(translator: HTML5Translator, node: math_block) -> None:
    translator.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>')
    raise SkipNode


def _without_overloads(analyze: Callable[[ModuleAnalyzer], None]) -> Callable[..., None]:
    """Pages show one signature; overloads are for type checkers."""

    def analyze_rest(analyzer: ModuleAnalyzer) -> None:
        analyze(analyzer)
        analyzer.overloads = {}

    return analyze_rest


ModuleAnalyzer.analyze = _without_overloads(ModuleAnalyzer.analyze)


def setup(app: Sphinx) -> None:
    """Connect what this file adds."""
    app.add_html_math_renderer("mathml", (_write_inline, None), (_write_block, None))
    app.connect("autodoc-process-bases", _show_public_bases)
    app.connect("autodoc-process-docstring", _begin_with_names)
    app.connect("autodoc-skip-member", _skip_fields)
    app.connect("doctree-read", _draw_dashes)
    app.connect("missing-reference", _resolve_as_python_would)
