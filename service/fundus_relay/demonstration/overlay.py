"""A picture with the boxes of its lesions drawn on it, for people to look at; nothing is measured on it.

Colours: Okabe and Ito's palette, told apart with any colour vision; each line has a dark rim, so that it shows on any
retina. Lines and letters grow with the picture. Lines run around a box, not over it.

Source: M. Okabe and K. Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

from fundus_relay.domain.geometry import Box, Size
from fundus_relay.imaging.orientation import ORIENTATION_TAG, UPRIGHT, to_stored

Labelled = tuple[Box, str]
Edges = tuple[float, float, float, float]

_COLOURS = {"hemorrhage": "#56B4E9", "hard exudate": "#F0E442", "soft exudate": "#CC79A7", "microaneurysm": "#009E73"}
_OTHER_COLOURS = ("#E69F00", "#0072B2", "#D55E00")
_INK, _PAPER, _WARNING = "#FFFFFF", "#161616", "#D55E00"


def draw_boxes(picture: bytes, boxes: Sequence[Labelled], *, banner: str) -> bytes:
    """Draw boxes, the names that find room, a legend that counts them, and a banner.

    Banner and legend stand above and below the picture and hide nothing of it.

    Args:
        picture: a JPEG or PNG file.
        boxes: in pixels of the raster as stored in that file, with the lesion's name.
        banner: wrapped when it is long.

    Returns:
        A JPEG, upright as a viewer shows the file.
    """
    stored = Image.open(BytesIO(picture))
    orientation = stored.getexif().get(ORIENTATION_TAG, UPRIGHT)
    to_upright = to_stored(orientation if orientation in range(1, 9) else UPRIGHT, Size(*stored.size)).inverse()
    image = ImageOps.exif_transpose(stored).convert("RGB")
    placed = sorted(((to_upright.box(box), name) for box, name in boxes), key=_area, reverse=True)
    colours = _colours(name for _, name in boxes)
    line = max(2, round(max(image.size) / 600))
    _draw(image, placed, colours, line)
    parts = (_strip_of_text(banner, image.width, line), image, _legend(boxes, colours, image.width, line))
    return _jpeg(_stacked(parts))


def _area(labelled: Labelled) -> float:
    box, _ = labelled
    return (box.x_max - box.x_min) * (box.y_max - box.y_min)


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name; one that we do not know gets one that no other has, as long as there are some."""
    colours: dict[str, str] = {}
    for name in sorted(set(names)):
        known = next((colour for sign, colour in _COLOURS.items() if sign in name.lower()), None)
        taken = set(colours.values())
        free = next((colour for colour in _OTHER_COLOURS if colour not in taken), _OTHER_COLOURS[-1])
        colours[name] = known if known is not None and known not in taken else free
    return colours


def _draw(image: Image.Image, placed: Sequence[Labelled], colours: dict[str, str], line: int) -> None:
    """Every box, the largest first; then the names, where they hide no box and no other name."""
    canvas, font = ImageDraw.Draw(image), _font(line)
    for box, name in placed:
        edges = _edges(box)
        canvas.rectangle(_grown(edges, 2 * line), outline=_PAPER, width=2 * line)
        canvas.rectangle(_grown(edges, 1.5 * line), outline=colours[name], width=line)
    occupied = [_grown(_edges(box), 2 * line) for box, _ in placed]
    for box, name in placed:
        wide, high = _extent(name, font, line)
        x = min(max(0, box.x_min - 2 * line), image.width - wide)
        for y in (box.y_min - 3 * line - high, box.y_max + 3 * line):
            label = (x, y, x + wide, y + high)
            if 0 <= y <= image.height - high and not any(_meet(label, other) for other in occupied):
                canvas.rectangle(label, fill=_PAPER)
                canvas.text((x + 2 * line, y + line), name, fill=colours[name], font=font)
                occupied.append(label)
                break


def _edges(box: Box) -> Edges:
    """The first and the last pixel of a box."""
    return box.x_min, box.y_min, box.x_max - 1, box.y_max - 1


def _grown(edges: Edges, by: float) -> Edges:
    return edges[0] - by, edges[1] - by, edges[2] + by, edges[3] + by


def _meet(a: Edges, b: Edges) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _font(line: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=9 * line)


def _extent(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, line: int) -> tuple[float, float]:
    """Width and height of a text with a margin around it."""
    left, _, right, _ = font.getbbox(text)
    return right - left + 4 * line, 12 * line


def _strip_of_text(text: str, width: int, line: int) -> Image.Image:
    font = ImageFont.load_default(size=11 * line)
    rows = [""]
    for word in text.split():
        longer = f"{rows[-1]} {word}".strip()
        if font.getbbox(longer)[2] > width - 8 * line:
            rows.append(word)
        else:
            rows[-1] = longer
    step = 15 * line
    strip = Image.new("RGB", (width, step * len(rows) + 6 * line), _WARNING)
    for number, row in enumerate(rows):
        ImageDraw.Draw(strip).text((4 * line, 3 * line + number * step), row, fill=_INK, font=font)
    return strip


def _legend(boxes: Sequence[Labelled], colours: dict[str, str], width: int, line: int) -> Image.Image:
    """How many boxes of each kind; that there are none is not said to mean that there is nothing."""
    font, step = _font(line), 15 * line
    counts = Counter(name for _, name in boxes)
    rows = [(colours[name], f"{name}: {count}") for name, count in sorted(counts.items())]
    rows = rows or [(_PAPER, "The report holds no lesion boxes for this picture.")]
    strip = Image.new("RGB", (width, step * len(rows) + 6 * line), _PAPER)
    canvas = ImageDraw.Draw(strip)
    for number, (colour, text) in enumerate(rows):
        y = 3 * line + number * step
        canvas.rectangle((4 * line, y + 2 * line, 14 * line, y + 12 * line), outline=colour, width=2 * line)
        canvas.text((20 * line, y + line), text, fill=_INK, font=font)
    return strip


def _stacked(parts: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)))
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return whole


def _jpeg(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=92, subsampling="4:4:4")
    return file.getvalue()
