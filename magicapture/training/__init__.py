"""The method: textual inversion of two tokens, then LoRA and tokens together, on one UNet pass a step.

``inversion.run`` (phase 1) and ``tuning.run`` (phase 2) are the stages. Both open a ``session``, describe themselves as
a ``trainer.Recipe`` (parameters, rows, losses) and hand it to ``trainer.Trainer``. One step: ``data.draw_batch`` ->
``objective.terms`` (which uses ``losses``, ``attention`` and ``identity``) -> one update.
"""
