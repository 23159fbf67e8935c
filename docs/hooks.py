"""What the pages are made of besides their text: reference, charts and formulas.

`make docs` builds them into build/site, where they open from disk: formulas become MathML and
charts inline SVG, so no page needs a script or the network.
"""

import html
import logging
import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

import charts
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LOG = logging.getLogger("mkdocs.hooks.jaxreid")  # a warning stops a strict build
PLACES = {  # of files outside docs/ that are pages, too
    "README.md": "index.md",
    "EVIDENCE.md": "evidence.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/NOTES.md": "notes.md",
}


def modules() -> list[str]:
    """The dotted names of all public modules, packages before their parts."""
    paths = sorted((ROOT / "jaxreid").rglob("*.py"))
    names = (".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths)
    names = (name.removesuffix(".__init__") for name in names)
    return sorted(name for name in names if "._" not in name)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists one reference page per module behind the written pages."""
    packages: dict[str, list] = {}
    for name in modules():
        package = ".".join(name.split(".")[:2])
        packages.setdefault(package, []).append({name: f"reference/{name}.md"})
    reference = [{name: pages} for name, pages in packages.items()]
    config.nav = [
        {"jaxreid": "index.md"},
        {"What was measured": "results.md"},
        {"Evidence": "evidence.md"},
        {"Data": "data.md"},
        {"Losses": "losses.md"},
        {"Networks": "networks.md"},
        {"Pretrained weights": "weights.md"},
        {"From set to set": "crossing.md"},
        {"Visible and infrared": "modality.md"},
        {"Poses": "pose.md"},
        {"Devices": "devices.md"},
        {"Steps on a TPU": "lowering.md"},
        {"How cost grows": "growth.md"},
        {"Notes on speed": "notes.md"},
        {"Faults": "faults.md"},
        {"Proofs": "proofs.md"},
        {"Contributing": "contributing.md"},
        {"Reference": reference},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the reference pages, and the files outside docs/, of which the README is the front."""
    pages = {page: (ROOT / path).read_text() for path, page in PLACES.items()}
    for name in modules():
        package = (ROOT / name.replace(".", "/")).is_dir()
        options = "\n    options:\n      members: false" if package else ""
        pages[f"reference/{name}.md"] = f"# {name}\n\n::: {name}{options}\n"
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Puts the chart `name` in the place of `[[chart name]]`; links lead to where files are."""
    markdown = re.sub(r"\[\[chart (\w+)\]\]", lambda match: charts.draw(match[1]), markdown)
    return relinked(markdown, page.file.src_uri)


def relinked(markdown: str, page: str) -> str:
    """Links between files of the repository as links between pages."""
    files = {place: path for path, place in PLACES.items()}
    folder = dirname(files.get(page, f"docs/{page}"))

    def link(match: re.Match[str]) -> str:
        path = normpath(join(folder, match[1]))
        place = PLACES.get(path, path.removeprefix("docs/"))
        return f"]({relpath(place, dirname(page) or '.')}"

    return re.sub(r"\]\((?!\w+:|[#/])([^)#\s]+)", link, markdown)


def on_page_content(content: str, **_: object) -> str:
    r"""Turns `\(...\)` and `\[...\]` into MathML."""
    formula = re.compile(r'<(div|span) class="arithmatex">\\[\[(](.*?)\\[\])]</\1>', re.DOTALL)
    return formula.sub(_mathml, content)


def _mathml(match: re.Match[str]) -> str:
    latex = " ".join(html.unescape(match[2]).split())
    markup = convert(latex, display="block" if match[1] == "div" else "inline")
    if unknown := re.search(r"\\\w+", markup):
        LOG.warning("formula %r: %s is not understood", latex, unknown[0])
    return markup
