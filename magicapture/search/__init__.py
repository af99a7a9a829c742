"""Search and selection over the stages: of several trainings the best is kept, of many portraits the best.

:func:`run` tries ``config.search`` and keeps one adapter (``magicapture train``); :func:`best_of` draws more portraits than are wanted and
keeps the best (``magicapture generate --best``).
"""

from magicapture.search.best import best_of
from magicapture.search.halving import Found, SearchError, run
from magicapture.search.plan import candidates, planned, seeds

__all__ = ["Found", "SearchError", "best_of", "candidates", "planned", "run", "seeds"]
