from tests.data.fixtures import draw, empty, repository, store, tiny
from tests.faces.fixtures import mini_pack, tiny_folder, tiny_pack

__all__ = ["draw", "empty", "mini_pack", "repository", "store", "tiny", "tiny_folder", "tiny_pack"]
