"""The check that a metric's means by group recombine to the overall mean."""

import numpy as np
import pytest
from llmesr.evaluate import measure
from llmesr.evaluate.groups import recombine


def test_a_lost_case_is_noticed():
    values = np.array([1.0, 0.0, 1.0, 0.0])
    recombine(values, {"item": np.array(["a", "a", "b", "b"])})
    with pytest.raises(AssertionError, match=r"the groups of 'item' do not recombine: 3 of 4 cases"):
        recombine(values, {"item": np.array(["a", "a", "b"])})


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_case_without_a_label_is_noticed():
    message = r"the groups of 'user' do not recombine to the overall mean"
    with pytest.warns(RuntimeWarning, match="empty"), pytest.raises(AssertionError, match=message):
        recombine(np.array([1.0, 0.0, 1.0]), {"user": np.array([0.0, 0.0, np.nan])})


def test_metrics_by_group_by_hand(tiny):
    settings = tiny.changed({"evaluate.top_k": [1, 10]})
    grouped = {"item": np.array(["tail_item", "head_item", "tail_item"])}
    rows = measure(np.array([1.0, 3.0, 11.0]), grouped, settings)
    value = {(row["group"], row["metric"]): row["value"] for row in rows}
    assert value["overall", "HR@1"] == pytest.approx(1 / 3)
    assert value["overall", "HR@10"] == pytest.approx(2 / 3)
    assert value["overall", "NDCG@10"] == pytest.approx((1 + 0.5 + 0) / 3)  # 1 / log2(1 + 3) = 1 / 2
    assert value["tail_item", "NDCG@10"] == pytest.approx(0.5)
    assert value["head_item", "NDCG@10"] == pytest.approx(0.5)
    assert (value["tail_item", "HR@1"], value["head_item", "HR@1"]) == (0.5, 0)
    assert (value["overall", "users"], value["tail_item", "users"], value["head_item", "users"]) == (3, 2, 1)
