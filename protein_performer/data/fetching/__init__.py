"""Files of others: downloads that go on after a break, answers of UniProt, shards at addresses."""
