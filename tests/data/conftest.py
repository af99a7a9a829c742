from tests.data.fixtures import draw, empty, repository, store, tiny
from tests.faces.fixtures import tiny_folder, tiny_pack

__all__ = ["draw", "empty", "repository", "store", "tiny", "tiny_folder", "tiny_pack"]
