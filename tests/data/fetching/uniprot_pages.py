"""Three pages of UniProt's REST service, to be served on loopback."""

from data.loopback import Site

FIRST = "/uniprotkb/search?query=organism_id%3A9606+AND+reviewed%3Atrue&format=fasta&size=500"
QUERY = "organism_id:9606 AND reviewed:true"
PAGES = [
    "".join(f">sp|P{page}{n}|X_TEST\nMKTAYIAK\n" for n in range(3)).encode() for page in range(3)
]
TEXT = b"".join(PAGES)


def paged(site: Site, *, total: int = 9, releases: str = "AAA") -> Site:
    paths = [FIRST, "/uniprotkb/search?cursor=one&size=500", "/uniprotkb/search?cursor=two"]
    for number, (path, page) in enumerate(zip(paths, PAGES, strict=True)):
        headers = {"X-Total-Results": str(total), "X-UniProt-Release": f"2026_{releases[number]}"}
        if number < 2:
            headers["Link"] = f'<{site.url}{paths[number + 1]}>; rel="next"'
        site.pages[path] = (page, headers)
    return site
