from tests.data.fixtures import draw, empty, repository, store, tiny
from tests.faces.fixtures import tiny_folder
from tests.registry.conftest import cluster, empty_store, server, sqlite, tracker

__all__ = ["cluster", "draw", "empty", "empty_store", "repository", "server", "sqlite", "store", "tiny", "tiny_folder", "tracker"]
