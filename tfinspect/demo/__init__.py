"""What `tfinspect demo` works on: a small trained trunk (`trunk.pb`), and flowers that are drawn when asked for.

The trunk knows twenty drawn patterns and no flower; `fixtures/make_demo_trunk.py` trained it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

TRUNK: Final = Path(__file__).with_name("trunk.pb")
"""JPEG bytes in, 64 features at `BOTTLENECK`, then a softmax over the patterns."""
BOTTLENECK: Final = "pool/_reshape"
