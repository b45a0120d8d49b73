"""The page of `make demo`: first without a browser, then in headless Chromium where there is one."""

import math
import re
import shutil
import socket
import sys
import time

import numpy as np
import polars as pl
import pytest
import streamlit as st
from llmesr import Recommender, embed, recommend
from llmesr.runs.matrix import matrix_runs
from llmesr.runs.training import train
from llmesr.tools import demo, publish
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from streamlit.testing.v1 import AppTest

pytestmark = pytest.mark.slow

METHODS = ["llmesr", "base"]

CHROMIUM = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Streamlit puts its script in the place of the main module, which processes started later would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def settings(tiny):
    return tiny.changed({"recommend.methods": METHODS, "train.epochs": 1, "train.workers": 1})


@pytest.fixture
def saved(settings, data, inputs, monkeypatch):
    """Two recommenders, where the page looks for them; no language model."""
    monkeypatch.setattr(embed, "identity", lambda settings: settings.embed.encoder)
    monkeypatch.setattr(embed, "encode", lambda texts, settings: np.ones((len(texts), 24), np.float32))
    for run in matrix_runs(settings, data, inputs, methods=METHODS, backbones=["sasrec"], seeds=[42]):
        train(run)
    recommend.run(settings, data, inputs)
    st.cache_resource.clear()
    return data


def script(settings):
    from llmesr.tools import demo

    demo.page(settings)


@pytest.fixture
def app(saved, settings):
    return AppTest.from_function(script, kwargs={"settings": settings}, default_timeout=60).run()


def lists(app):
    """What the two lists show: each item's card."""
    return [re.findall("<li>(.*?)</li>", element.proto.body) for element in app.get("html")]


def titles(cards):
    return [re.search("<b>(.*?)</b>", card)[1] for card in cards]


def test_it_shows_what_two_methods_recommend_and_why(app, settings):
    assert not app.exception
    assert [box.value for box in app.selectbox if box.label.startswith("Method")] == ["LLM-ESR", "Base"]
    first, second = lists(app)
    for cards in (first, second):
        assert len(cards) == settings.recommend.k
        assert all("in the history (cosine" in card for card in cards)
    assert all(re.search(r'aria-label="semantic [+-]\d+%, collaborative [+-]\d+%"', card) for card in first)
    assert all(
        math.isclose(sum(map(float, re.findall(r"width: ([\d.]+)%;", card))), 100, abs_tol=0.2) for card in first
    )
    assert not any("aria-label" in card for card in second)  # the score of the backbone alone has one part
    assert len(app.table[-1].value) == len(app.multiselect[0].value)


def test_another_user_and_a_shorter_history_change_the_lists(app, saved):
    app.selectbox(key="user").select(saved.users["user_id"][7]).run()
    before = titles(lists(app)[0])
    past = app.multiselect[0].value
    assert past[:-1] == saved.items["item_id"].gather(saved.train[7].numpy() - 1).to_list()
    app.multiselect[0].set_value(past[:1]).run()
    assert titles(lists(app)[0]) != before
    assert len(app.table[-1].value) == 1


def test_more_from_the_long_tail_lists_rarer_items(app):
    def bought():
        return np.median([int(re.search(r"bought (\d+) times", card)[1]) for card in lists(app)[0]])

    before, other = bought(), titles(lists(app)[1])
    app.toggle(key="tail 0").set_value(True).run()
    assert not app.exception
    assert bought() < before
    assert titles(lists(app)[1]) == other


def test_titles_are_text_and_not_markup(saved, settings):
    known = Recommender.load(recommend.saved(settings, "llmesr"))
    new = known.add_items(pl.DataFrame({"item_id": ["x"], "title": ["Tent < 2 kg & poles"]}))
    html = demo.as_html(new, ["x"], new.explain_all([saved.items["item_id"][0]], ["x"], nearest=1))
    assert "<b>Tent &lt; 2 kg &amp; poles</b>" in html


def test_a_new_item_is_placed_among_all(app, saved):
    app.text_input(key="new").input("Head torch").run()
    assert not app.exception
    stands, near, _ = (table.value for table in app.table)
    assert stands["method"].tolist() == ["LLM-ESR", "Base"]
    assert (stands["rank"] >= 1).all()
    assert (stands["rank"] <= stands["of"]).all()
    assert len(near) == 5


def test_without_a_run_the_published_recommender_is_shown(saved, settings, tmp_path, monkeypatch):
    folder = tmp_path / "published"
    for module in (demo, publish):
        monkeypatch.setattr(module, "results", lambda dataset, stage: folder / stage)
    publish.publish(settings)
    assert {file.name for file in (folder / "recommend" / "sasrec-llmesr-42").iterdir()} >= {"README.md", "card.json"}
    monkeypatch.setattr(demo, "saved", lambda settings, name: tmp_path / name)
    app = AppTest.from_function(script, kwargs={"settings": settings}, default_timeout=60).run()
    assert not app.exception
    assert [box.value for box in app.selectbox if box.label.startswith("Method")] == ["LLM-ESR", "LLM-ESR"]
    assert [switch.value for switch in app.toggle] == [False, True]  # one method: its list, and a rarer one beside it


def test_an_empty_history_asks_for_an_item(app):
    app.multiselect[0].set_value([]).run()
    assert "choose at least one item" in app.info[0].value
    assert not lists(app)


def test_without_recommenders_it_says_what_to_run(data, settings):
    st.cache_resource.clear()
    app = AppTest.from_function(script, kwargs={"settings": settings}, default_timeout=60).run()
    assert "tiny has no recommender yet: run `make repro`" in app.error[0].value


@pytest.mark.skipif(not shutil.which("chromedriver"), reason="no Chromium on this machine")
def test_in_a_browser(saved, settings, shell):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    code = "from llmesr.tools.demo import page\nfrom llmesr.settings import load\npage(load())"
    server = shell(settings, code, "-m", "streamlit", "run", f"--server.port={port}", "--server.headless=true")
    options = webdriver.ChromeOptions()
    for argument in CHROMIUM:
        options.add_argument(argument)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        for _ in range(100):
            with socket.socket() as line:
                if line.connect_ex(("localhost", port)) == 0:
                    break
            time.sleep(0.2)
        browser.get(f"http://localhost:{port}")
        seen = WebDriverWait(browser, 60)
        seen.until(lambda page: "The history, latest first" in page.find_element(By.TAG_NAME, "body").text)
        shown = browser.find_element(By.TAG_NAME, "body").text
        assert "Tiny shop: 48 items, SASRec" in shown
        assert "Traceback" not in shown
        seen.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "ol.list > li")) == 2 * settings.recommend.k)
        assert demo.NEW not in shown
    finally:
        browser.quit()
        server.kill()
        server.wait()
