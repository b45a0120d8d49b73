"""Ranking losses by hand, in blocks, with weights of positions."""

import math

import numpy as np
import pytest
import torch
from helpers import sequences_of
from llmesr.models.registry import METHODS
from llmesr.models.whitening import whiten
from llmesr.runs import training
from llmesr.train import losses
from llmesr.train.losses import RankingLoss, SoftTargets, bce, cross_entropy, gbce, sampled_softmax
from llmesr.train.negatives import NegativeSampler
from llmesr.train.settings import TrainSettings
from scipy.sparse import csr_matrix


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


STATES = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
TABLE = torch.tensor([[2.0, 9.0], [9.0, 0.5], [0.0, 7.0], [-1.0, 0.0], [7.0, 1.0], [0.0, 0.0]])
POSITIVES, NEGATIVES = torch.tensor([0, 1]), torch.tensor([[2, 3], [4, 5]])  # scores 2, 1 and (0, -1), (2, 0)


def test_bce_by_hand():
    expected = -(math.log(sigmoid(2)) + math.log(sigmoid(1))) / 2
    expected -= sum(math.log(1 - sigmoid(s)) for s in (0, -1, 2, 0)) / 4
    assert bce(STATES, TABLE, POSITIVES, NEGATIVES).item() == pytest.approx(expected, rel=1e-5)


def test_gbce_by_hand():
    """Of V = 9 items K = 2 are sampled: α = 1/4, and for t = 0.75 β = 0.25 (0.75 · (1 - 4) + 4) = 0.4375."""
    offset = math.log(2)
    expected = -0.4375 * (math.log(sigmoid(2 - offset)) + math.log(sigmoid(1 - offset)))
    expected -= sum(math.log(1 - sigmoid(s - offset)) for s in (0, -1, 2, 0))
    found = gbce(STATES, TABLE, POSITIVES, NEGATIVES, 9, 0.75).item()
    assert found == pytest.approx(expected / 3 / 2, rel=1e-5)


def test_gbce_starts_where_no_score_of_a_random_item_is_pushed():
    """Scores of zero give a random candidate the probability 1 / (K + 1), so plain BCE (t = 0) is at its optimum."""
    direction = torch.ones(1, 2, requires_grad=True)  # all items lie in it: they can only move together
    table = torch.tensor([[1.0, 1.0]]).repeat(9, 1) * 0.1
    states = (direction - direction.detach()).expand(3, 2)  # scores are zero, and have a gradient
    gbce(states, table, torch.tensor([0, 1, 2]), torch.tensor([[3, 4, 5, 6]] * 3), 9, 0.0).backward()
    torch.testing.assert_close(direction.grad, torch.zeros(1, 2))


def test_gbce_without_calibration_is_bce_that_counts_all_alike():
    one = NEGATIVES[:, :1]
    assert gbce(STATES, TABLE, POSITIVES, one, 9, 0.0).item() == pytest.approx(
        bce(STATES, TABLE, POSITIVES, one).item() / 2
    )


def test_cross_entropy_by_hand():
    candidates = torch.tensor([5, 0, 1, 3])  # scores 0, 2, 9, -1 and 0, 18, 1, 0
    expected = math.log(1 + math.exp(2) + math.exp(9) + math.exp(-1)) - 2
    expected += math.log(1 + math.exp(18) + math.exp(1) + 1) - 1
    assert cross_entropy(STATES, TABLE, POSITIVES, candidates).item() == pytest.approx(expected / 2, rel=1e-5)


