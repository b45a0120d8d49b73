"""The backbone alone: its item table starts at random."""

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method
from llmesr.models.inputs import ModelInputs, random_table
from llmesr.section import Section


class BackboneOnly(Method):
    """The baseline that every other method is compared with."""

    name = "base"
    title = "Base"

    class Settings(Section):
        """The backbone alone has no settings of its own."""

    def __init__(self, settings: Section, inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.table = random_table(inputs.n_items, inputs.hidden)
