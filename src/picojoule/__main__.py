"""``python -m picojoule``: the same as the command ``picojoule``."""

import sys

from picojoule.cli import main

sys.exit(main())
