"""The paper's own figures, for the rows beside ours.

Source: Choromanski et al. 2021, arXiv:2009.14794, Table 2: 36 layers, width 512, 8 heads, proteins
of TrEMBL (January 2019) cut to 1,024 residues, on 16 x 16 TPU-v2, batches as large as each model
allows. So they compare recipes, and not equal steps; their test and OOD proteins are not ours.
"""

from typing import NamedTuple

SOURCE = "Choromanski et al. 2021, Table 2"


class Published(NamedTuple):
    """A row of the table: accuracies in % and perplexities."""

    model: str
    objective: str
    test_accuracy: float
    test_perplexity: float
    ood_accuracy: float
    ood_perplexity: float


TABLE_2 = (
    Published("empirical baseline", "causal", 9.92, 17.80, 9.07, 17.93),
    Published("transformer", "causal", 30.80, 9.37, 19.70, 13.20),
    Published("performer_relu", "causal", 31.58, 9.17, 18.44, 13.63),
    Published("empirical baseline", "mlm", 9.92, 17.80, 9.07, 17.93),
    Published("transformer", "mlm", 33.32, 9.22, 25.07, 12.09),
    Published("performer_relu", "mlm", 36.09, 8.36, 24.10, 12.26),
    Published("performer_softmax", "mlm", 33.00, 9.24, 23.48, 12.41),
)
