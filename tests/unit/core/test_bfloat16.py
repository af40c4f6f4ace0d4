import pytest

from lossmap.components.core.bfloat16 import of_processor


@pytest.mark.parametrize(
    ("capabilities", "has", "is_faster"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True, True),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, True, False),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False, "amx_bf16": False}, False, False),
        ({}, False, False),
    ],
    ids=["amx", "amd", "intel-without-amx", "older", "unknown"],
)
def test_bfloat16_is_taken_where_a_processor_multiplies_more_of_it_at_a_time(capabilities, has, is_faster):
    found = of_processor(capabilities)
    assert (not found.lacking, found.is_faster) == (has, is_faster)
