"""Erasing a person: find all that is of one, remove it, look again. The command is ``magicapture purge`` (``magicapture.cli.purge``)."""

from magicapture.purge.erasure import Plan, PurgeError, Report, erase, find

__all__ = ["Plan", "PurgeError", "Report", "erase", "find"]
