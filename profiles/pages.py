"""Renders the guide's pages: `profiles/pages`, and tables of what is compiled, into `guide/site`. See `make pages`.

Everything that a browser loads lies beside the pages. The digests of their own scripts go into
`content-security-policy.txt`, so that the service lets a browser run those and no others.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from fundus_relay import guide
from fundus_relay.demonstration.pictures import painted_eye, painted_lesions
from fundus_relay.domain.sheets import Caption, Marked
from fundus_relay.domain.strokes import strokes_of
from fundus_relay.domain.values import Json
from fundus_relay.fhir.device import DISCLAIMER
from fundus_relay.fhir.names import LESION_BOUNDING_BOX
from fundus_relay.imaging.overlay import overlay
from fundus_relay.imaging.preparation import prepare
from fundus_relay.imaging.viewing import view

HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCES, PAGES = HERE / "pages", ROOT / "out" / "pages"
SITE = ROOT / "service" / "fundus_relay" / "guide" / "site"
PARTS = {
    "xMin": "left edge, in pixels",
    "yMin": "upper edge",
    "xMax": "right edge",
    "yMax": "lower edge",
    "columns": "width of the frame",
    "rows": "height of the frame",
    "frame": "which raster the numbers refer to",
    "transform": "the picture that the analyser got, and the map back",
    "image": "the Media",
    "imageSha256": "SHA-256 of its file",
    "sopInstance": "of a photograph from an archive: its DICOM instance",
    "frameNumber": "and which frame of it, from 1",
    "source": "the analyser's own words",
}
"""What the parts of a box are, for those who draw it."""


def main() -> None:
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(SOURCES, PAGES)
    (PAGES / "worked-picture.jpg").write_bytes(worked_picture())
    (PAGES / "profiles.md").write_text("\n".join(profiles()))
    (PAGES / "codes.md").write_text("\n".join(codes()))
    lesion = painted_lesions()[0]
    edges = (lesion.box.x_min, lesion.box.y_min, lesion.box.x_max, lesion.box.y_max)
    names = ("xMin", "yMin", "xMax", "yMax")
    first = ", ".join(f"{name} {edge:.1f}" for name, edge in zip(names, edges, strict=True))
    fill("boxes.md", box="\n".join(box_table()), first=f"{lesion.sign}: {first}, columns 1411, rows 1411")
    fill("safety.md", disclaimer=f"> {DISCLAIMER}\n>\n> — Netra API 1.0, Disclaimer")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-f", str(HERE / "mkdocs.yml")]
    subprocess.run(command, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})  # noqa: S603 - our own words
    (SITE / "404.html").unlink()  # it knows no folder that it may stand in; the service has one that does
    (SITE / "content-security-policy.txt").write_text(policy())


def fill(page: str, **texts: str) -> None:
    """Put texts in the places of a page that are marked for them."""
    place = PAGES / page
    text = place.read_text()
    for name, filling in texts.items():
        text = text.replace(f"{{{{ {name} }}}}", filling)
    place.write_text(text)


def worked_picture() -> bytes:
    """The painted eye as a report would show it, with words that say what it is."""
    eye = prepare(painted_eye())
    boxes = tuple((each.box, each.sign) for each in painted_lesions())
    warnings = ("PAINTED ON A HEALTHY EYE: AN EXAMPLE, NO FINDING",)
    counts = dict(sorted(Counter(sign for _, sign in boxes).items()))
    caption = Caption("Left eye (OS)", "", f"Lesions marked: {len(boxes)}", warnings, counts)
    marked = Marked(boxes, eye.to_source.inverse(), caption)
    return overlay(view(eye.picture), marked, eye.size, strokes_of(counts), 1_000_000).jpeg


def box_table() -> list[str]:
    defined = guide.artefact("StructureDefinition", LESION_BOUNDING_BOX.rpartition("/")[2])
    elements = {each["id"]: each for each in defined["differential"]["element"]}
    sliced = (each for each in elements.values() if each["path"] == "Extension.extension")
    parts = [each["sliceName"] for each in sliced if "sliceName" in each]
    kinds = {name: elements.get(f"Extension.extension:{name}.value[x]", {}).get("type", []) for name in parts}
    return table(
        ("part", "type", "meaning"),
        ((f"`{name}`", ", ".join(each["code"] for each in kinds[name]), PARTS[name]) for name in parts),
    )


def profiles() -> Iterator[str]:
    """Each profile with the elements that it says something about."""
    yield "# Profiles, element by element\n"
    yield "What is accepted, and what is emitted. Elements that a profile does not name are as in FHIR R4.\n"
    for id, defined in guide.artefacts("StructureDefinition").items():
        yield f"## {defined['title']} {{ #{id} }}\n"
        yield f"{defined['description']}\n"
        yield f"`{defined['url']}`, of {defined['type']} · [JSON](../../fhir/StructureDefinition/{id})\n"
        yield from table(("element", "how many", "what it is"), rows(defined))
        yield ""
        if rules := [each for element in defined["differential"]["element"] for each in element.get("constraint", [])]:
            yield from table(("rule", "what it asks"), ((f"`{each['key']}`", each["human"]) for each in rules))
            yield ""


def rows(defined: Json) -> Iterator[tuple[str, str, str]]:
    whole = {each["id"]: each for each in defined["snapshot"]["element"]}
    for element in defined["differential"]["element"]:
        if "." in element["path"]:
            full = whole[element["id"]]
            said = "; ".join([full.get("short", ""), *said_of(element)])
            yield f"`{element['id'].partition('.')[2]}`", f"{full['min']}..{full['max']}", said


def said_of(element: Json) -> Iterator[str]:
    """What an element's definition asks of it."""
    for kind in element.get("type", []):
        targets = [target.rpartition("/")[2] for target in kind.get("targetProfile", [])]
        yield f"{kind['code']}({' or '.join(targets)})" if targets else kind["code"]
    for key, value in element.items():
        if key.startswith(("pattern", "fixed")):
            yield f"always {spoken(value)}"
    if binding := element.get("binding"):
        set_id = binding["valueSet"].rpartition("/")[2]
        yield f"from [{set_id}](codes.md#{set_id}) ({binding['strength']})"


