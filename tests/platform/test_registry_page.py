"""The version's page in a real browser, on a real server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from runs import MakeRun
from servers import Server

from frisket.platform.tracking.uploader import Uploader

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.mark.process
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH")
def test_the_version_page_shows_card_and_mask_picture(
    mlflow_server: Server, finished_run: MakeRun, tmp_path: Path
) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    folder = finished_run(mlflow_server.uri, "tiny/page")
    status = Uploader(folder).push()
    assert status.complete, status.reason

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1400,3000",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        browser.get(f"{mlflow_server.uri}/#/models/{status.model}/versions/{status.version}")
        picture = WebDriverWait(browser, 60).until(
            lambda b: next(iter(b.find_elements(By.CSS_SELECTOR, "img[src*='masks-sparse.png']")), None)
        )
        WebDriverWait(browser, 30).until(
            lambda b: b.execute_script("return arguments[0].complete && arguments[0].naturalWidth > 0", picture)
        )
        assert browser.execute_script("return arguments[0].naturalWidth", picture) > 300
        text = browser.find_element(By.TAG_NAME, "body").text
        assert "accuracy" in text
        assert "embedded data" in text
        report = browser.find_element(By.LINK_TEXT, "Mask report, tensor by tensor").get_attribute("href")
        assert report is not None
        assert report.endswith("/artifacts/figures/masks-sparse.html")
        browser.save_screenshot(str(tmp_path / "page.png"))
    finally:
        browser.quit()
