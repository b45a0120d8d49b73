"""`python -m llmesr.check`: what is understood of raw files is said, and nothing is written."""

import pytest
from helpers import ROOT
from llmesr import check
from llmesr.errors import InputError

ROWS = "".join(f"u{u},i{(u + t) % 7},{1_700_000_000 + 60 * t}\n" for u in range(8) for t in range(5))


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "my shop"
    folder.mkdir()
    (folder / "interactions.csv").write_text("userId,itemId,time\n" + ROWS + "u0,i0,1700000900\nlone,i0,1\n")
    items = "".join(f"i{i},Thing {i},kind {i % 3}\n" for i in range(7))
    (folder / "items.csv").write_text("itemId,name,kind\n" + items)
    return folder


def test_the_report_says_what_was_understood_and_what_goes(root, shop, capsys):
    check.main([str(shop), "--params", str(ROOT / "params.yaml")])
    printed = capsys.readouterr().out
    for said in (
        "2 files",
        "read as format 'table'",
        "interactions: 42 of 9 users with 7 items, from 1 to 2023-11-14 22:28",
        "items: 7, attributes for the prompt: kind",
        "i0 | Thing 0 | kind 0",
        "kept: 41 of 42 interactions\n",
        "  1 that repeat an earlier one of the same user and item may stay ('repeats: keep')",
        "1 of 9 users go ('min_user: 3'",
        "  8 users",
        "  7 items",
        "repeats: first            # 2% of interactions are repeats",
        "category: kind   # 3 values",
    ):
        assert said in printed, said
    assert not list(root.glob("artifacts/*"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda shop: (shop / "items.csv").write_text("itemId,name\ni0,Thing\n"), "item 'i1' is not in items.csv"),
        (lambda shop: (shop / "interactions.csv").unlink(), "interactions.csv or .parquet is missing"),
        (
            lambda shop: (shop / "interactions.csv").write_text("userId,itemId,time\nu,i0,1\n"),
            "no user has 3 interactions (the busiest has 1)",
        ),
    ],
)
def test_a_fault_is_one_sentence_and_an_exit_code(root, shop, capsys, spoil, message):
    spoil(shop)
    with pytest.raises(SystemExit) as found:
        check.main([str(shop), "--params", str(ROOT / "params.yaml")])
    assert found.value.code == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_files_of_another_format_than_a_dataset_of_that_name_has_are_read_as_what_they_are(root, tmp_path, capsys):
    folder = tmp_path / "yelp"
    folder.mkdir()
    (folder / "inter.txt").write_text("".join(f"{u} {i}\n" for u in range(1, 6) for i in range(1, 6)))
    check.main([str(folder), "--params", str(ROOT / "params.yaml")])
    printed = capsys.readouterr()
    assert "interactions: 25 of 5 users with 5 items" in printed.out
    assert "is for the format 'yelp', but these are files of 'inter-txt'" in printed.err


def test_a_folder_that_is_not_there_is_named(root):
    with pytest.raises(InputError, match=r"no/such/shop is no folder"):
        check.settings_of("no/such/shop", str(ROOT / "params.yaml"))


def test_a_note_is_printed_once(root, shop, capsys):
    """The file is looked at several times, until it is known to be the table of interactions."""
    (shop / "interactions.csv").rename(shop / "orders.csv")
    with (shop / "orders.csv").open("ab") as file:
        file.write("u1,i1,1700000000,Caf\u00e9\n".encode("cp1252"))
    rows = (shop / "orders.csv").read_bytes().replace(b"time\n", b"time,place\n")
    (shop / "orders.csv").write_bytes(rows)
    check.main([str(shop), "--params", str(ROOT / "params.yaml")])
    assert capsys.readouterr().err.count("is read as Windows-1252") == 1


def test_where_a_setting_for_a_dataset_stands_is_shown(root, shop, capsys):
    (shop / "interactions.csv").write_text("Email,SKU,time\nu,a,1\n")
    with pytest.raises(SystemExit):
        check.main([str(shop), "--params", str(ROOT / "params.yaml")])
    err = capsys.readouterr().err
    assert "set 'columns" in err
    assert f"datasets:\n  {shop.name}:\n    columns: {{user_id: Email" in err


def test_a_column_that_is_called_a_category_is_suggested_first(root, shop, capsys):
    items = (shop / "items.csv").read_text().splitlines()
    lines = [f"{line},{extra}" for line, extra in zip(items, ["product category", *"abcabca"], strict=True)]
    (shop / "items.csv").write_text("\n".join(lines))
    check.main([str(shop), "--params", str(ROOT / "params.yaml")])
    assert "category: product category   # 3 values" in capsys.readouterr().out


def test_each_dataset_of_a_folder_is_checked(root, tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / "both" / name).mkdir(parents=True)
        (tmp_path / "both" / name / "inter.txt").write_text(
            "".join(f"{user} {item}\n" for user in (1, 2) for item in (1, 2, 3))
        )
    check.main([str(tmp_path / "both"), "--params", str(ROOT / "params.yaml")])
    assert capsys.readouterr().out.count("read as format 'inter-txt'") == 2
