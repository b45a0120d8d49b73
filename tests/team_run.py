"""What test_team.py starts twice: `python -m llmesr.train` below another root."""

import sys
from pathlib import Path

from llmesr import paths
from llmesr.train.__main__ import main

paths.ROOT = Path(sys.argv.pop(1))
main()
