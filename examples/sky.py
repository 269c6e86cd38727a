"""The picture of examples/observatory.py: the sites on a map, and when."""

from boards import BAND
from chart import BLUE, GREEN, GREY, ORANGE, RED, Drawing
from plan import Tuning
from report import Axes, strokes

PLACES = {  # longitude and latitude in degrees, and a colour
    "Mauna Kea": (-155, 20, BLUE),
    "Pico Veleta": (-3, 37, GREEN),
    "Atacama": (-68, -23, ORANGE),
    "South Pole": (20, -80, "#7a4fb0"),
}
SIDE = 11  # of a board on the map, in pixels


def picture(done, lost, killed, path):
    """Draw {site: results} of the boards, and the lost work of a site.

    lost: (site, (began, ended) of its boards); killed: when.  Times are in
    seconds, from the beginning of the run on.
    """
    drawing = Drawing(960, 600)
    draw_map(Axes(drawing, 60, 48, 500, 490), done)
    draw_times(Axes(drawing, 600, 48, 330, 490), done, lost, killed)
    drawing.save(path)


def title(drawing, x, y, site, **more):
    colour = PLACES[site][2]
    drawing.text(x, y, site, colour=colour, font_weight="bold", **more)


def draw_map(axes, done):
    axes.title("the bias of each board, by its hue; a cross: not tuned")
    axes.scales((-180, 60), (-110, 70))
    degrees = [(n, f"{n}\N{DEGREE SIGN}") for n in range(-180, 90, 60)]
    axes.ticks(degrees, "longitude", degrees[2:], "latitude")
    for site, results in done.items():
        longitude, latitude, _ = PLACES[site]
        row = max(1, round(len(results) ** 0.5))
        x, y = axes.x(longitude), axes.y(latitude)
        left, top = x - row * SIDE / 2, y - row * SIDE / 2
        title(axes.drawing, x, top - 8, site, anchor="middle")
        for number, one in enumerate(results):
            below, along = divmod(number, row)
            draw_board(axes, left + along * SIDE, top + below * SIDE, one)


def draw_board(axes, x, y, one):
    if isinstance(one, Tuning):
        share = (one.bias - BAND[0]) / (BAND[1] - BAND[0])
        hue = f"hsl({share * 300:.0f} 65% 50%)"
        axes.drawing.rect(x, y, SIDE - 1, SIDE - 1, fill=hue)
    else:
        for begin, end in ((y, y + SIDE), (y + SIDE, y)):
            axes.drawing.line(x, begin, x + SIDE, end, colour=RED, width=2)


def draw_times(axes, done, lost, killed):
    axes.title("who was under way when: one line a board")
    spans = {
        site: [(t.began, t.ended) for t in results if isinstance(t, Tuning)]
        for site, results in done.items()
    }
    last = max(end for site in spans.values() for _, end in site)
    axes.scales((0, last), (0, 1))
    step = max(1, round(last / 6))
    ticks = [(n, f"{n}") for n in range(0, int(last) + 1, step)]
    axes.ticks(ticks, "time (s)")
    height = axes.height / len(PLACES)
    for number, (site, (*_, colour)) in enumerate(PLACES.items()):
        top, room = axes.top + number * height + 24, height - 30
        axes.drawing.rect(axes.left, top - 20, 330, 19, fill="white")
        title(axes.drawing, axes.left + 4, top - 6, site)
        if site == lost[0] and killed:
            room /= 2
            strokes(axes, sorted(lost[1]), top, room, GREY)
            x = axes.x(killed)
            axes.drawing.line(x, top, x, top + room, colour=RED, width=2)
            text = "its worker is killed"
            axes.drawing.text(x + 5, top + 14, text, size=12, colour=RED)
            top += room
        strokes(axes, sorted(spans[site]), top, room, colour)
