"""Faces without torch: detect (``analysis``), align, embed, parse; the format of the prepared set (``prepared``)."""
