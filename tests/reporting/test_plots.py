import numpy as np

from protein_performer.reporting.plots import confusion_figure, curves_figure, proteins_figure


def test_of_many_letters_the_most_frequent_are_drawn_with_their_own_accuracies():
    """A row's share is of all that was predicted for it, also outside the picture."""
    confusion = np.diag(np.arange(1, 101))
    confusion[99, 0] = 100  # half of the most frequent letter is taken for the rarest
    names = [f"{i:02}" for i in range(100)]
    figure = confusion_figure(confusion, names, "test", unit="byte", most=10)
    matrix, bars = figure.axes[:2]
    assert [label.get_text() for label in matrix.get_xticklabels()] == names[90:]
    assert [round(bar.get_height(), 3) for bar in bars.patches] == [1.0] * 9 + [0.5]
    total = 100 * 101 // 2 + 100
    shown = sum(range(91, 101)) + 100
    assert f"the 10 most frequent bytes, {shown / total:.1%} of all" in figure.get_suptitle()


def test_few_letters_are_all_drawn():
    figure = confusion_figure(np.eye(20, dtype=int), "ACDEFGHIKLMNPQRSTVWY", "test")
    assert len(figure.axes[0].get_xticklabels()) == 20
    assert figure.get_suptitle() == "test"


def test_letters_that_never_stand_in_the_text_have_no_row():
    confusion = np.zeros((4, 4), dtype=int)
    confusion[0, 0], confusion[2, 0], confusion[2, 2] = 3, 1, 1
    figure = confusion_figure(confusion, "ABCD", "test")
    matrix, bars = figure.axes[:2]
    assert [label.get_text() for label in matrix.get_yticklabels()] == ["A", "C"]
    assert len(bars.patches) == 2
    assert figure.get_suptitle() == "test"


def test_a_model_that_guesses_by_frequency_is_a_blank_matrix():
    """Whatever it predicts most, it does so everywhere."""
    shares = np.array([0.5, 0.3, 0.2])
    figure = confusion_figure(np.outer([100, 200, 300], 10 * shares).astype(int), "ABC", "test")
    assert np.allclose(figure.axes[0].images[0].get_array(), 0)


def test_a_letter_predicted_where_it_stands_is_an_excess_in_points():
    figure = confusion_figure(np.array([[3, 1], [1, 3]]), "AB", "test")
    assert np.allclose(figure.axes[0].images[0].get_array(), [[25, -25], [-25, 25]])


def boxes_overlap(figure):
    """Whether a legend covers a part of its axes."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None and legend.get_window_extent().overlaps(axes.get_window_extent()):
            return True
    return False


def test_legends_stand_beside_the_axes():
    counts = {"train": np.array([0, 1, 2, 3]), "test": np.array([0, 0, 1, 1])}
    shares = {name: {"A": 0.5, "C": 0.5} for name in counts}
    figures = [
        confusion_figure(np.eye(3, dtype=int), "ABC", "test"),
        curves_figure({"a": ([1, 2], [1, 2])}, "step", "loss"),
        proteins_figure(counts, shares, {"mean": 2.0}, "proteins"),
    ]
    assert not any(map(boxes_overlap, figures))
