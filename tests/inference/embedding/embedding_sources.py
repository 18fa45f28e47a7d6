"""Proteins and a tiny model for the tests of embedding files."""

LONG_HEADER = "x" * 300
FASTA = f""">tr|A0A1|A_B first
MKTAYIAK
QR
>a/b twice
ACDEF
>a/b twice
ACDEFGHIKL
>..
MKV
>{LONG_HEADER}
M
"""
ACCESSIONS = ["A0A1", "a/b", "a/b", "..", LONG_HEADER]
SEQUENCES = ["MKTAYIAKQR", "ACDEF", "ACDEFGHIKL", "MKV", "M"]
LENGTHS = [10, 5, 10, 3, 1]
