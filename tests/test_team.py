"""Two processes that train one model learn what one process does."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import ALONE, ROOT, changed, overview, ragged
from diskcache import Cache
from llmesr import embed, train
from llmesr.models.backbones import BACKBONES
from llmesr.models.contract import Batch
from llmesr.paths import artifact, checkpoint_file, embedding_cache
from llmesr.train import checkpoint, loop
from llmesr.train.__main__ import main
from llmesr.train.loop import Task, step_loss
from llmesr.train.losses import RankingLoss
from llmesr.train.negatives import NegativeSampler
from llmesr.train.team import Team
from safetensors.torch import load_file

TRAIN = """
import sys
from llmesr.train.__main__ import main
sys.argv[1:] = ["--params", str(paths.ROOT / "params.yaml"), "--backbone", "{}", "--method", "{}"]
main()
"""
EMBED = """
import sys
from llmesr.embed.__main__ import main
sys.argv[1:] = ["--params", str(paths.ROOT / "params.yaml")]
main()
"""
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")  # what `accelerate launch` does with GPUs


@pytest.mark.parametrize(
    ("backbone", "method", "refresh"),
    [("sasrec", "llmesr", "epoch"), ("gru4rec", "llmesr", "step"), ("bert4rec", "none", "epoch")],
)
def test_two_processes_learn_what_one_does(tiny, data, embeddings, similar, shell, backbone, method, refresh):
    settings = changed(tiny, model__dropout=0.0, train__epochs=3, train__batch_size=14, train__learning_rate=0.0001)
    settings = changed(settings, methods__llmesr__mediator_refresh=refresh)
    alone = train.run(settings, data, embeddings, similar, backbone, method, 42)
    team = shell(settings, TRAIN.format(backbone, method), *TWO)
    said, _ = team.communicate(timeout=120)
    assert team.returncode == 0, said[-3000:]
    folder = artifact("tiny", "train") / backbone / method / "42"
    assert json.loads((folder / "run.json").read_text())["processes"] == 2
    history = json.loads((folder / "history.json").read_text())["epochs"]
    assert [epoch["loss"] for epoch in history] == pytest.approx([epoch["loss"] for epoch in alone.history], rel=1e-4)
    assert history[-1]["NDCG@10"] == pytest.approx(alone.history[-1]["NDCG@10"], abs=1e-6)
    weights = load_file(folder / "weights.safetensors")
    for name, value in alone.model.state_dict().items():
        if not name.endswith("key_value.bias"):  # softmax ignores a key's bias: its gradient is rounding alone
            torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_a_team_resumes_from_what_its_first_process_has(tiny, data, embeddings, similar, shell, monkeypatch):
    """As on two machines without a shared disk: the second process finds no checkpoint."""
    settings = changed(tiny, train__epochs=3)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
    real = checkpoint.save

    def killed(file, state):
        real(file, state)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train.run(settings, data, embeddings, similar, "sasrec", "none", 42)
    kept = torch.load(checkpoint_file("tiny", "sasrec", "none", 42), weights_only=True)["history"]
    blind = "import os\nfrom llmesr.train import checkpoint\nif os.environ['RANK'] == '1': checkpoint.load = None\n"
    team = shell(settings, blind + TRAIN.format("sasrec", "none"), *TWO)
    said, _ = team.communicate(timeout=120)
    assert team.returncode == 0, said[-3000:]
    history = json.loads((artifact("tiny", "train") / "sasrec/none/42/history.json").read_text())["epochs"]
    assert history[:2] == kept  # to the second that they took: they were not trained again
    assert len(history) == 3


def test_two_processes_encode_what_one_does_each_text_once(tiny, data, shell):
    model = str(ROOT / tiny.embed.encoders["minilm"].model)
    settings = changed(tiny, embed__encoders__minilm__model=model, embed__encoders__minilm__dtype="float32")
    team = shell(settings, EMBED, *TWO)
    said, _ = team.communicate(timeout=120)
    assert team.returncode == 0, said[-3000:]
    together = embed.load("tiny")
    with Cache(str(embedding_cache())) as cache:
        assert len(cache) == len({*embed.prompts(data, settings)[0], *embed.prompts(data, settings)[1]})
    texts = embed.prompts(data, settings)
    for made, own in zip((together.items[1:], together.users), texts, strict=True):
        np.testing.assert_allclose(made, embed.encode(own, settings, cached=False), atol=1e-6)


@pytest.mark.parametrize("users", [1, 5])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_shares_add_up_to_the_loss_even_if_some_process_has_none(build, tiny, sequences, backbone, size, users):
    model = build(backbone).eval()  # no dropout
    model.start_epoch(overview(model, sequences))
    task = Task(sequences, 48, 20, None)
    ranking = RankingLoss(train.with_loss(tiny.train, "none"), NegativeSampler(sequences, 48))

    def loss(team):
        torch.manual_seed(0)  # every process draws the same batch
        return step_loss(model, task, ranking, torch.arange(users), team).item()

    shares = [loss(Team(torch.device("cpu"), rank, size)) for rank in range(size)]
    assert sum(shares) == pytest.approx(loss(ALONE), rel=1e-4)
    assert len(set(shares)) > 1


def test_a_process_alone_does_all():
    rows = torch.tensor([5, 3, 9])
    assert torch.equal(ALONE.together(rows, lambda share: share * 2), rows * 2)
    assert ALONE.writes
    assert ALONE.mine(3).tolist() == [0, 1, 2]


def test_a_share_of_a_batch_by_hand():
    represents = torch.tensor([False, True, True])
    batch = Batch(torch.tensor([7, 8, 9]), ragged([1, 2], [3], [4, 5, 6]), torch.arange(6), represents)
    share = batch.take(torch.tensor([0, 2]))
    assert share.users.tolist() == [7, 9]
    assert share.inputs.items.tolist() == [1, 2, 4, 5, 6]
    assert share.targets.tolist() == [0, 1, 3, 4, 5]
    assert share.represented.tolist() == [9]
    assert share.last.tolist() == [4]


def test_an_unknown_method_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["llmesr.train", "--backbone", "sasrec", "--method", "llmers"])
    with pytest.raises(SystemExit):
        main()
    assert "'llmers' is not among 'methods'" in capsys.readouterr().err


class Other:
    """The other process, which has computed one row."""

    def gather(self, padded):
        return torch.cat([torch.tensor([[7.0, 8.0]]), padded])


def test_a_process_without_a_share_has_rows_of_the_right_shape():
    second = Team(torch.device("cpu"), 1, 2, Other())
    found = second.together(torch.tensor([3]), lambda rows: torch.stack([rows.float(), rows.float() + 1], 1))
    assert found.tolist() == [[7, 8]]
