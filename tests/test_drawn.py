"""What is drawn in fewer pieces looks as it did: the glass brain as by nilearn, a box as by matplotlib."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dysconnect.paper.glass import glass_brain
from dysconnect.paper.style import INK, box

PLACES = np.array([[-40.0, -20, 50], [38, 10, -12], [0, -60, -30], [12, 44, 20]])


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def of_nilearn(size: float) -> Figure:
    from nilearn.plotting import plot_connectome

    figure = Figure(figsize=(7.2, 2.75), dpi=150)
    panel = figure.add_axes((0, 0.08, 1, 0.84))
    look = {"node_size": size, "node_color": "black", "colorbar": False, "annotate": False}
    display = plot_connectome(np.zeros((4, 4)), PLACES, display_mode="ortho", figure=figure, axes=panel, **look)
    display.annotate(size=8, positions=False)
    return figure


def ours(size: float, places: np.ndarray = PLACES) -> Figure:
    figure = Figure(figsize=(7.2, 2.75), dpi=150)
    glass_brain(figure, places, size, color="black")
    return figure


def test_it_looks_like_that_of_nilearn():
    ours_, theirs = pixels(ours(9)), pixels(of_nilearn(9))
    apart = np.abs(ours_ - theirs).max(2)
    assert (theirs.min(2) < 128).mean() > 0.05  # there is a brain
    assert (apart > 64).sum() == 0 and (apart > 8).mean() < 0.005  # where pieces of a line meet there were darker dots
    moved = pixels(ours(9, PLACES + 3))
    assert (np.abs(moved - theirs).max(2) > 64).sum() > 50


def test_regions_are_where_the_views_say():
    figure = Figure(figsize=(7.2, 2.75))
    views = glass_brain(figure, PLACES, 9, color="black")
    for (axes, seen), dimensions in zip(views, ([1, 2], [0, 2], [0, 1]), strict=True):
        np.testing.assert_array_equal(seen, PLACES[:, dimensions])
        np.testing.assert_array_equal(axes.collections[0].get_offsets(), seen)
    assert [[text.get_text() for text in axes.texts] for axes, _ in views] == [[], ["L", "R"], ["L", "R"]]


def test_a_box_is_that_of_matplotlib():
    values = np.random.default_rng(0).normal(size=40)
    drawn = []
    for matplotlibs in (True, False):
        figure = Figure(figsize=(2, 2), dpi=150)
        axes = figure.add_subplot()
        if matplotlibs:
            line = {"color": INK, "linewidth": 0.8}
            axes.boxplot(
                [values], positions=[1], widths=0.5, showfliers=False, boxprops=line, whiskerprops=line, capprops=line,
                medianprops={"color": INK, "linewidth": 1.6}, manage_ticks=False,
            )  # fmt: skip
        else:
            box(axes, values, 1)
        drawn.append(pixels(figure))
    apart = np.abs(drawn[0] - drawn[1]).max(2)
    assert (drawn[0].min(2) < 100).sum() > 300 and apart.max() < 64 and (apart > 8).sum() < 30  # where lines meet
