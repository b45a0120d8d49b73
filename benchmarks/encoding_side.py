"""The side of sentence-transformers, in the other environment: the same model's folder, its default batches."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer


def main() -> None:
    """Encode all texts and compare the vectors with ours."""
    torch.set_num_threads(1)
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    texts = (folder / "texts.txt").read_text(encoding="utf-8").split("\n")
    model = SentenceTransformer(job["model"], device="cpu")
    model.max_seq_length = job["max_tokens"]
    model.encode(texts[:64])
    began = time.perf_counter()
    vectors = model.encode(texts)
    seconds = time.perf_counter() - began
    unit, ours = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (vectors, np.load(folder / "float32.npy"))
    )
    values = {
        "texts_per_second": len(texts) / seconds,
        "tokens_per_second": job["tokens"] / seconds,
        "max_cosine_distance": float(1 - (unit.astype(np.float64) * ours).sum(1).min()),
    }
    print(json.dumps({"values": values, "note": f"computes in {vectors.dtype}"}), flush=True)


if __name__ == "__main__":
    main()
