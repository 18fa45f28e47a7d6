"""Records to tokens in splits: encode, share out, find copies, write, describe."""
