"""``python -m tunery.server`` with a stub engine in place of a loaded model (a child of tests)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from engines.stub import StubEngine  # noqa: E402
from server.conftest import StubPool  # noqa: E402
from tunery.errors import ModelError  # noqa: E402
from tunery.server.__main__ import main  # noqa: E402
from tunery.services.chat import _engines, _serving  # noqa: E402


class Pool(StubPool):
    """Whatever is asked for answers, but for what is called broken."""

    async def ready(self, name):
        if name == "broken":
            raise ModelError("broken: a shard is missing.", fix="Fetch it again.")
        self.engines.setdefault(name, StubEngine(tokens_per_second=100, words=500))
        return await super().ready(name)

    async def unload(self, name):
        print(f"unloaded {name}", flush=True)
        return True


_serving._described = lambda model, name: _serving.Served(name or model, model, 0)
_engines.use_pool(Pool())
sys.exit(main())
