"""Made-up books on disk, in PG-19's folders."""

import random

FOLDERS = ("train", "validation", "test")


def write_books(folder, *, seed=0, count=4):
    """Books of a few words, some not ASCII. Returns: path in the folder -> text."""
    lots = random.Random(seed)
    words = ["the", "whale", "sea", "Ishmaël", "“call", "me”", "ship", "—", "鯨"]
    books = {}
    for split in FOLDERS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            text = " ".join(lots.choices(words, k=lots.randint(20, 200))) + "\n"
            (folder / split / f"{i}.txt").write_bytes(text.encode())
            books[f"{split}/{i}.txt"] = text
    return books
