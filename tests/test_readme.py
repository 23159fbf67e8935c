"""The README's Python, run as one program: people copy it."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(block, names)
    assert float(names["value"]) > 0
    assert names["embedding"]["logits"].shape == (4, 751)
    assert 0 <= names["scores"].rank(1) <= 1
    assert names["reranked"].protocol.reranking.k1 == 20
