"""What is kept between runs: prepared models on disk, by the content that they were made from."""

from bitfront.evaluators.cache.preparation_key import preparation_key
from bitfront.evaluators.cache.preparation_store import PreparationStore

__all__ = ["PreparationStore", "preparation_key"]
