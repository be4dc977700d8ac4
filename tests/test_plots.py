"""The house style: alt text, panels, and what a reader can tell apart."""

import base64
import io
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from aelab import plots

ALT = "A few points that lie on a rising line."
PLANE = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])
MANY = torch.linspace(0, 1, 1000).view(500, 2)
PICTURES = torch.linspace(0, 1, 3 * 4 * 5).view(3, 4, 5)
CURVE = torch.tensor([3.0, 2.0, 1.0])
CALLS = {
    "images": lambda **more: plots.images(PICTURES, **more),
    "scatter": lambda **more: plots.scatter(PLANE, **more),
    "lines": lambda **more: plots.lines({"a": CURVE}, xlabel="k", ylabel="y", **more),
    "bars": lambda **more: plots.bars({"a": 1.0, "b": 2.0}, xlabel="y", **more),
}
every_word = pytest.mark.parametrize("word", CALLS.values(), ids=CALLS)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png())).convert("RGB"))


def texts(picture):
    return [
        text.get_text()
        for axes in picture.axes
        for text in axes.findobj(mpl.text.Text)
        if text.get_text()
    ]


# Shape and dtype


@every_word
def test_a_picture_is_as_wide_as_the_house_and_says_how_large_it_is_shown(word):
    picture = word(alt=ALT)
    bundle, metadata = picture._repr_mimebundle_()
    image = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    shown = metadata["image/png"]
    assert isinstance(picture, mpl.figure.Figure)
    assert shown["width"] == 640
    assert image.width == shown["width"]
    assert image.height / image.width == pytest.approx(
        shown["height"] / shown["width"], abs=0.01
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_arrays_lists_and_tensors_of_any_dtype_are_drawn(dtype):
    plots.images(torch.ones(2, 3, 3, dtype=dtype), alt=ALT).png()
    plots.images(np.ones((2, 9)), shape=(3, 3), alt=ALT).png()
    plots.scatter(PLANE.to(dtype), alt=ALT).png()
    plots.lines({"a": ([1, 2], [3, 4])}, xlabel="", ylabel="", alt=ALT).png()


def test_tensors_with_a_gradient_are_drawn():
    plots.scatter(PLANE.clone().requires_grad_(), alt=ALT).png()


# Value: what is in axes and pixels


def test_the_alt_text_travels_with_the_image():
    bundle, metadata = plots.scatter(PLANE, alt=ALT)._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == bundle["text/plain"] == ALT


def test_images_are_grey_from_zero_to_one():
    picture = plots.images(torch.tensor([[[0.0, 0.5], [1.0, 2.0]]]), alt=ALT)
    shown = picture.axes[0].images[0]
    assert shown.get_clim() == (0, 1)
    grey = shown.cmap(shown.norm(torch.tensor([0.0, 0.5, 1.0, 2.0]).numpy()))[:, :3]
    assert np.allclose(grey, np.array([[0.0], [0.5], [1.0], [1.0]]), atol=0.01)


def test_signed_images_are_white_at_zero_and_scaled_one_by_one():
    x = torch.tensor([[[0.0, -2.0]], [[0.1, 0.05]], [[0.0, 0.0]]])
    shown = plots.images(x, signed=True, alt=ALT).axes[0].images[0]
    assert shown.get_clim() == (-1, 1)
    drawn = shown.get_array().filled(9.0)  # 9 in the gaps
    assert drawn.tolist() == [pytest.approx([0, -1, 9, 1, 0.5, 9, 0, 0])]
    assert shown.cmap(shown.norm(0.0)) == pytest.approx((1, 1, 1, 1), abs=0.01)
    blue, orange = shown.cmap(1.0), shown.cmap(0.0)
    assert np.allclose(blue[:3], to_rgb(plots.COLORS["blue"]), atol=0.01)
    assert np.allclose(orange[:3], to_rgb(plots.COLORS["orange"]), atol=0.01)


def test_rows_of_images_stand_under_each_other_with_their_labels():
    rows = {"above": torch.zeros(2, 3, 3), "below": torch.ones(2, 3, 3)}
    picture = plots.images(rows, title="found", titles=["p", "q"], alt=ALT)
    drawn = picture.axes[0].images[0].get_array()
    assert drawn.shape == (7, 7)
    assert drawn[:3].max() == 0 and drawn[4:].min() == 1  # noqa: PT018
    assert {"above", "below", "found", "p", "q"} <= set(texts(picture))


def test_flattened_images_are_shaped():
    flat = plots.images(PICTURES.flatten(1), shape=(4, 5), alt=ALT)
    assert (pixels(flat) == pixels(plots.images(PICTURES, alt=ALT))).all()


def test_scatter_lays_a_map_under_the_box_of_the_points():
    """Rejects: a map upside down, one over all panels, one over the points."""
    field = torch.tensor([[0.0, 1.0], [0.5, 0.25], [0.0, 0.0]])  # (h, w), from below
    x = {"mapped": PLANE, "bare": PLANE}
    mapped, bare = plots.scatter(x, under={"mapped": field}, alt=ALT).axes
    (drawn,) = mapped.images
    np.testing.assert_allclose(drawn.get_array(), field)
    assert drawn.origin == "lower"
    left, low = PLANE.amin(dim=0).tolist()
    right, high = PLANE.amax(dim=0).tolist()
    assert drawn.get_extent() == pytest.approx((left, right, low, high))
    assert drawn.get_zorder() < mapped.lines[0].get_zorder()
    assert not bare.images


def test_scatter_draws_the_points_and_joins_them_to_their_reconstructions():
    axes = plots.scatter(PLANE, x_hat=PLANE + 1, title="found", alt=ALT).axes[0]
    assert np.array_equal(axes.lines[0].get_xydata(), PLANE)
    assert np.array_equal(axes.lines[1].get_xydata(), PLANE + 1)
    joints = np.stack(axes.collections[0].get_segments())
    assert np.array_equal(joints, torch.stack([PLANE, PLANE + 1], dim=1))
    assert axes.get_aspect() == 1
    assert axes.get_title(loc="left") == "found"


@pytest.mark.parametrize("x", [PLANE, MANY[:8].repeat(100, 1)])
def test_classes_are_told_apart_by_colour_marker_and_numeral(x):
    labels = torch.arange(len(x)) % 2 + 3
    axes = plots.scatter(x, labels, alt=ALT).axes[0]
    three, four = axes.collections
    assert len(three.get_offsets()) + len(four.get_offsets()) == len(x)
    assert tuple(three.get_facecolor()[0]) != tuple(four.get_facecolor()[0])
    assert three.get_paths()[0] != four.get_paths()[0]
    assert [text.get_text() for text in axes.texts] == ["3", "4"]


def test_floating_point_labels_are_read_off_a_colour_scale():
    picture = plots.scatter(PLANE, PLANE[:, 0], alt=ALT)
    assert len(picture.axes) == 2
    assert np.array_equal(picture.axes[0].collections[0].get_array(), PLANE[:, 0])


def test_arrows_go_both_ways_from_the_mean():
    vector = torch.tensor([[1.0, 0.5]])
    axes = plots.scatter(PLANE, arrows=vector, alt=ALT).axes[0]
    (arrow,) = axes.texts
    assert np.allclose(arrow.xy, PLANE.mean(dim=0) + vector[0])
    assert np.allclose(arrow.get_position(), PLANE.mean(dim=0) - vector[0])


def test_lines_draws_curves_points_floors_marks_and_notes():
    axes = plots.lines(
        {"curve": CURVE, "pair": ([0.0, 4.0], [1.0, 2.0])},
        points={"rings": ([2.0], [2.5])},
        floors={"floor": 0.5},
        marks={"mark": 3.0},
        notes={"remark": (2.0, 1.0)},
        log=True,
        xlabel="k",
        ylabel="error",
        alt=ALT,
    ).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    assert drawn["curve"].get_xydata().tolist() == [[1, 3], [2, 2], [3, 1]]
    assert drawn["pair"].get_xydata().tolist() == [[0, 1], [4, 2]]
    assert drawn["rings"].get_linestyle() == "None"
    assert drawn["floor"].get_ydata() == [0.5, 0.5]
    assert axes.get_yscale() == "log"
    said = {text.get_text().strip() for text in axes.texts}
    assert said == {"curve", "pair", "rings", "floor", "mark", "remark"}


def test_panels_stand_side_by_side_each_with_its_own():
    picture = plots.lines(
        {"left": {"a": CURVE}, "right": {"b": CURVE, "c": -CURVE}},
        marks={"right": {"here": 2}},
        xlabel="k",
        ylabel="y",
        alt=ALT,
    )
    left, right = picture.axes
    assert [axes.get_title(loc="left") for axes in picture.axes] == ["left", "right"]
    assert [text.get_text() for text in left.texts] == ["a"]
    assert {text.get_text().strip() for text in right.texts} == {"b", "c", "here"}
    assert (left.get_ylabel(), right.get_ylabel()) == ("y", "")
    assert left.get_ylim() == right.get_ylim()


def test_bars_are_as_long_as_the_numbers_and_the_first_is_on_top():
    picture = plots.bars(
        {"p": {"a": 1.0, "b": 2}, "q": {"a": 3.0, "b": 4}}, xlabel="y", alt=ALT
    )
    assert [[bar.get_width() for bar in axes.patches] for axes in picture.axes] == [
        [1, 2],
        [3, 4],
    ]
    assert picture.axes[0].yaxis_inverted()
    assert {"1.00", "2.00", "3.00", "4.00"} <= set(texts(picture))


# Property


def luminance(color):
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("color", [plots.INK, *plots.COLORS.values()])
def test_what_is_written_has_enough_contrast_on_paper(color):
    light, dark = luminance(plots.PAPER), luminance(color)
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG AA for text


def test_ten_classes_have_ten_colours_and_ten_markers():
    assert len(set(plots.CLASSES)) == len(plots.CLASSES) == 10
    assert len(set(plots.MARKERS)) == len(plots.MARKERS) == 10


@every_word
def test_paper_is_opaque_so_that_a_dark_page_does_not_shine_through(word):
    image = Image.open(io.BytesIO(word(alt=ALT).png()))
    assert image.mode == "P" and "transparency" not in image.info  # noqa: PT018
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@every_word
def test_the_same_figure_has_the_same_bytes(word):
    assert word(alt=ALT).png() == word(alt=ALT).png()


@every_word
def test_the_style_of_the_reader_is_neither_used_nor_changed(word):
    expected = word(alt=ALT).png()
    before = dict(mpl.rcParams)
    word(alt=ALT).png()
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        if word is not CALLS["images"]:  # which has no axes to colour
            assert word(alt=ALT).axes[0].xaxis.label.get_fontsize() == 9
    assert word(alt=ALT).png() == expected


@pytest.mark.parametrize("name", ["one line", "two\nlines"])
def test_names_of_curves_that_end_together_do_not_overlap(name):
    curves = {f"{name} {i}": torch.tensor([1.0, 2.0 + i / 100]) for i in range(4)}
    axes = plots.lines(
        curves, floors={"floor": 2.0}, xlabel="", ylabel="", alt=ALT
    ).axes[0]
    axes.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 5
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_panels_have_one_scale_if_asked():
    x = {"small": PLANE, "large": 10 * PLANE}
    apart = plots.scatter(x, alt=ALT)
    alike = plots.scatter(x, x_hat={"small": PLANE - 50}, same_scale=True, alt=ALT)
    for picture in (apart, alike):
        picture.draw_without_rendering()
    limits = [axes.get_xlim() for axes in alike.axes]
    assert limits[0] == pytest.approx(limits[1])
    assert limits[0][0] <= -50
    assert apart.axes[0].get_xlim()[1] < apart.axes[1].get_xlim()[1] / 2


def test_pyplot_is_never_imported():
    code = "import sys, aelab.plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


# Error


@every_word
@pytest.mark.parametrize("alt", ["", "  ", None])
def test_a_figure_without_alt_text(word, alt):
    with pytest.raises(ValueError, match="plots: expected alt text, but got"):
        word(alt=alt)


@every_word
def test_alt_text_is_required(word):
    with pytest.raises(TypeError, match="alt"):
        word()


@pytest.mark.parametrize(
    "rows",
    [
        PICTURES.flatten(1),
        PICTURES[0, 0],
        PICTURES[:0],
        {"a": PICTURES, "b": PICTURES[:2]},
    ],
)
def test_what_are_no_images_of_one_shape(rows):
    with pytest.raises(ValueError, match=r"images: expected rows of one shape \(n, h"):
        plots.images(rows, alt=ALT)


@pytest.mark.parametrize("x", [torch.ones(4, 3), torch.ones(4)])
def test_points_that_are_not_of_the_plane(x):
    with pytest.raises(ValueError, match=r"scatter: expected points of shape \(n, 2\)"):
        plots.scatter(x, alt=ALT)


def test_more_curves_than_colours():
    curves = dict.fromkeys("abcdef", CURVE)
    with pytest.raises(ValueError, match="at most 5 curves and points, but got 6"):
        plots.lines(curves, xlabel="", ylabel="", alt=ALT)


def test_panels_of_bars_with_other_names():
    with pytest.raises(
        ValueError, match="bars: expected the same names in every panel"
    ):
        plots.bars({"p": {"a": 1}, "q": {"b": 1}}, xlabel="", alt=ALT)
