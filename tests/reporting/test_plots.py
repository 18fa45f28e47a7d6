import numpy as np

from protein_performer.reporting.plots import confusion_figure


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
