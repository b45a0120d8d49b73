"""Nothing is lost: a process killed with SIGKILL, at any moment, and begun again ends as one that was not.

And where nothing can be written, that is said.
"""

import time

import numpy as np
import pytest
import torch
from conftest import changed
from diskcache import Cache
from llmesr import evaluate, train
from llmesr.embed.cache import encode_cached
from llmesr.errors import InputError
from llmesr.paths import checkpoint_file, embedding_cache, replacing, results, run_folder
from safetensors.torch import load_file


def kill_when(process, happened):
    """Kill a process as soon as something has happened."""
    until = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < until
        time.sleep(0.005)
    process.kill()
    process.wait()


TRAIN = """
from llmesr import embed, retrieve, train
from llmesr.prepare import dataset
from llmesr.settings import load
from llmesr.train import loop
loop.CHECKPOINT_SECONDS = -1
settings = load(paths.ROOT / "params.yaml")
train.run(settings, dataset.load("tiny"), embed.load("tiny"), retrieve.load("tiny"), "sasrec", "llmesr", 42)
"""


def test_training(tiny, data, embeddings, similar, shell):
    settings = changed(tiny, train__epochs=12, train__patience=12)
    whole = train.run(settings, data, embeddings, similar, "sasrec", "llmesr", 42)
    weights = run_folder("tiny", "sasrec", "llmesr", 42) / "weights.safetensors"
    weights.unlink()
    checkpoint = checkpoint_file("tiny", "sasrec", "llmesr", 42)
    kill_when(shell(settings, TRAIN), checkpoint.exists)
    reached = torch.load(checkpoint, weights_only=True)["epoch"]
    assert 0 < reached < 12
    assert not weights.exists()
    again = shell(settings, TRAIN)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said[-3000:]
    for name, value in load_file(weights).items():
        assert torch.equal(value, whole.model.state_dict()[name]), name


def test_two_at_once_in_one_checkout(tiny, data, embeddings, similar, shell):
    """Both write the same run, and its checkpoint after every epoch: what is left is whole, as one would leave it."""
    settings = changed(tiny, train__epochs=6, train__patience=6)
    whole = train.run(settings, data, embeddings, similar, "sasrec", "llmesr", 42)
    folder = run_folder("tiny", "sasrec", "llmesr", 42)
    for file in folder.glob("*.*"):
        file.unlink()
    for process in [shell(settings, TRAIN) for _ in range(2)]:
        said, _ = process.communicate(timeout=180)
        assert process.returncode == 0, said[-3000:]
    for name, value in load_file(folder / "weights.safetensors").items():
        assert torch.equal(value, whole.model.state_dict()[name]), name
    assert train.load(settings, embeddings, similar, "sasrec", "llmesr", 42).account["epochs"] == 6
    assert not list(folder.glob(".*"))  # nothing half-written is left


ENCODE = """
import time
import numpy as np
from llmesr.embed.cache import encode_cached
def encode(texts):
    for i, text in enumerate(texts):
        time.sleep(0.01)
        yield [i], np.full((1, 4), float(text), dtype=np.float32)
encode_cached([str(i) for i in range(400)], "mine", encode, paths.embedding_cache())
"""


def test_encoding(tiny, shell):
    with Cache(str(embedding_cache())) as cache:
        kill_when(shell(tiny, ENCODE), lambda: len(cache) >= 20)
        kept = len(cache)
    asked = []

    def encode(texts):
        asked.extend(texts)
        yield list(range(len(texts))), np.array([[float(text)] * 4 for text in texts], dtype=np.float32)

    found = encode_cached([str(i) for i in range(400)], "mine", encode, embedding_cache())
    assert (found == np.arange(400)[:, None]).all()
    assert 0 < len(asked) == 400 - kept


EVALUATE = """
from llmesr import evaluate
from llmesr.prepare import dataset
from llmesr.settings import load
settings = load(paths.ROOT / "params.yaml")
print("ready", flush=True)
evaluate.run(settings, dataset.load("tiny"))
"""


