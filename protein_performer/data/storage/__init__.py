"""Prepared proteins on the disk: shards, their manifest, what is derived from them."""
