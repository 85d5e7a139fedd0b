"""Figures of matplotlib as part of a page: no clashing ids, nothing that loads or runs, half the size."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_TAGS = {"svg", "g", "defs", "path", "use", "clipPath", "rect", "image"}
_ATTRIBUTES = {
    "id", "d", "x", "y", "width", "height", "viewBox", "preserveAspectRatio", "transform", "clip-path", "style",
}  # fmt: skip
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_DECIMALS = re.compile(r"(\d+\.\d\d)\d+")
_PX_PER_PT = 4 / 3


def inline(text: str, prefix: str, label: str) -> str:
    """An `<svg>` element for HTML.

    Only the elements and attributes that matplotlib draws with are kept, and references within the figure: a file
    from elsewhere brings no script and no network into the page. Ids become `prefix` and a number, coordinates have
    two decimals of a point. The style property `--w` is the width that the figure was drawn for.

    **Arguments:** `text`: an SVG file; `prefix`: its own on the page; `label`: what a screen reader says.

    **Raises:** `ValueError` for a text that is no SVG.

        >>> file = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" viewBox="0 0 72 36"><g id="a"/></svg>'
        >>> inline(file, "f1", "A figure")
        '<svg viewBox="0 0 72 36" role="img" aria-label="A figure" style="--w: 96px"><g /></svg>'
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"a figure must be SVG, got a text that is not ({error}): make it anew") from error
    if root.tag != _SVG + "svg":
        raise ValueError(f"a figure must be SVG, got <{root.tag}>: make it anew")
    ids = {name: f"{prefix}-{i}" for i, name in enumerate(dict.fromkeys(_references(root)))}
    width = _points(root.get("width", "0")) * _PX_PER_PT
    figure = _clean(root, ids)
    for name in ("width", "height"):
        figure.attrib.pop(name, None)
    figure.attrib |= {"role": "img", "aria-label": label, "style": f"--w: {width:g}px"}
    return ElementTree.tostring(figure, encoding="unicode")


def _points(length: str) -> float:
    return float(re.sub(r"[^\d.]", "", length) or 0)


def _references(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        yield from (target[1:] for name, target in element.items() if name == _LINK and target[:1] == "#")
        yield from (name for value in element.attrib.values() for name in _REFERENCE.findall(value))


def _clean(element: ElementTree.Element, ids: dict[str, str]) -> ElementTree.Element:
    kept = ElementTree.Element(element.tag.removeprefix(_SVG), _attributes(element, ids))
    children = [child for child in element if str(child.tag).removeprefix(_SVG) in _TAGS]
    kept.extend([_clean(child, ids) for child in children])
    _share_style(kept)
    return kept


def _attributes(element: ElementTree.Element, ids: dict[str, str]) -> dict[str, str]:
    kept = {}
    for name, value in element.items():
        if name == _LINK:
            if value[:1] == "#":
                kept["href"] = f"#{ids[value[1:]]}"
            elif value.startswith("data:image/png;base64,"):
                kept["href"] = value
        elif name == "id":
            if value in ids:
                kept["id"] = ids[value]
        elif name in _ATTRIBUTES:
            kept[name] = _REFERENCE.sub(lambda found: f"url(#{ids[found[1]]})", value)
            if name in ("d", "x", "y"):
                kept[name] = _DECIMALS.sub(r"\1", " ".join(value.split()))
    if any("url(" in _REFERENCE.sub("", value) for value in kept.values()):
        raise ValueError("a figure must refer to its own parts only, got another url(...): make it anew")
    return kept


def _share_style(group: ElementTree.Element) -> None:
    """The markers of a line have one style: it moves to their group."""
    styles = {child.get("style") for child in group}
    if group.tag == "g" and "style" not in group.attrib and len(group) > 1 and len(styles) == 1:
        (style,) = styles
        if style is not None and all(child.tag == "use" for child in group):
            group.set("style", style)
            for child in group:
                del child.attrib["style"]
