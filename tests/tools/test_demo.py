"""The page of `make demo`: first without a browser, then in headless Chromium where there is one."""

import shutil
import socket
import sys
import time

import numpy as np
import pytest
import streamlit as st
from llmesr import embed, recommend
from llmesr.runs.matrix import matrix_runs
from llmesr.runs.training import train
from llmesr.tools import demo
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


def test_it_shows_what_each_method_recommends_and_why(app, settings):
    assert not app.exception
    assert [heading.value for heading in app.subheader] == ["LLM-ESR", "Base", "The history, latest first"]
    first, second, history = (table.value for table in app.dataframe)
    for listed in (first, second):
        assert len(listed) == settings.recommend.k
        assert listed["why"].str.contains("near ").all()
    assert first["why"].str.contains("semantic|collaborative").all()
    assert len(history) == len(app.multiselect[0].value)


def test_another_user_and_a_shorter_history_change_the_lists(app, saved):
    app.selectbox(key="user").select(saved.users["user_id"][7]).run()
    before = app.dataframe[0].value["title"].tolist()
    past = app.multiselect[0].value
    assert past[:-1] == saved.items["item_id"].gather(saved.train[7].numpy() - 1).to_list()
    app.multiselect[0].set_value(past[:1]).run()
    assert app.dataframe[0].value["title"].tolist() != before
    assert len(app.dataframe[-1].value) == 1


def test_a_new_item_is_placed_among_all(app, saved):
    app.text_input(key="new").input("Head torch").run()
    assert not app.exception
    stands = app.dataframe[2].value
    assert stands["method"].tolist() == ["LLM-ESR", "Base"]
    assert (stands["rank"] >= 1).all()
    assert (stands["rank"] <= stands["of"]).all()
    assert len(app.dataframe[3].value) == 5


def test_an_empty_history_asks_for_an_item(app):
    app.multiselect[0].set_value([]).run()
    assert "choose at least one item" in app.info[0].value
    assert not app.dataframe


def test_without_recommenders_it_says_what_to_run(data, settings):
    st.cache_resource.clear()
    app = AppTest.from_function(script, kwargs={"settings": settings}, default_timeout=60).run()
    assert "holds no saved recommender" in app.error[0].value


@pytest.mark.slow
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
        assert "LLM-ESR" in shown
        assert "Traceback" not in shown
        seen.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "canvas")) >= len(METHODS))  # tables are drawn
        assert demo.NEW not in shown
    finally:
        browser.quit()
        server.kill()
        server.wait()
