"""The file of a ModelServerConfig."""

import pytest

from framecast.serving.server.model_config import read_model_config


def test_malformed_model_config_is_refused_with_its_path(tmp_path):
    (tmp_path / "models.config").write_text("model_config { }")
    with pytest.raises(ValueError, match=r"models\.config: expected the text of a ModelServerConfig, received 1:"):
        read_model_config(str(tmp_path / "models.config"))
