"""`python -m forge`. Leaves everything to `forge.server`."""

import sys

from forge.server import main

sys.exit(main())
