"""The built-in backbone, fetched and made once for all tests."""

from __future__ import annotations

import pytest

from snn_client.backbones import builtin
from snn_photos.preprocessing import Preprocessing


@pytest.fixture(scope="session")
def efficientnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Preprocessing]:
    """Return EfficientNet-Lite0's ONNX file and preprocessing, made in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return builtin.make("efficientnet-lite0")
