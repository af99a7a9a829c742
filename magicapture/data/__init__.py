"""Data versions: pictures by git revision and DVC, their digests, and the repository that subjects and styles are added to.

DVC is imported inside functions: who only has folders needs none.
"""

from magicapture.data.address import Address, is_address
from magicapture.data.errors import DataError
from magicapture.data.md5 import folder_md5
from magicapture.data.reading import digest, local, pair_hash, revision_tags
from magicapture.data.repository import Repository
from magicapture.data.subjects import folder_concepts, folder_name, is_photo, name_subjects, photo_hashes

__all__ = [
    "Address", "DataError", "Repository", "digest", "folder_concepts", "folder_md5", "folder_name", "is_address", "is_photo", "local",
    "name_subjects", "pair_hash", "photo_hashes", "revision_tags",
]  # fmt: skip
