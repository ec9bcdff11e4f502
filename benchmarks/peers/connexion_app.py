"""The bench's spec served by Connexion 3: `uvicorn connexion_app:app`."""

import sys
from pathlib import Path

from connexion import AsyncApp

SPEC = Path(__file__).parent.parent / "spec"
sys.path.insert(0, str(SPEC))

app = AsyncApp(__name__, specification_dir=SPEC)
app.add_api("funcatron.yaml")
