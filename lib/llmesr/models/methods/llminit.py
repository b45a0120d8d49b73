"""LLMInit (Harte et al., RecSys 2023): the PCA of the LLM embeddings is the item table's first value."""

from torch import nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method
from llmesr.models.inputs import ModelInputs
from llmesr.section import Section


class LLMInit(Method):
    """The backbone on an item table that starts at the PCA and is trained as usual."""

    name = "llminit"
    title = "LLMInit"

    class Settings(Section):
        """LLMInit has no settings of its own."""

    def __init__(self, settings: Section, inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.table = nn.Embedding.from_pretrained(inputs.pca_table.clone(), freeze=False, padding_idx=0)