def spoken(value: object) -> str:
    """A fixed value or pattern in a few characters."""
    match value:
        case {"coding": [{"system": system, "code": code}, *_]} | {"system": system, "code": code}:
            return f"`{str(system).rpartition('/')[2]}#{code}`"
        case str():
            return f"`{value}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def codes() -> Iterator[str]:
    """Every CodeSystem, ValueSet and ConceptMap."""
    yield "# Codes\n"
    for id, system in guide.artefacts("CodeSystem").items():
        yield f"## {system['title']} {{ #{id} }}\n\n{system['description']}\n\n`{system['url']}`\n"
        for group in grouped(system["concept"]):
            yield from table(("code", "what it means"), group)
            yield ""
    for id, values in guide.artefacts("ValueSet").items():
        yield f"## {values['title']} {{ #{id} }}\n\n`{values['url']}`\n"
        yield from table(("system", "code", "display"), listed(values))
        yield ""
    for id, mapped in guide.artefacts("ConceptMap").items():
        yield f"## {mapped['title']} {{ #{id} }}\n\n{mapped['description']}\n\n`{mapped['url']}`\n"
        yield from table(
            ("our code", "standard code", "display", "how it relates"),
            (
                (f"`{each['code']}`", f"`{target['code']}`", target["display"], target["equivalence"])
                for of in mapped["group"]
                for each in of["element"]
                for target in each["target"]
            ),
        )
        yield ""


def grouped(concepts: list[Json]) -> Iterator[list[tuple[str, str]]]:
    """Concepts in tables: those of each group, or all."""
    nested = [each["concept"] for each in concepts if "concept" in each]
    for group in nested or [concepts]:
        yield [(f"`{each['code']}`", each.get("definition", each["display"])) for each in group]


def listed(values: Json) -> Iterator[tuple[str, str, str]]:
    for of in values["compose"]["include"]:
        if "concept" not in of:
            yield of["system"], "all", ""
        for each in of.get("concept", []):
            yield of["system"], f"`{each['code']}`", each["display"]


def table(heads: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> list[str]:
    """A table in Markdown; nothing in a cell can end it."""
    cells = [tuple(cell.replace("|", "\\|").replace("\n", " ") for cell in line) for line in lines]
    return [f"| {' | '.join(line)} |" for line in (heads, ("---",) * len(heads), *cells)]


def policy() -> str:
    """A Content-Security-Policy under which the pages work, and nothing from elsewhere."""
    scripts = {
        script
        for page in SITE.rglob("*.html")
        for kind, script in re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>(.*?)</script>", page.read_text(), re.DOTALL)
        if "application/json" not in kind
    }
    digests = sorted(base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts)
    own = " ".join(f"'sha256-{each}'" for each in digests)
    return (
        f"default-src 'none'; script-src 'self' {own}; worker-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "style-src 'self' 'unsafe-inline'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


if __name__ == "__main__":
    main()
