"""Models: resolve names, download from hubs, import GGUF files, load weights and adapters.

Importing ``load``, ``attach`` or ``computes`` imports torch; the other modules are light.
"""

import logging as _logging

for _name in ("torchao", "bitsandbytes", "torch.utils._pytree"):
    # Imported by transformers and peft wherever they are installed; they warn of optional kernels.
    # Here, because something light of this package is imported before anything heavy anywhere.
    _logging.getLogger(_name).setLevel(_logging.ERROR)