def test_evaluation(tiny, data, embeddings, similar, shell):
    """Whenever it is killed, `metrics.csv` is the former one or the new one, whole."""
    runs = {"matrix__backbones": ["gru4rec"], "matrix__methods": ["none", "llmesr"], "matrix__seeds": [42]}
    settings = changed(tiny, train__epochs=1, **runs)
    for run in settings.matrix.runs():
        train.run(settings, data, embeddings, similar, *run)
    file = results("tiny") / "metrics.csv"
    for wait in (0.0, 0.1, 0.3):
        process = shell(settings, EVALUATE)
        assert process.stdout.readline() == "ready\n"
        time.sleep(wait)
        process.kill()
        process.wait()
        before = file.read_bytes() if file.exists() else None
        evaluate.run(settings, data)
        assert before in (None, file.read_bytes())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_is_replaced_whole_or_not_at_all(root, tiny, shell, when):
    file = root / "results" / "file.txt"
    file.parent.mkdir()
    file.write_text("former")
    code = f"""
import time
with paths.replacing(Path({str(file)!r})) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    time.sleep({60 if when == "before" else 0})
print("replaced", flush=True)
time.sleep(60)
"""
    process = shell(tiny, code)
    assert process.stdout.readline() == "written\n"
    if when == "after":
        assert process.stdout.readline() == "replaced\n"
    process.kill()
    process.wait()
    assert file.read_text() == ("former" if when == "before" else "half")


WRITERS = {
    "text": "temporary.write_text('x' * 10_000)",
    "safetensors": "import numpy, safetensors.numpy as s; s.save_file({'x': numpy.zeros(5000)}, temporary)",
    "parquet": "import numpy, polars; polars.DataFrame({'x': numpy.random.rand(5000)}).write_parquet(temporary)",
    "csv": "import numpy, polars; polars.DataFrame({'x': numpy.random.rand(5000)}).write_csv(temporary)",
}


def test_a_full_disk_is_named_and_the_former_file_stays(root, tiny, shell):
    """A limit on the size of files stands for the disk: writing beyond it fails as it does on a full one."""
    file = root / "results" / "file.txt"
    file.parent.mkdir()
    file.write_text("former")
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    writers = [f"with paths.replacing(file) as temporary: {writer}" for writer in WRITERS.values()]
    writers.append("import torch; from llmesr.train import checkpoint; checkpoint.save(file, {'x': torch.zeros(5000)})")
    code += f"file = Path({str(file)!r})\n"
    for writer in writers:
        code += f"""
try:
    {writer}
except Exception as error:
    print(type(error).__name__, error)
"""
    said, _ = shell(tiny, code).communicate(timeout=60)
    lines = said.strip().splitlines()
    assert len(lines) == len(writers)
    for line in lines:
        assert line.startswith("InputError results/file.txt cannot be written (")
        assert line.endswith("make room on the disk or the folder writable, and run again")
    assert file.read_text() == "former"
    assert sorted(part.name for part in file.parent.iterdir()) == ["file.txt"]


def test_what_goes_wrong_before_the_write_is_not_called_a_full_disk(root):
    with pytest.raises(RuntimeError, match="shapes"), replacing(root / "results" / "x.csv"):
        raise RuntimeError("shapes do not fit")


def test_a_folder_that_cannot_be_made_is_named(root):
    (root / "results").write_text("a file where the folder should be")
    with (
        pytest.raises(InputError, match=r"results/tiny/x.csv cannot be written \("),
        replacing(results("tiny") / "x.csv"),
    ):
        pass


def test_an_embedding_cache_on_a_full_disk_is_named(tiny, shell):
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
    said, _ = shell(tiny, code + ENCODE.replace("(1, 4)", "(1, 4000)")).communicate(timeout=60)
    assert "InputError: the embedding cache runs/embedding-cache cannot be written (" in said
