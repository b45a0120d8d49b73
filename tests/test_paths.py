"""Files are replaced whole or not at all, and what cannot be written is named."""

import pytest
from llmesr import paths
from llmesr.errors import InputError
from llmesr.paths import artifact, from_root, replacing, replacing_folder, results, run_store, sha256, shown


def test_everything_lies_below_the_root(root):
    assert from_root("a/b") == root / "a" / "b"
    assert from_root("/a/b").as_posix() == "/a/b"
    for folder in (artifact("tiny", "prepare"), run_store("tiny"), results("tiny"), paths.embedding_cache()):
        assert folder.is_relative_to(root)
    assert shown(root / "runs" / "x") == "runs/x"
    assert shown(root.parent) == str(root.parent)


def test_a_file_has_the_sha256_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_after_an_error_the_former_file_stays_and_nothing_else(root):
    file = root / "results" / "file.txt"
    with replacing(file) as temporary:
        temporary.write_text("former")
    with pytest.raises(RuntimeError, match="shapes"), replacing(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError("shapes do not fit")  # which is not called a full disk
    assert file.read_text() == "former"
    assert [part.name for part in file.parent.iterdir()] == ["file.txt"]


def test_a_folder_is_replaced_whole_or_not_at_all(root):
    folder = root / "results" / "recommender"
    for name in ("former", "present"):
        with replacing_folder(folder) as temporary:
            (temporary / name).write_text("x")
    assert [part.name for part in folder.iterdir()] == ["present"]
    with pytest.raises(RuntimeError), replacing_folder(folder) as temporary:
        (temporary / "half").write_text("x")
        raise RuntimeError
    assert [part.name for part in folder.iterdir()] == ["present"]
    assert [part.name for part in folder.parent.iterdir()] == ["recommender"]


@pytest.mark.parametrize("kind", [replacing, replacing_folder])
def test_a_folder_that_cannot_be_made_is_named(root, kind):
    (root / "results").write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"results/tiny/x.csv cannot be written \("), kind(results("tiny") / "x.csv"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_process_leaves_the_former_file_or_the_new_one(root, tiny, shell, when):
    file = root / "results" / "file.txt"
    file.parent.mkdir()
    file.write_text("former")
    code = f"""
import time
with paths.replacing(Path({str(file)!r})) as temporary:
    temporary.write_text("new")
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
    assert file.read_text() == ("former" if when == "before" else "new")


WRITERS = {
    "text": "temporary.write_text('x' * 10_000)",
    "safetensors": "import numpy, safetensors.numpy as s; s.save_file({'x': numpy.zeros(5000)}, temporary)",
    "parquet": "import numpy, polars; polars.DataFrame({'x': numpy.random.rand(5000)}).write_parquet(temporary)",
    "csv": "import numpy, polars; polars.DataFrame({'x': numpy.random.rand(5000)}).write_csv(temporary)",
}


@pytest.mark.slow
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
    printed, _ = shell(tiny, code).communicate(timeout=120)
    lines = printed.strip().splitlines()
    assert len(lines) == len(writers)
    for line in lines:
        assert line.startswith("InputError results/file.txt cannot be written (")
        assert line.endswith("make room on the disk or the folder writable, and run again")
    assert file.read_text() == "former"
    assert sorted(part.name for part in file.parent.iterdir()) == ["file.txt"]
