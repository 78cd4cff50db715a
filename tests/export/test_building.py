from __future__ import annotations

import json

import pytest

from edgeleather.engines.engine import BuildSettings
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.building import build


def test_a_build_is_the_bundles_own_precision_in_the_reference_backend(bundle_copy):
    result = build(bundle_copy, settings=BuildSettings(threads=1))
    signature = result.record.signature
    assert (signature.backend, signature.precision, result.record.threads) == ("onnxruntime", "int8", 1)
    assert result.choice is None and result.refused == () and len(result.start_ms) == 1
    found = json.loads(json.dumps(result.as_json()))
    assert list(found) == ["engine", "signature", "layers", "replay", "start_ms", "median_ms", "notes"]
    assert found["replay"]["passed"] and found["replay"]["frames"] == 8


def test_auto_gives_the_fastest_and_says_what_the_others_took(bundle_copy):
    result = build(bundle_copy, precision="auto", settings=BuildSettings(threads=1))
    assert result.choice is not None and set(result.choice.median_ms) == {"fp32", "int8"}
    assert result.record.signature.precision == result.choice.precision
    assert result.median_ms == min(result.choice.median_ms.values())
    assert list(result.as_json())[-2:] == ["median_ms_by_precision", "refused"]


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_setting_for_other_backends_is_refused_before_anything_is_written(bundle_copy, precision):
    with pytest.raises(EdgeLeatherError, match="--workspace-mib is for tensorrt, tensorrt-rtx; onnxruntime"):
        build(bundle_copy, precision=precision, settings=BuildSettings(workspace_mib=64))
    assert not (bundle_copy / "engines").exists()
