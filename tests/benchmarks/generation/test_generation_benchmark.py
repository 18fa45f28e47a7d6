import json

from benchmarks.generation.__main__ import MECHANISMS, main


def test_the_state_of_exact_attention_grows_and_that_of_favor_does_not(tmp_path, capsys):
    path = tmp_path / "generation.json"
    arguments = ["--lengths", "10", "30", "--residues", "2", "--rounds", "2"]
    assert main([*arguments, "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["model"] for row in rows] == [*MECHANISMS] * 2
    sizes = {(row["model"], row["residues_before"]): row["state_megabytes"] for row in rows}
    for name in MECHANISMS:
        grows = sizes[name, 30] > 2 * sizes[name, 10]
        assert grows == (name == "transformer")
    assert all(0 < row["lowest"] <= row["milliseconds"] <= row["highest"] for row in rows)
    assert "one more residue" in capsys.readouterr().out
