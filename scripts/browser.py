"""Clicks through the storefront in a headless Chromium and checks what the page shows.

Usage: browser.py STOREFRONT    with REDIS_URL set; SCREENSHOT=file.png keeps a picture of the page.

The browser uses HTTPS, as with a proxy that ends TLS in front of the shop; `openssl` makes the certificate.
This script speaks the WebDriver protocol to chromedriver and needs only the standard library.
"""

import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


@contextmanager
def running(command, pattern, **options):
    """Runs a program and gives what the pattern finds in its output. Ends the program afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    try:
        for line in process.stdout:
            if found := re.search(pattern, line):
                yield found.group(1)
                return
        raise SystemExit(f"{command[0]} ended with {process.wait()} before it was ready")
    finally:
        process.terminate()
        process.wait()


@contextmanager
def https(url, directory):
    """A proxy that ends TLS in front of the shop. Gives its URL."""
    certificate, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(plain):
        try:
            client = context.wrap_socket(plain, server_side=True)
            shop = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return
        threading.Thread(target=copy, args=(client, shop), daemon=True).start()
        copy(shop, client)

    def accept():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(plain,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}"
    finally:
        listener.close()


class Browser:
    """One window of one browser."""

    def __init__(self, driver, profile):
        self.driver = driver
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--window-size=1280,1000", "--force-color-profile=srgb", f"--user-data-dir={profile}",
        ]
        options = {"args": arguments}
        capabilities = {"alwaysMatch": {
            "browserName": "chrome", "acceptInsecureCerts": True, "goog:chromeOptions": options}}
        self.session = ""
        self.session = "/session/" + self.post("/session", {"capabilities": capabilities})["sessionId"]

    def post(self, path, body):
        return self.send("POST", path, body)

    def send(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.driver + self.session + path, data, method=method)
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {json.load(error)['value']['message']}") from None

    def open(self, url):
        self.post("/url", {"url": url})
        self.wait("the page", "return document.body.dataset.ready === 'true'")

    def script(self, text):
        return self.post("/execute/sync", {"script": text, "args": []})

    def wait(self, what, text):
        """Waits until a script gives true."""
        end = time.monotonic() + 20
        while not self.script(text):
            if time.monotonic() > end:
                raise SystemExit(f"waited in vain for {what}")
            time.sleep(0.02)

    def click(self, selector):
        element = self.post("/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.post(f"/element/{element}/click", {})
        self.wait(f"{selector} to be done", "return !document.querySelector('button:disabled')")

    def text(self, selector):
        return self.script(f"return document.querySelector({json.dumps(selector)}).textContent")

    def answers(self):
        """The rows of the log, newest first: request, status, Cache-Status, Age, RateLimit, cookie, time."""
        return self.script(
            "return [...document.querySelectorAll('#log tr')].map(r => [...r.cells].map(c => c.textContent))"
        )

    def cookies(self):
        return self.send("GET", "/cookie")

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.send("GET", "/screenshot")))

    def close(self):
        self.send("DELETE", "")


def check(what, truth, seen):
    """Prints one line for each check. The first that fails ends the script."""
    print(f"  {'ok' if truth else 'WRONG'}  {what}")
    if not truth:
        raise SystemExit(f"{what}; seen: {seen}")


def visit(browser):
    products = browser.script("return document.querySelectorAll('.product').length")
    check("the shop shows its products", products == 4, products)
    check("a first visit gets no cookie", not browser.cookies(), browser.cookies())

    browser.click("#hit")
    second, first = browser.answers()[:2]
    check("the first look at a product is a miss, and stored", "fwd=" in first[2] and "stored" in first[2], first)
    check("the second is a hit", "; hit" in second[2], second)
    check("a hit carries its Age", second[3].isdigit(), second)
    check("the page shows the hit", "; hit" in browser.text("#cache-status"), browser.text("#cache-status"))

    before = browser.text("[data-product='1'] .price")
    browser.click("#miss")
    after = browser.text("[data-product='1'] .price")
    check("an edited product is a miss", "fwd=" in browser.answers()[0][2], browser.answers()[0])
    check("and shows the new price", before != after, after)
    browser.click("#list")
    listed = browser.text("[data-product='1'] .price")
    check("the list was purged as well", "fwd=" in browser.answers()[0][2] and listed == after, listed)

    browser.click("#search")
    left = browser.text("#limit")
    check("a search counts down", left == "4", left)
    browser.click("#flood")
    refused = browser.answers()[0]
    check("too many searches are refused", refused[1] == "429", refused)
    check("the page says when to try again", "try again in" in browser.text("#limit-note"), browser.text("#limit-note"))

    browser.click("[data-product='2'] .add")
    browser.click("[data-product='2'] .add")
    check("the cart counts", "Notebook× 2" in browser.text("#cart"), browser.text("#cart"))
    [cookie] = browser.cookies()
    check("the cookie is a __Host- cookie", cookie["name"].startswith("__Host-"), cookie["name"])
    check("Secure, HttpOnly, SameSite=Lax", (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) ==
          (True, True, "Lax"), cookie)
    check("it is for this host alone, and ends with the browser", "expiry" not in cookie and
          not cookie["domain"].startswith("."), cookie)
    check("scripts cannot read it", browser.script("return document.cookie") == "", "document.cookie")
    browser.script(f"document.cookie = {json.dumps(cookie['name'] + '=mine; Path=/; Secure')}")
    check("nor replace it", browser.cookies() == [cookie], browser.cookies())
    shown = browser.script("return document.documentElement.outerHTML + JSON.stringify({...localStorage})")
    check("the page does not show it", cookie["value"] not in shown, "the page")

    browser.click("#login")
    [fresh] = browser.cookies()
    check("login is shown", "ada" in browser.text("#user"), browser.text("#user"))
    check("login replaced the token", fresh["value"] != cookie["value"], "the same value")
    check("the cart survived the login", "Notebook× 2" in browser.text("#cart"), browser.text("#cart"))
    if path := os.environ.get("SCREENSHOT"):
        browser.click("#hit")
        browser.screenshot(path)

    browser.open(browser.script("return location.href"))
    check("the browser sends it back after a reload", "ada" in browser.text("#user"), browser.text("#user"))

    browser.click("#logout")
    check("logout is shown", browser.text("#user") == "not logged in", browser.text("#user"))
    check("logout removed the cookie", not browser.cookies(), browser.cookies())
    # After the logout, a copy of the cookie is no longer valid.
    browser.post("/cookie", {"cookie": {key: fresh[key] for key in (
        "name", "value", "path", "secure", "httpOnly", "sameSite")}})
    browser.open(browser.script("return location.href"))
    check("the old cookie opens nothing", browser.text("#user") == "not logged in", browser.text("#user"))
    check("the cart is gone", browser.text("#cart") == "empty", browser.text("#cart"))


def main():
    storefront = sys.argv[1]
    with ExitStack() as stack:
        port = os.environ.get("PORT", "0")
        environment = {**os.environ, "PORT": port}
        url = stack.enter_context(running([storefront], r"open at (http://\S+)", env=environment))
        url = stack.enter_context(https(url, stack.enter_context(tempfile.TemporaryDirectory())))
        chromedriver = shutil.which("chromedriver") or "/usr/lib/chromium/chromedriver"
        driver = stack.enter_context(running([chromedriver, "--port=0"], r"successfully on port (\d+)"))
        profile = stack.enter_context(tempfile.TemporaryDirectory())
        browser = Browser(f"http://127.0.0.1:{driver}", profile)
        stack.callback(browser.close)
        browser.open(url)
        visit(browser)
    print("storefront: as a visitor expects")


if __name__ == "__main__":
    main()
