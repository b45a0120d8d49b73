"""Several processes that train one model: shares add up to the whole, and two learn what one does."""

import json

import pytest
import torch
import yaml
from diskcache import Cache
from helpers import ALONE, ROOT, T, V, context_of, finished
from llmesr import embed
from llmesr.embed import local_encoder
from llmesr.models.backbones import BACKBONES
from llmesr.paths import embedding_cache
from llmesr.runs.training import train
from llmesr.train import checkpoint
from llmesr.train.distributed import Distributed
from llmesr.train.loop import Step, Task
from llmesr.train.losses import RankingLoss
from llmesr.train.negatives import NegativeSampler

CPU = torch.device("cpu")

# --- shares ---


def test_a_process_alone_does_all():
    rows = torch.tensor([5, 3, 9])
    assert ALONE.shard(3).tolist() == [0, 1, 2]
    assert torch.equal(ALONE.gather(rows, 3), rows)
    assert ALONE.broadcast({"a": 1}) == {"a": 1}
    assert torch.equal(ALONE.mean(rows), rows)
    assert ALONE.writes
    module = torch.nn.Linear(2, 2)
    assert ALONE.prepare(module) is module
    ALONE.wait()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8])
@pytest.mark.parametrize("size", [2, 3])
def test_every_row_is_in_one_share_and_gathered_in_its_order(n, size):
    whole = torch.arange(2 * n).view(n, 2)
    processes = [Distributed(CPU, rank, size) for rank in range(size)]
    assert [process.writes for process in processes] == [True] + [False] * (size - 1)
    shares = [whole[process.shard(n)] for process in processes]
    most = -(-n // size)

    class Accelerator:
        """Reaches the other processes, which have their shares."""

        def gather(self, padded):
            assert len(padded) == most
            return torch.cat([torch.cat([share, share.new_zeros(most - len(share), 2)]) for share in shares])

    for process, share in zip(processes, shares, strict=True):
        found = Distributed(CPU, process.rank, size, Accelerator()).gather(share, n)
        assert torch.equal(found, whole)


@pytest.mark.parametrize("users", [1, 5])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_mean_of_shares_is_the_loss_even_if_some_process_has_none(
    run_of, sequences, float64, backbone, loss, size, users
):
    run = run_of(backbone, changes={"train.loss": loss})
    model = run.build().double().eval()  # no dropout
    model.on_epoch_start(context_of(model, sequences))
    task = Task(sequences, V, T, None)
    ranking = RankingLoss(run.train_settings, NegativeSampler(sequences, V))

    def loss_and_gradients(process):
        torch.manual_seed(0)  # every process draws the same batch
        found = Step(model, task, ranking, None, process)(torch.arange(users))
        return found, *torch.autograd.grad(found, list(model.parameters()), allow_unused=True, materialize_grads=True)

    shares = [loss_and_gradients(Distributed(CPU, rank, size)) for rank in range(size)]
    for parts, whole in zip(zip(*shares, strict=True), loss_and_gradients(ALONE), strict=True):
        torch.testing.assert_close(sum(parts) / size, whole, rtol=1e-5, atol=1e-7)
    assert len({share[0].item() for share in shares}) > 1


# --- two processes ---

TRAIN = """
import sys
from llmesr.runs.__main__ import main
for params, backbone, method in {}:
    sys.argv[1:] = ["--params", str(paths.ROOT / params), "--backbone", backbone, "--method", method]
    main()
"""
EMBED = """
import sys
from llmesr.embed.__main__ import main
sys.argv[1:] = ["--params", str(paths.ROOT / "params.yaml")]
main()
"""
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")  # what `accelerate launch` does with GPUs


CASES = [("sasrec", "llmesr", "epoch"), ("gru4rec", "llmesr", "step"), ("bert4rec", "base", "epoch")]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(run_of, shell, root):
    """All cases in one pair of processes, which take longer to start than to train."""
    exact = {"model.dropout": 0.0, "train.epochs": 3, "train.batch_size": 14, "train.learning_rate": 0.0001}
    runs, alone, asked = [], [], []
    for backbone, method, refresh in CASES:
        run = run_of(backbone, method, {**exact, "methods.llmesr.mediator_refresh": refresh})
        runs.append(run)
        alone.append(train(run))
        for file in run.folder.iterdir():
            file.unlink()
        asked.append((f"{backbone}.yaml", backbone, method))
        (root / f"{backbone}.yaml").write_text(yaml.safe_dump(run.settings.model_dump(mode="json")))
    finished(shell(runs[0].settings, TRAIN.format(asked), *TWO))
    for run, one in zip(runs, alone, strict=True):
        both = run.load()  # under the same fingerprint
        assert (both.account["processes"], one.account["processes"]) == (2, 1)
        for first, second in zip(one.history, both.history, strict=True):
            assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
        assert both.history[-1]["NDCG@10"] == pytest.approx(one.history[-1]["NDCG@10"], abs=1e-6)
        for name, value in one.method.state_dict().items():
            if not name.endswith("key.bias"):  # softmax ignores a key's bias: its gradient is rounding alone
                torch.testing.assert_close(both.method.state_dict()[name], value, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_two_processes_resume_from_what_the_first_one_has(run_of, shell, monkeypatch):
    """As on two machines without a shared disk: the second process finds no checkpoint."""
    run, real = run_of(method="base", changes={"train.epochs": 3}), checkpoint.save

    def killed(file, state):
        real(file, state)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(run)
    kept = torch.load(run.folder / "checkpoint.pt", weights_only=True)["history"]
    blind = "import os\nfrom llmesr.train import checkpoint\nif os.environ['RANK'] == '1': checkpoint.load = None\n"
    finished(shell(run.settings, blind + TRAIN.format([("params.yaml", "sasrec", "base")]), *TWO))
    history = json.loads((run.folder / "history.json").read_text())["epochs"]
    assert history[:2] == kept  # to the second that they took: they were not trained again
    assert len(history) == 3


@pytest.mark.slow
def test_two_processes_encode_each_text_once(tiny, data, shell):
    model = str(ROOT / tiny.embed.encoders["minilm"].model)
    settings = tiny.changed({"embed.encoders.minilm.model": model, "embed.encoders.minilm.dtype": "float32"})
    finished(shell(settings, EMBED, *TWO))
    together, texts = embed.load("tiny"), embed.prompts(data, settings)
    with Cache(str(embedding_cache())) as cache:
        assert len(cache) - 1 == len({*texts[0], *texts[1]})  # beside the vectors it keeps their width
    encoder = settings.embed.encoders["minilm"]
    for made, own in zip((together.items[1:], together.users), texts, strict=True):
        ((rows, vectors),) = local_encoder.encode(own[:3], encoder, 10**6, "minilm")
        unit = torch.nn.functional.normalize(torch.as_tensor(vectors), dim=1)
        torch.testing.assert_close(torch.from_numpy(made[:3])[rows], unit, atol=1e-5, rtol=1e-3)
