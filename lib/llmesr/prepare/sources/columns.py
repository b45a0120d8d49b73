"""Which column of a table holds what: by its name here, by `columns` of the dataset, or by a name that people use."""

import re
from collections.abc import Mapping, Sequence

from llmesr.errors import InputError

USED = {
    "user_id": "user uid username userid customer customerid customernumber member memberid visitor visitorid reviewer "
    "reviewerid buyerid householdid accountid clientid",
    "item_id": "item iid itemid product productid asin parentasin movieid isbn stockcode sku article articleid "
    "artistid bookid songid trackid gameid recipeid animeid businessid videoid newsid courseid "
    "lineitemsku",
    "timestamp": "time date datetime ts unixtime unixreviewtime invoicedate tdat eventtime createdat transactiondate "
    "purchasedate orderdate",
    "title": "lineitemname name itemname productname producttitle booktitle movietitle articletitle description",
    "rating": "score stars overall bookrating",
    "text": "review reviewtext comment",
}
"""Names that people use for each of ours, in lower case and without anything but letters and digits."""
USED = {role: tuple(dict.fromkeys(names.split())) for role, names in USED.items()}
TYPES = re.compile(r":(token|token_seq|float|float_seq)$")
"""What RecBole puts behind a name."""


def plain(name: str) -> str:
    """Reduce a name to what people agree on: `Customer ID` and `customer_id:token` become `customerid`."""
    return re.sub(r"[\W_]", "", TYPES.sub("", name).lower())


def find(
    names: Sequence[str], role: str, chosen: Mapping[str, str | int], where: str, also: Sequence[str] = ()
) -> str | None:
    """Find the column that holds a role.

    Args:
        names: the columns of a table.
        role: one of `USED`.
        chosen: the dataset's `columns`: role → name, or number from 1.
        where: the file, for the error.
        also: further names that mean the role in this table, such as `id`.

    Raises:
        InputError: the name that is chosen is not there, or several columns could be meant.
    """
    if role in chosen:
        wanted = str(chosen[role])
        if wanted in names:
            return wanted
        if isinstance(chosen[role], int) and 1 <= chosen[role] <= len(names):
            return names[chosen[role] - 1]
        return None
    exact = [name for name in names if TYPES.sub("", name) == role]
    if exact:
        return exact[0]
    same = [name for name in names if plain(name) == plain(role)]
    found = same or [name for name in names if plain(name) in USED[role]]
    found = found or [name for name in names if plain(name) in also]
    if len(found) > 1 and role == "title":
        found = sorted(found, key=lambda name: USED[role].index(plain(name)) if plain(name) in USED[role] else 0)[:1]
    if len(found) > 1:
        raise InputError(
            f"{where} has the columns {' and '.join(repr(name[:60]) for name in found[:4])}, which could all be "
            f"'{role}': set 'columns: {{{role}: {found[0][:60]}}}' for this dataset"
        )
    return found[0] if found else None


def among(chosen: Mapping[str, str | int], names: Sequence[str]) -> dict[str, str | int]:
    """Keep of a dataset's `columns` what names a column of this table: the rest is said of the interactions."""
    return {role: column for role, column in chosen.items() if column in names}


def role_of(name: str) -> str | None:
    """Say which role a column's name would have, if any."""
    return ROLES.get(plain(name))


ROLES = {name: role for role, names in USED.items() for name in (*names, plain(role))}
