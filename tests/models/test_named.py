"""Methods and backbones are known by their names."""

import pytest
from llmesr.models.backbones import BACKBONES
from llmesr.models.named import by_name
from llmesr.models.registry import METHODS


class Nameless:
    title = "Nameless"


class First:
    name, title = "same", "First"


class Second:
    name, title = "same", "Second"


def test_all_stand_under_their_own_names_in_their_order():
    assert by_name([First]) == {"same": First}
    for known in (METHODS, BACKBONES):
        assert all(one.name == name and one.title for name, one in known.items())


def test_a_forgotten_name_and_a_double_one_are_told():
    with pytest.raises(TypeError, match=r'^Nameless in .*test_named has no name: write `name = "…"` in it$'):
        by_name([Nameless])
    with pytest.raises(TypeError, match=r"^Second and First have the same name 'same'$"):
        by_name([First, Second])
