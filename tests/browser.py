"""The page of runs in a real browser, which is no part of the suite: it sorts, hides, has no error.

  python tests/browser.py report.html --browser chromium --screenshots shots

Needs a Chromium; prints what it found, and exits with 1 where anything is wrong.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# Runs in the page, then leaves what it saw in the document.
PROBE = """
<script>
const seen = {errors: []};
window.addEventListener("error", (event) => seen.errors.push(String(event.message)));
console.error = (...what) => seen.errors.push(what.join(" "));
</script>
"""
ACTIONS = """
<script>
window.addEventListener("load", async () => {
  const rest = () => new Promise((resolve) => setTimeout(resolve, 300));
  await rest();
  const all = (selector) => [...document.querySelectorAll(selector)];
  const cells = (n) => all("#results tbody tr").map((row) => row.cells[n].dataset.value);
  seen.headings = all("#results th").map((each) => each.textContent);
  const column = seen.headings.indexOf("test ppl.");
  const heading = all("#results th button")[column];
  heading.click(); seen.up = cells(column);
  heading.click(); seen.down = cells(column);
  seen.charts = all(".chart").map((each) => each.querySelectorAll("svg").length);
  const place = document.querySelector(".chart");
  const visible = () => place.data.filter((each) => each.visible !== "legendonly").length;
  seen.before = visible();
  const toggle = place.querySelector(".legendtoggle");
  for (const kind of ["mousedown", "mouseup"])
    toggle.dispatchEvent(new MouseEvent(kind, {bubbles: true}));
  await rest(); await rest();
  seen.after = visible();
  all(".axes button").find((each) => each.textContent === "residues")?.click();
  await rest();
  seen.axis = place.layout.xaxis.title.text;
  seen.wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const told = document.createElement("pre");
  told.id = "seen"; told.textContent = JSON.stringify(seen);
  document.body.append(told);
});
</script>
"""


def chromium(browser, page, *options):
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--virtual-time-budget=20000", *options, page.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def look(browser, page):
    """What the probe saw in a copy of the page."""
    text = (
        page.read_text().replace("<head>", "<head>" + PROBE).replace("</body>", ACTIONS + "</body>")
    )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(text)
        found = chromium(browser, copy, "--dump-dom", "--window-size=500,900")
    return json.loads(found.partition('<pre id="seen">')[2].partition("</pre>")[0])


def is_sorted(values, *, down):
    """Known values in order, unknown ones last."""
    known = [float(value) for value in values if value]
    return values[: len(known)].count("") == 0 and known == sorted(known, reverse=down)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of it")
    args = parser.parse_args()
    page = args.page.resolve()
    seen = look(args.browser, page)
    checks = {
        "no error": not seen["errors"],
        "sorts up": is_sorted(seen["up"], down=False),
        "sorts down": is_sorted(seen["down"], down=True),
        "every chart is drawn": all(seen["charts"]),
        "the legend hides": seen["after"] < seen["before"],
        "the axis changes": seen["axis"] == "residues",
        "no wider than a phone": seen["wider"] <= 0,
    }
    for name, holds in checks.items():
        print(f"{'ok ' if holds else 'NOT'} {name}")
    if not all(checks.values()):
        print(json.dumps(seen, indent=2))
    if args.screenshots:
        args.screenshots.mkdir(parents=True, exist_ok=True)
        for name, scheme, size in (("light", 1, "1200,3200"), ("dark", 0, "500,3200")):
            shot = args.screenshots / f"{name}.png"
            colours = f"--blink-settings=preferredColorScheme={scheme}"
            chromium(args.browser, page, f"--screenshot={shot}", colours, f"--window-size={size}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
