"""From what the stages hand on to what a model is built from."""

from collections.abc import Mapping

from llmesr.embed import Embeddings
from llmesr.models.inputs import ItemView, ModelInputs
from llmesr.retrieve import Neighbours


def model_inputs(
    embeddings: Embeddings, neighbours: Neighbours, views: Mapping[str, ItemView] | None = None
) -> ModelInputs:
    """Put embeddings, similar users and further views together."""
    return ModelInputs(embeddings.items, embeddings.pca, embeddings.users, neighbours.users, dict(views or {}))
