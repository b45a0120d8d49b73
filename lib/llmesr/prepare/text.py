"""Text without markup."""

import re
import warnings

from bs4 import BeautifulSoup, Comment, MarkupResemblesLocatorWarning

# a bare URL or file name in an attribute is text here, not something to open
warnings.filterwarnings("ignore", category=MarkupResemblesLocatorWarning)


def without_markup(text: str) -> str:
    """Take HTML, comments, style and script out of a text, and make all white space single spaces."""
    if "<" in text or "&" in text:
        soup = BeautifulSoup(text, "html.parser")
        for hidden in soup(["style", "script"]) + soup(string=lambda node: isinstance(node, Comment)):
            hidden.extract()
        text = soup.get_text(" ")
    return re.sub(r"\s+", " ", text).strip()
