"""Records to tokens in splits: tokenize, split, find copies, write shards, describe."""
