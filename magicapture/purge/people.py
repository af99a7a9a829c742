"""Whether what is recorded under some name is a person's, by photos: folders of different people may hold the same file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from magicapture.purge import manifests


class People:
    """What is known of photos, by their sha256: ``photos``, given of the ``subject``; ``sure``, of these those that show the subject for
    sure, since a set of the subject's uses them; ``aside``, those that such a set does not use, so that they may be of anybody (a picture
    of two, a stranger's). Of the rest nothing tells."""

    def __init__(
        self, subject: str, found: Collection[manifests.Manifest], sure: Iterable[str], photos: Iterable[str], aside: Iterable[str]
    ) -> None:
        self.subject = subject
        self.given: dict[str, set[str]] = {}
        self.used: dict[str, set[str]] = {}
        for manifest in found:
            uses = {item["sha256"] for item in manifests.sources(manifest)}
            if not uses:  # only a prepared set tells which of the photos given were used
                continue
            for name, own in manifests.whose(manifest).items():
                self.given.setdefault(name, set()).update(own)
                self.used.setdefault(name, set()).update(uses & set(own))
        named = {digest for manifest in found for digest in manifests.whose(manifest).get(subject, ())}
        self.sure = (self.used.get(subject, set()) | set(sure)) - {manifests.EMPTY}
        self.photos = (set(photos) | named | self.sure) - {manifests.EMPTY}
        self.aside = (self.given.get(subject, set()) | set(aside)) - self.sure

    def owns(self, whose: Mapping[str, Collection[str]], uses: Collection[str] = ()) -> bool:
        """Whether what is of these people (``artifacts.subjects_of``), and uses these photos, is the subject's: by name; since all photos
        of somebody in it are the subject's for sure; or since it uses one that is."""
        if self.subject in whose or self.sure & set(uses):
            return True
        return any(own and (set(own) <= self.sure or self.sure & (self._used(name, own) or set())) for name, own in whose.items())

    def doubt(self, whose: Mapping[str, Collection[str]]) -> str:
        """Why what is not the subject's for sure may be; "" where nothing speaks for it."""
        for name, own in whose.items():
            used = self._used(name, own)
            if self.photos & set(own) if used is None else (self.photos - self.aside) & used:
                return f"of {name!r}, who has photos in common with this person; if they are one, purge {name!r} too"
        return ""

    def _used(self, name: str, own: Collection[str]) -> set[str] | None:
        """Of photos given under a name those that were used; None where no prepared set around tells."""
        return self.used[name] & set(own) if name in self.given and set(own) <= self.given[name] else None