def test_soft_targets_by_hand():
    """Items 1 to 4; a third of item 2's share goes to 1 and 4, none of item 3's, which is like nothing."""
    table = torch.tensor([[0.0, 0.0], [2.0, 0.5], [0.0, 1.0], [-1.0, 0.0], [0.5, -1.0]])
    states, positives = torch.tensor([[1.0, 0.5], [0.0, 1.0]]), torch.tensor([2, 3])
    similarity = np.zeros((5, 5))
    similarity[2, [1, 4]] = 0.8, 0.2
    soft = SoftTargets.of(csr_matrix(similarity), share=0.3, temperature=0.5)
    ratio = math.exp(0.6 / 0.5)  # of the shares of items 1 and 4
    torch.testing.assert_close(soft.shares[2], torch.tensor([0.3 * ratio / (1 + ratio), 0.3 / (1 + ratio)]))
    assert not soft.shares[3].any()
    logs = (states @ table[1:].T).log_softmax(1)
    first = 0.7 * logs[0, 1] + soft.shares[2, 0] * logs[0, 0] + soft.shares[2, 1] * logs[0, 3]
    found = cross_entropy(states, table, positives, torch.arange(1, 5), soft=soft)
    torch.testing.assert_close(found, -(first + logs[1, 2]) / 2)


def test_no_share_for_others_is_the_plain_cross_entropy():
    soft = SoftTargets.of(csr_matrix(np.eye(6)[::-1]), share=0.0, temperature=1.0)
    plain = cross_entropy(STATES, TABLE, POSITIVES + 1, torch.arange(1, 6))
    torch.testing.assert_close(cross_entropy(STATES, TABLE, POSITIVES + 1, torch.arange(1, 6), soft=soft), plain)


def test_soft_targets_are_the_methods_own_and_of_cross_entropy_alone(run_of):
    assert run_of(method="dualmatch").train_settings.soft_targets == 0.1
    assert run_of(method="base").train_settings.soft_targets == 0.0
    assert run_of(method="dualmatch", changes={"train.loss": "bce"}).train_settings.soft_targets == 0.0
    both = {"train.loss": "cross_entropy", "train.soft_targets": 0.25}
    assert run_of(method="base", changes=both).train_settings.soft_targets == 0.25


def test_soft_targets_share_a_target_among_the_items_nearest_by_text(run_of, inputs):
    run = run_of(method="dualmatch")
    soft = training.soft_targets(run, torch.device("cpu"))
    torch.testing.assert_close(soft.shares[1:].sum(1), torch.full((48,), 0.1))
    vectors = whiten(inputs.item_embeddings[1:], power=0.75)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = (unit @ unit.T - 2 * np.eye(48)).argmax(1) + 1
    assert (soft.items.gather(1, soft.shares.argmax(1, keepdim=True))[1:, 0].numpy() == nearest).all()
    assert training.soft_targets(run_of(method="base"), torch.device("cpu")) is None


def test_sampled_softmax_estimates_the_whole_sum_without_bias():
    """Over all equally many draws of one candidate, e^loss · e^s⁺ averages to the sum over all items."""
    torch.manual_seed(0)
    table, states, positives = torch.randn(5, 3), torch.randn(1, 3), torch.tensor([2])
    proposal = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25])
    scores = (states @ table.T)[0]
    estimates = [
        sampled_softmax(states, table, positives, torch.tensor([item]), proposal[[item]]).exp() * scores[2].exp()
        for item in range(5)
    ]
    expected = scores.exp().sum()
    assert (torch.stack(estimates) * proposal).sum().item() == pytest.approx(expected.item(), rel=1e-5)


def test_sampled_softmax_by_hand():
    """Three candidates of different q: scores 0, -1, 2 and 14, 0, 18; the last one is what the first state asks for."""
    candidates, q = torch.tensor([2, 3, 0]), torch.tensor([0.5, 0.25, 0.125])
    expected = math.log(math.exp(2) + 1 / 1.5 + math.exp(-1) / 0.75) - 2
    expected += math.log(math.exp(1) + math.exp(14) / 1.5 + 1 / 0.75 + math.exp(18) / 0.375) - 1
    found = sampled_softmax(STATES, TABLE, POSITIVES, candidates, q).item()
    assert found == pytest.approx(expected / 2, rel=1e-5)


