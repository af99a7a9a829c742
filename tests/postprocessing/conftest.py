from tests.faces.fixtures import mini_pack, tiny_folder, tiny_pack

__all__ = ["mini_pack", "tiny_folder", "tiny_pack"]
