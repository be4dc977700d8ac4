"""Arrays in, a figure with alt text out: the house style of the course.

Four words: `images`, `scatter`, `lines`, `bars`. What they have in common:

- ``alt`` says what the figure shows, for readers who do not see it, and is never empty;
  ``title`` says what a single panel says, ``xlabel`` and ``ylabel`` what the axes are.
- For several panels, pass a dict from panel title to what one panel shows, and such
  dicts also for what else only some panels have. ``same_scale`` gives all one scale.
- ``colors`` are names out of `COLORS`. Grey is data, blue the model of the day, orange
  its rival. ``height`` is in inches; the width is that of the house.
- ``notes``, a dict from text to (x, y), writes remarks in place.

Figures are made without pyplot: nothing global changes, and a figure is shown once, by
being the last value of its cell.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

WIDTH = 6.4  # inches, shown at 640 pixels
PAPER, INK, PALE = "#ffffff", "#1f2430", "#d5d9e0"
COLORS = {
    "blue": "#0066a6",
    "orange": "#bf4d00",
    "green": "#00775a",
    "purple": "#94408a",
    "grey": "#6b7280",
}
# Paul Tol's "muted" set, safe for the colour-blind; the tenth is a dark grey.
CLASSES = [
    *("#332288", "#cc6677", "#117733", "#88ccee", "#882255"),
    *("#ddcc77", "#44aa99", "#aa4499", "#999933", "#555555"),
]
MARKERS = "os^vDP*X<>"
SIGNED = LinearSegmentedColormap.from_list(
    "signed", [COLORS["orange"], PAPER, COLORS["blue"]]
)
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 3.5,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


class Picture(Figure):
    """A matplotlib figure that carries its alt text into the notebook.

    Raises
    ------
    ValueError
        If `alt` is empty.
    """

    def __init__(self, height: float, alt: str) -> None:
        if not isinstance(alt, str) or not alt.strip():
            raise ValueError(
                f"plots: expected alt text, but got {alt!r}; say in a sentence what "
                "the figure shows"
            )
        super().__init__(figsize=(WIDTH, height), layout="constrained")
        self.alt = alt

    def png(self) -> bytes:
        """Return the figure as a PNG, a pixel for each that is shown, in 48 colours.

        A palette is a half smaller than true colour, and a stored lecture has to stay
        under 600 kB.
        """
        raw, small = io.BytesIO(), io.BytesIO()
        with mpl.rc_context(STYLE):
            self.savefig(raw, format="png", dpi=100)
        few: Any = {"method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
        palette = Image.open(raw).convert("RGB").quantize(48, kmeans=1, **few)
        palette.save(small, format="png", optimize=True)
        return small.getvalue()

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        png = base64.b64encode(self.png()).decode()
        return (
            {"image/png": png, "text/plain": self.alt},
            {"image/png": {"alt": self.alt, "width": width, "height": height}},
        )


def images(
    rows: Tensor | Mapping[str, Tensor],
    *,
    alt: str,
    shape: tuple[int, int] | None = None,
    title: str = "",
    titles: Sequence[str] = (),
    signed: bool = False,
) -> Picture:
    """Show images in a grid, grey from 0 (black) to 1 (white).

    Parameters
    ----------
    rows : Tensor of shape (n, height, width), or dict from row label to such tensors
        The images of each row, all rows of one shape.
    shape : tuple of int, optional
        ``(height, width)`` of images that come flattened, as (n, d).
    titles : sequence of str
        One title a column.
    signed : bool
        For what has a sign: blue above zero, orange below, white at zero, each image
        scaled by its own largest magnitude.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the rows are not images of one shape.
    """
    grid = {label: _array(row) for label, row in _panels(rows).items()}
    if shape is not None:
        grid = {label: row.reshape(-1, *shape) for label, row in grid.items()}
    shapes = sorted({row.shape for row in grid.values()})
    if len(shapes) != 1 or len(shapes[0]) != 3 or 0 in shapes[0]:
        raise ValueError(
            "images: expected rows of one shape (n, height, width), but got "
            f"{shapes}; pass shape=(height, width) for flattened images"
        )
    n, h, w = shapes[0]
    gap = max(1, round(0.08 * w))
    mosaic = np.full((len(grid) * (h + gap) - gap, n * (w + gap) - gap), np.nan)
    for i, row in enumerate(grid.values()):
        for j, image in enumerate(row):
            top, left = i * (h + gap), j * (w + gap)
            scale = (np.abs(image).max() or 1.0) if signed else 1.0
            mosaic[top : top + h, left : left + w] = image / scale
    with mpl.rc_context(STYLE):
        room = WIDTH - 0.2 - 0.075 * max(map(len, grid))  # inches beside the labels
        pixel = min(room / mosaic.shape[1], 1.0 / max(h, w))
        head = 0.15 + 0.25 * bool(title) + 0.2 * bool(titles)
        figure = Picture(pixel * len(mosaic) + head, alt)
        axes = figure.add_subplot(anchor="W")
        cmap = SIGNED if signed else mpl.colormaps["gray"]
        axes.imshow(
            np.ma.masked_invalid(mosaic),
            cmap=cmap.with_extremes(bad=PAPER),
            vmin=-1 if signed else 0,
            vmax=1,
            interpolation="nearest",
        )
        axes.set_axis_off()
        axes.set_title(title, pad=20 if titles else 6)
        for i, j in np.ndindex(len(grid), n if signed else 0):  # white needs a frame
            corner = (j * (w + gap) - 0.5, i * (h + gap) - 0.5)
            frame = Rectangle(corner, w, h, fill=False, ec=PALE, lw=0.8)
            axes.add_patch(frame).set_clip_on(False)
        for i, label in enumerate(grid):
            axes.text(-1.5 * gap, i * (h + gap) + h / 2, label, ha="right", va="center")
        for j, text in enumerate(titles):
            axes.text(j * (w + gap) + w / 2, -gap, text, ha="center", va="bottom")
    return figure


def scatter(
    x: Tensor | Mapping[str, Tensor],
    labels: Tensor | None = None,
    *,
    alt: str,
    title: str = "",
    xlabel: str = "$x_1$",
    ylabel: str = "$x_2$",
    x_hat: Tensor | Mapping[str, Tensor] | None = None,
    arrows: Tensor | Mapping[str, Tensor] | None = None,
    under: Tensor | Mapping[str, Tensor] | None = None,
    notes: Mapping[str, Any] | None = None,
    colors: Sequence[str] = ("blue",),
    same_scale: bool = False,
    height: float | None = None,
) -> Picture:
    """Show points of the plane, at equal aspect.

    Parameters
    ----------
    x : Tensor of shape (n, 2), or dict from panel title to such tensors
        The points.
    labels : Tensor of shape (n,), optional
        Integers are classes, told apart by colour, marker and a numeral at the median;
        floating-point values are read off a colour scale.
    x_hat : as `x`, optional
        Reconstructions, each joined to its point by a segment; one colour a panel.
    arrows : Tensor of shape (k, 2), or dict from panel title to such tensors, optional
        Vectors drawn from the mean of the points, both ways: an axis has no sign.
    under : Tensor of shape (h, w), or dict from panel title to such tensors, optional
        A map under the points, over the smallest box that holds them, its first row at
        the bottom: white at 0 and below, deep grey at 1 and above.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the points are not of shape (n, 2).
    """
    panels = {name: _array(points) for name, points in _panels(x, title).items()}
    hats, vectors = _panels(x_hat, title), _panels(arrows, title)
    maps = _panels(under, title)
    for points in panels.values():
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(
                f"scatter: expected points of shape (n, 2), but got {points.shape}; "
                "choose two columns"
            )
    height = height or (3.4 if len(panels) == 1 else 0.6 + 6.0 / len(panels))
    with mpl.rc_context(STYLE):
        figure, all_axes = _figure(height, alt, panels, xlabel, ylabel, False)
        everything = [
            _array(v) for v in (*panels.values(), *hats.values()) if v is not None
        ]
        everywhere = np.concatenate(everything)
        for i, (name, points) in enumerate(panels.items()):
            axes, color = all_axes[i], _color(colors[min(i, len(colors) - 1)])
            axes.set_aspect("equal", adjustable="datalim")
            if maps.get(name) is not None:
                (left, low), (right, high) = points.min(axis=0), points.max(axis=0)
                axes.imshow(
                    _array(maps[name]),
                    cmap=LinearSegmentedColormap.from_list("", [PAPER, INK]),
                    vmin=0,
                    vmax=1.25,  # points stay visible on the darkest grey
                    origin="lower",
                    extent=(left, right, low, high),
                    aspect="equal",
                )
            if labels is None:
                alpha = 0.3 if len(points) > 400 else 0.55
                axes.plot(*points.T, "o", color=COLORS["grey"], mew=0, alpha=alpha)
            else:
                _labelled(axes, points, _array(labels))
            if hats.get(name) is not None:
                pairs = np.stack([points, _array(hats[name])], axis=1)  # (n, 2, 2)
                joints = LineCollection(list(pairs), colors=color, alpha=0.45, lw=1)
                axes.add_collection(joints)
                axes.plot(*pairs[:, 1].T, "o", color=color, mew=0)
            if vectors.get(name) is not None:
                mean = points.mean(axis=0)
                style = {"arrowstyle": "<|-|>", "color": color, "lw": 2}
                for vector in _array(vectors[name]):
                    axes.annotate("", mean + vector, mean - vector, arrowprops=style)
            if same_scale:
                axes.update_datalim(everywhere)
                axes.autoscale_view()
            _write(axes, _of(notes, name))
    return figure


def lines(
    curves: Mapping[str, Any],
    *,
    alt: str,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log: bool = False,
    points: Mapping[str, Any] | None = None,
    floors: Mapping[str, Any] | None = None,
    marks: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    colors: Sequence[str] = tuple(COLORS),
    same_scale: bool = True,
    height: float = 2.9,
) -> Picture:
    """Show curves, each named at its end.

    Parameters
    ----------
    curves : dict from name to (x, y), tensors of shape (n,)
        A y alone stands over 1, 2, ..., n.
    log : bool
        Logarithmic y axis.
    points : dict from name to (x, y), optional
        Hollow circles, in the colours that the curves leave.
    floors : dict from name to y, optional
        Grey horizontal lines.
    marks : dict from name to x, optional
        Grey vertical lines.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If there are more curves and points than colours.
    """
    panels = dict(curves) if _nested(curves) else {title: curves}
    with mpl.rc_context(STYLE):
        figure, all_axes = _figure(height, alt, panels, xlabel, ylabel, same_scale)
        for axes, (name, panel) in zip(all_axes, panels.items(), strict=True):
            rings = _of(points, name)
            if len(panel) + len(rings) > len(colors):
                raise ValueError(
                    f"lines: expected at most {len(colors)} curves and points, but got "
                    f"{len(panel) + len(rings)}; use more panels, or pass more colors"
                )
            shades = map(_color, colors)
            for text, curve in panel.items():
                x, y = _curve(curve)
                form = "-o" if len(x) <= 12 else "-"
                axes.plot(x, y, form, color=next(shades), label=text)
            for text, ring in rings.items():
                x, y = _curve(ring)
                axes.plot(x, y, "o", color=next(shades), mfc="none", ms=5, label=text)
            for text, y in _of(floors, name).items():
                axes.axhline(y, color=COLORS["grey"], lw=1, ls="--", label=text)
            for text, x in _of(marks, name).items():
                axes.axvline(x, color=COLORS["grey"], lw=1, ls=":")
                inside: Any = {"transform": axes.get_xaxis_transform(), "va": "top"}
                axes.text(x, 1, f" {text}", color=COLORS["grey"], **inside)
            axes.set_yscale("log" if log else "linear")
            axes.margins(x=0.02)
            _write(axes, _of(notes, name))
        _name_curves(figure, all_axes)
    return figure


def bars(
    values: Mapping[str, Any],
    *,
    alt: str,
    xlabel: str,
    title: str = "",
    colors: Sequence[str] = ("blue",),
) -> Picture:
    """Show numbers as horizontal bars, each with its value written out.

    Parameters
    ----------
    values : dict from name to number, or dict from panel title to such dicts
        The numbers, of the same names in every panel.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the panels differ in their names.
    """
    panels = dict(values) if _nested(values) else {title: values}
    names = [list(panel) for panel in panels.values()]
    if names.count(names[0]) != len(names):
        raise ValueError(
            f"bars: expected the same names in every panel, but got {names}; "
            "name the bars alike"
        )
    count = len(names[0])
    shades = [_color(colors[min(i, len(colors) - 1)]) for i in range(count)]
    with mpl.rc_context(STYLE):
        figure, all_axes = _figure(0.75 + 0.28 * count, alt, panels, xlabel, "", True)
        for axes, panel in zip(all_axes, panels.values(), strict=True):
            drawn = axes.barh(
                names[0], [float(v) for v in panel.values()], color=shades
            )
            axes.bar_label(drawn, fmt="%.2f", padding=3)
            axes.margins(x=0.18)
            axes.tick_params(left=False)
        all_axes[0].invert_yaxis()  # first name on top
    return figure


def _panels(x: Any, title: str = "") -> dict[str, Any]:
    return dict(x) if isinstance(x, Mapping) else {title: x}


def _nested(values: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Mapping) for value in values.values())


def _of(extra: Mapping[str, Any] | None, panel: str) -> Mapping[str, Any]:
    """Return what a panel is to show besides; not nested, it is for every panel."""
    extra = extra or {}
    return extra.get(panel, {}) if _nested(extra) else extra


def _array(x: Any) -> np.ndarray:
    return x.numpy(force=True) if isinstance(x, Tensor) else np.asarray(x)


def _curve(curve: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(curve, tuple):
        return _array(curve[0]), _array(curve[1])
    y = _array(curve)
    return np.arange(1, len(y) + 1), y


def _color(name: str) -> str:
    return COLORS.get(name, name)


def _figure(
    height: float,
    alt: str,
    panels: Mapping[str, Any],
    xlabel: str,
    ylabel: str,
    same_scale: bool,
) -> tuple[Picture, list[Axes]]:
    figure = Picture(height, alt)
    grid = figure.subplots(
        1, len(panels), sharex=same_scale, sharey=same_scale, squeeze=False
    )
    all_axes = list(grid[0])
    for i, (axes, name) in enumerate(zip(all_axes, panels, strict=True)):
        axes.set(title=name, xlabel=xlabel, ylabel="" if i else ylabel)
    return figure, all_axes


def _labelled(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    x, y = points.T
    if np.issubdtype(labels.dtype, np.floating):
        drawn = axes.scatter(x, y, c=labels, cmap="viridis", s=12)
        axes.figure.colorbar(drawn, ax=axes, shrink=0.7)
        return
    size = 12 if len(points) > 400 else 24
    for c in np.unique(labels):
        own, color, marker = labels == c, CLASSES[c % 10], MARKERS[c % 10]
        axes.scatter(
            x[own], y[own], size, color, marker=marker, edgecolor=INK, linewidth=0.25
        )
    for c in np.unique(labels):
        middle = np.median(points[labels == c], axis=0)
        _write(axes, {str(c): middle}, size=14, weight="bold")


def _write(axes: Axes, notes: Mapping[str, Any], **style: Any) -> None:
    for text, (x, y) in notes.items():
        note = axes.text(x, y, text, ha="center", va="center", **style)
        note.set_path_effects([withStroke(linewidth=3, foreground=PAPER)])


def _name_curves(figure: Picture, all_axes: list[Axes]) -> None:
    """Write the name of each curve at its right end, and keep the names apart."""
    figure.draw_without_rendering()  # from here on the places are known
    unit = figure.dpi / 72  # pixels a point
    for axes in all_axes:
        named = [line for line in axes.lines if line.get_label() not in ("", None)]
        named = [line for line in named if not str(line.get_label()).startswith("_")]
        last = [np.asarray(line.get_xydata())[-1] for line in named]
        ends = [
            line.get_transform().transform(place)
            for line, place in zip(named, last, strict=True)
        ]
        taken: list[tuple[float, float]] = []  # right end, and top of the name there
        for i in np.argsort([y for _, y in ends]):
            x, y = ends[i]
            name = str(named[i].get_label())
            half = (1 + name.count("\n")) * 6 * unit
            below = [top for other, top in taken if abs(other - x) < 60 * unit]
            rest = 0.0 if named[i].get_linestyle() != "None" else 6 * unit
            lift = max([rest, *(top - (y - half) for top in below)])
            taken.append((x, y + lift + half))
            axes.annotate(
                name,
                last[i],
                (6, lift / unit),
                xycoords=named[i].get_transform(),
                textcoords="offset points",
                color=named[i].get_color(),
                va="center",
                annotation_clip=False,
            )