def test_a_candidate_is_corrected_by_its_own_popularity_wherever_its_vector_lies():
    """Items 1 to 4 occur 5, 1, 1 and 0 times in training, so their q are 6, 2, 2 and 1 elevenths."""
    sampler = NegativeSampler(sequences_of([1, 1, 1, 1, 2], [1, 3]), 4)
    ranking = RankingLoss(TrainSettings(loss="sampled_softmax", negatives=3), sampler)
    torch.manual_seed(0)
    vectors, state, row = torch.randn(5, 4), torch.randn(1, 4), torch.tensor([0, 3, 1, 4, 2])  # row of each item
    ids = torch.tensor([1, 4, 2])
    found = ranking(state, vectors[row.argsort()], row[[3]], row[ids], ids)
    scores = (vectors @ state[0]).tolist()
    others = sum(math.exp(scores[item]) / (3 * q / 11) for item, q in ((1, 6), (4, 1), (2, 2)))
    assert found.item() == pytest.approx(math.log(math.exp(scores[3]) + others) - scores[3], rel=1e-5)


def test_losses_in_blocks_are_those_of_all_positions_and_so_are_gradients(monkeypatch):
    torch.manual_seed(0)
    rows, positives, negatives = torch.randn(40, 8), torch.randint(30, (17,)), torch.randint(30, (17, 4))
    kinds = {
        "bce": lambda x, y: bce(x, y, positives, negatives),
        "gbce": lambda x, y: gbce(x, y, positives, negatives, 30, 0.75),
        "cross_entropy": lambda x, y: cross_entropy(x, y, positives, torch.arange(30)),
        "sampled_softmax": lambda x, y: sampled_softmax(x, y, positives, negatives[0], torch.full((4,), 0.1)),
    }
    for kind, loss in kinds.items():
        found = []
        for numbers in (2**23, 100):
            monkeypatch.setattr(losses, "BLOCK_NUMBERS", numbers)
            states, table = torch.randn(17, 8, generator=torch.manual_seed(1)), rows[:30].clone()
            leaves = states.requires_grad_(), table.requires_grad_()
            value = loss(*leaves)
            found.append((value, *torch.autograd.grad(value, leaves)))
        for whole, blocks in zip(*found, strict=True):
            torch.testing.assert_close(whole, blocks, msg=kind)


@pytest.mark.parametrize("numbers", [2**23, 100])
def test_scoring_the_whole_table_is_scoring_the_candidates_and_so_are_gradients(numbers, monkeypatch):
    monkeypatch.setattr(losses, "BLOCK_NUMBERS", numbers)
    torch.manual_seed(0)
    positives, negatives = torch.randint(30, (17,)), torch.randint(30, (17, 4))  # 30 rows: 7.5 a candidate
    found = []
    for rows_a_candidate in (0, 7, 8):
        monkeypatch.setattr(losses, "ROWS_A_CANDIDATE", rows_a_candidate)
        states, table = (torch.randn(n, 8, generator=torch.manual_seed(n), requires_grad=True) for n in (17, 30))
        value = gbce(states, table, positives, negatives, 30, 0.75)
        found.append((value, *torch.autograd.grad(value, (states, table))))
    gathered, still_gathered, at_once = found
    assert all(map(torch.equal, gathered, still_gathered))
    for one, other in zip(gathered, at_once, strict=True):
        torch.testing.assert_close(one, other)


def test_a_block_stays_small_where_candidates_outnumber_the_table(monkeypatch):
    monkeypatch.setattr(losses, "BLOCK_NUMBERS", 100)
    real, sizes = torch.nn.functional.softplus, []
    monkeypatch.setattr(losses.F, "softplus", lambda x: sizes.append(x.numel()) or real(x))
    gbce(torch.randn(17, 8), torch.randn(5, 8), torch.randint(5, (17,)), torch.randint(5, (17, 40)), 5, 0.75)
    assert max(sizes) <= 100


