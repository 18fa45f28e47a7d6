"""What experiments measure; the experiments themselves are the files one folder up."""
