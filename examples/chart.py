"""Drawings in SVG, with nothing but the standard library."""

from xml.sax.saxutils import escape

FONT = "Helvetica, Arial, sans-serif"
BLUE, GREEN, RED, ORANGE = "#1f6fb4", "#2a8f3c", "#c03a2b", "#c97a10"
GREY, LIGHT, BLACK = "#777777", "#d8d8d8", "#222222"


class Drawing:
    """A picture of width by height pixels; y grows downwards."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.parts = []

    def add(self, tag, text=None, **attributes):
        """Add an element; fill_opacity=... is the attribute fill-opacity."""
        written = " ".join(
            f'{name.rstrip("_").replace("_", "-")}="{_number(value)}"'
            for name, value in attributes.items()
            if value is not None
        )
        end = "/>" if text is None else f">{escape(text)}</{tag}>"
        self.parts.append(f"<{tag} {written}{end}")

    def text(
        self, x, y, text, *, size=14, colour=BLACK, anchor="start", **more
    ):
        self.add(
            "text",
            text,
            x=x,
            y=y,
            font_size=size,
            fill=colour,
            text_anchor=anchor,
            **more,
        )

    def line(self, x1, y1, x2, y2, *, colour=BLACK, width=1.0, dash=None):
        self.add(
            "line",
            x1=x1,
            y1=y1,
            x2=x2,
            y2=y2,
            stroke=colour,
            stroke_width=width,
            stroke_dasharray=dash,
        )

    def rect(self, x, y, width, height, *, fill, stroke="none", round_=0):
        self.add(
            "rect",
            x=x,
            y=y,
            width=width,
            height=height,
            fill=fill,
            stroke=stroke,
            rx=round_,
        )

    def path(self, points, *, colour=BLACK, width=1.5):
        text = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self.add(
            "polyline",
            points=text,
            fill="none",
            stroke=colour,
            stroke_width=width,
        )

    def dot(self, x, y, radius=2.5, *, colour=BLACK):
        self.add("circle", cx=x, cy=y, r=radius, fill=colour)

    def arrow(self, x1, y1, x2, y2, *, colour=BLACK):
        """A line with a head, along one of the axes."""
        self.line(x1, y1, x2, y2, colour=colour, width=1.5)
        along, across = (x2 - x1, y2 - y1), 4
        length = (along[0] ** 2 + along[1] ** 2) ** 0.5
        ux, uy = along[0] / length, along[1] / length
        base = x2 - 8 * ux, y2 - 8 * uy
        corners = (
            (x2, y2),
            (base[0] - across * uy, base[1] + across * ux),
            (base[0] + across * uy, base[1] - across * ux),
        )
        points = " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)
        self.add("polygon", points=points, fill=colour)

    def __str__(self):
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" '
            f'height="{self.height}" viewBox="0 0 {self.width} {self.height}" '
            f'font-family="{FONT}">'
        )
        white = '<rect width="100%" height="100%" fill="white"/>'
        return "\n".join([head, white, *self.parts, "</svg>", ""])

    def save(self, path):
        """Write the drawing, unless it is there already; return whether."""
        try:
            with open(path) as file:
                if file.read() == str(self):
                    return False
        except FileNotFoundError:
            pass
        with open(path, "w") as file:
            file.write(str(self))
        return True


def _number(value):
    return (
        f"{value:.2f}".rstrip("0").rstrip(".")
        if isinstance(value, float)
        else value
    )
