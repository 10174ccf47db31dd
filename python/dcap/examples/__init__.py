"""Short programs that use dcap as a library; read them, run them, copy them.

::

    python -m dcap.examples.augment_and_draw    augment photos and draw them, without a model and without torch
    python -m dcap.examples.plain_torch_loop    dcap's samples and loss in a training loop of your own
    python -m dcap.examples.hf_trainer          the same in Hugging Face's Trainer
"""

__all__: list[str] = []
