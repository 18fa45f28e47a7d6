"""`python -m protein_performer`: the same door as `protein-performer`."""

import sys

from protein_performer.cli import main

sys.exit(main())
