"""Recommenders on the Hugging Face hub: fetched, uploaded, and described by a model card that is made of the run."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from requests import RequestException

from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.registry import METHODS
from llmesr.recommend.package import FILES, Package

CARD = """---
library_name: llmesr
license: mit
tags: [recommender-system, sequential-recommendation, long-tail]
---

# {title}, trained on {dataset}

Recommends the next item for a history of items. It was trained with seed {seed}. It knows {items:,} items.

| | |
| --- | --- |
| Validation NDCG@10, among sampled negatives | {ndcg:.4f} |
| Best epoch | {epoch} |
| Language model of the items' texts | {encoder} |

```python
from llmesr import Recommender

shop = Recommender.from_pretrained("OWNER/NAME")
shop.recommend([{example}], k=10)
```

**Limits.** It was trained on the interactions of one dataset and says nothing about other shops. Popular items are
recommended more often than rare ones. New items can be added by their texts (`add_items`), with the same language
model.
"""


def model_card(package: Package) -> str:
    """Describe a recommender: what it is, how well it did on validation, how to use it, and its limits."""
    about, chosen = package.about, package.settings
    return CARD.format(
        title=f"{METHODS[chosen.method.name].title} on {BACKBONES[chosen.backbone.name].title}",
        dataset=about["dataset"],
        seed=about["seed"],
        items=package.items.height,
        ndcg=about["validation_NDCG@10"],
        epoch=about["best_epoch"],
        encoder=chosen.embed.encoder,
        example=", ".join(f'"{item}"' for item in package.items["item_id"].head(2)),
    )


def fetch(name: str, revision: str | None = None) -> Path:
    """Find a recommender's folder: one on this machine, or the copy of a repository of the hub.

    Raises:
        InputError: the hub has no such repository, or cannot be reached.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[*FILES, "card.json"]))
    except HFValidationError:
        raise InputError(f"{name} is no folder, and no name of a repository such as 'owner/name'") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, RequestException, OSError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise InputError(f"{name} is no folder here, and cannot be fetched from the hub ({reason})") from None


def upload(folder: Path, name: str, *, private: bool) -> str:
    """Put a saved recommender on the hub, in a repository that is made if it is not there; return its address.

    Raises:
        InputError: it cannot be uploaded; without a token the hub refuses.
    """
    try:
        address = HfApi().create_repo(name, private=private, exist_ok=True)
        HfApi().upload_folder(repo_id=name, folder_path=folder, allow_patterns=[*FILES, "card.json", "README.md"])
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RequestException, OSError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise InputError(f"{name} cannot be uploaded ({reason}): sign in with `hf auth login`") from None
    return str(address)
