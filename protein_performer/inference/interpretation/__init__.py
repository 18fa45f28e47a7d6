"""What attention looks at, and how well FAVOR+ approximates it."""
