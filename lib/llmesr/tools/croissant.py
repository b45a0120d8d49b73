"""Describe the published numbers for machines, as Croissant metadata: `python -m llmesr.tools.croissant`.

Written to `results/croissant.json`, which `mlcroissant.Dataset("results/croissant.json")` reads. Croissant (Akhtar et
al., 2024) is a format in which search engines for datasets and machine-learning libraries find files and columns.
"""

import json

import mlcroissant as mlc
import polars as pl

from llmesr.paths import ROOT, replacing, sha256

FILE = ROOT / "results" / "croissant.json"
COLUMNS = {
    "source": "where the number is published",
    "dataset": "name of the dataset",
    "backbone": "gru4rec, bert4rec or sasrec; untrained for references without a model",
    "method": "what helps the backbone; base is the backbone alone",
    "seed": "seed of the training run",
    "protocol": "sampled: ranked among sampled negatives; full: ranked among all items",
    "group": "the test cases of the mean: overall, or head and tail users and items",
    "metric": "HR@k or NDCG@k",
    "value": "mean of the metric over the group's test cases",
    "verified": "whether the number could be checked against the paper's text",
}
TYPES = {pl.Int64: mlc.DataType.INTEGER, pl.Float64: mlc.DataType.FLOAT}


def metadata() -> mlc.Metadata:
    """Describe the paper's numbers, and ours of every dataset that has them."""
    folder = FILE.parent
    files = [folder / "published.csv", *sorted(folder.glob("*/evaluate/metrics.csv"))]
    files = [file for file in files if not file.relative_to(folder).parts[0].startswith("tiny")]
    objects, records = [], []
    for file in files:
        place = file.relative_to(folder).as_posix()
        name = place.removesuffix(".csv").replace("/", "-")
        objects.append(
            mlc.FileObject(id=place, name=place, content_url=place, encoding_formats=["text/csv"], sha256=sha256(file))
        )
        fields = [
            mlc.Field(
                id=f"{name}/{column}",
                name=column,
                description=COLUMNS[column],
                data_types=TYPES.get(kind, mlc.DataType.TEXT),
                source=mlc.Source(file_object=place, extract=mlc.Extract(column=column)),
            )
            for column, kind in pl.scan_csv(file).collect_schema().items()
        ]
        records.append(mlc.RecordSet(id=name, name=name, fields=fields))
    return mlc.Metadata(
        name="llm-esr-results",
        description="Metrics of sequential recommenders with and without LLM embeddings, by seed, protocol and group.",
        license="https://opensource.org/license/mit",
        url="https://arxiv.org/abs/2405.20646",
        cite_as="Liu et al., LLM-ESR, NeurIPS 2024, arXiv 2405.20646; numbers reproduced by this repository",
        version="0.1.0",
        distribution=objects,
        record_sets=records,
    )


def main() -> None:
    """Write the file."""
    with replacing(FILE) as temporary:
        temporary.write_text(json.dumps(metadata().to_json(), indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