KINDS = {
    "bce": lambda weights: bce(STATES, TABLE, POSITIVES, NEGATIVES, weights),
    "gbce": lambda weights: gbce(STATES, TABLE, POSITIVES, NEGATIVES, 9, 0.75, weights),
    "cross_entropy": lambda weights: cross_entropy(STATES, TABLE, POSITIVES, torch.arange(6), weights),
    "sampled_softmax": lambda weights: sampled_softmax(
        STATES, TABLE, POSITIVES, NEGATIVES[0], torch.full((NEGATIVES.shape[1],), 0.2), weights
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [2**23, 1])
def test_weights_of_positions_weigh_their_losses(kind, numbers, monkeypatch):
    monkeypatch.setattr(losses, "BLOCK_NUMBERS", numbers)
    loss = KINDS[kind]
    torch.testing.assert_close(loss(torch.ones(2)), loss(None))
    first, second = loss(torch.tensor([1.0, 0.0])), loss(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(first + second, loss(None))
    torch.testing.assert_close(loss(torch.tensor([3.0, 0.5])), 3 * first + second / 2)


def test_inverse_propensity_counts_rare_items_more_and_all_as_much_on_average():
    sequences = sequences_of([1, 2, 3], [1, 2], [1], [1])  # counts 4, 2, 1, and 0 of item 4
    sampler = NegativeSampler(sequences, 4)
    settings = TrainSettings(loss="bce")
    assert RankingLoss(settings, sampler).importance(sequences.items) is None
    for power in (0.25, 1.0):
        ranking = RankingLoss(settings.model_copy(update={"propensity": power}), sampler)
        weights = ranking.importance(sequences.items)
        assert weights.mean().item() == pytest.approx(1)
        assert weights[2] / weights[0] == pytest.approx((5 / 2) ** power)
        assert weights[1] / weights[0] == pytest.approx((5 / 3) ** power)
    often = sequences_of([1, 1, 1, 1, 2], [1, 3])  # bought again and again
    ranking = RankingLoss(settings.model_copy(update={"propensity": 1.0}), NegativeSampler(often, 3))
    assert ranking.importance(often.items).mean().item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["bce", "gbce", "sampled_softmax", "cross_entropy"])
def test_candidates_and_loss_are_those_that_the_settings_name(kind):
    sequences = sequences_of([1, 2, 3], [2, 4])
    sampler = NegativeSampler(sequences, 6)
    ranking = RankingLoss(TrainSettings(loss=kind, negatives=3), sampler)
    torch.manual_seed(0)
    candidates = ranking.candidates(torch.tensor([0, 1, 1]))
    shape = {"bce": (3, 3), "gbce": (3, 3), "sampled_softmax": (3,), "cross_entropy": (6,)}[kind]
    assert candidates.shape == shape
    states, table, positives = torch.randn(3, 4), torch.randn(7, 4), torch.tensor([3, 4, 2])  # row v is item v
    found = ranking(states, table, positives, candidates, candidates)
    by_name = {
        "bce": lambda: bce(states, table, positives, candidates),
        "gbce": lambda: gbce(states, table, positives, candidates, 6, 0.75),
        "sampled_softmax": lambda: sampled_softmax(
            states, table, positives, candidates, sampler.proposal[candidates - 1]
        ),
        "cross_entropy": lambda: cross_entropy(states, table, positives, candidates),
    }
    torch.testing.assert_close(found, by_name[kind]())


def test_own_means_the_loss_of_the_methods_paper(run_of):
    assert {METHODS[method].loss for method in ("base", "llmesr", "melt")} == {"bce"}
    assert {METHODS[method].loss for method in ("whitenrec", "unisrec", "alphafuse", "dualmatch")} == {"cross_entropy"}
    for method, kind in METHODS.items():
        assert run_of(method=method).train_settings.loss == kind.loss
        assert run_of(method=method, changes={"train.loss": "gbce"}).train_settings.loss == "gbce"
    with pytest.raises(ValueError, match="'own' is no loss"):
        ranking = RankingLoss(TrainSettings(), NegativeSampler(sequences_of([1]), 3))
        ranking(torch.ones(1, 2), torch.ones(4, 2), torch.tensor([1]), torch.tensor([[2]]), torch.tensor([[2]]))
