import pytest

from ascend_serve.errors import ConfigError
from ascend_serve.spec.soc import SOCS, resolve_soc, runs_on

pytestmark = pytest.mark.unit


def test_names_resolve_to_themselves_and_the_alias_to_first_generation():
    assert all(resolve_soc(name).name == name for name in SOCS)
    assert resolve_soc("Ascend910").name == "Ascend910A"
    assert resolve_soc("Ascend910B").arch == 1001
    assert resolve_soc("Ascend910B3").arch == 2201


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Ascend910B33", "nearest: Ascend910B3"),
        ("ascend310p3", "Ascend310P3"),
        ("tpu", "families: Ascend031"),
    ],
)
def test_unknown_names_get_the_nearest_ones(name, says):
    with pytest.raises(ConfigError, match=says) as caught:
        resolve_soc(name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("om", "device", "runs"),
    [
        ("Ascend310P3", "Ascend310P3", True),
        ("Ascend310P1", "Ascend310P3", True),
        ("Ascend910B3", "Ascend910_9392", True),
        ("Ascend910", "Ascend910A", True),
        ("Ascend910B", "Ascend910B1", False),
        ("Ascend310P3", "Ascend310B1", False),
        ("", "Ascend310P3", True),
        ("OPTG", "OPTG", True),
        ("OPTG", "Ascend310P3", False),
    ],
)
def test_models_run_on_their_own_architecture(om, device, runs):
    assert runs_on(om, device) is runs
