from __future__ import annotations

import pytest

from flin.cluster.etcd.grpc_headers import STATUS, WireError, decode_headers, encode_headers


def test_what_is_encoded_is_decoded() -> None:
    headers = {":path": "/etcdserverpb.KV/Txn", "te": "trailers", "grpc-message": "x" * 1000, "empty": ""}
    assert decode_headers(encode_headers(headers.items())) == headers


@pytest.mark.parametrize(
    ("coded", "text"),
    [
        ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),  # RFC 7541, C.4.1, C.4.2 and C.4.3
        ("a8eb10649cbf", "no-cache"),
        ("25a849e95ba97d7f", "custom-key"),
        ("25a849e95bb8e8b4bf", "custom-value"),
        ("9acac8b21234da8f", "grpc-status"),
        ("9acac8b5254207317f", "grpc-message"),
    ],
)
def test_names_and_values_of_huffmans_code(coded: str, text: str) -> None:
    data = bytes.fromhex(coded)
    string = bytes([0x80 | len(data)]) + data
    for literal in (b"\x00", b"\x10", b"\x40"):
        assert decode_headers(literal + string + string) == {text: text}


def test_the_status_by_its_index() -> None:
    assert decode_headers(b"\x88") == {STATUS: "200"}
    assert decode_headers(b"\x20\x8e") == {STATUS: "500"}
    assert decode_headers(b"\x48\x03302") == {STATUS: "302"}
    assert decode_headers(b"\x08\x82\x64\x02") == {STATUS: "302"}
    assert decode_headers(b"\x82\x5f\x01x\x0f\x10\x01x") == {}, "others in HPACK's own table are left out"


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # the table's first own entry
        b"\x7e\x01x",
        b"\x3f\x01",  # a table of 32 bytes
        b"\x40\x05ab",
        b"\x40",
        b"\x40\x01a\x7f",
        b"\xff\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\xff\xff\xff\xff\x7f",
        b"\x40\x01a\x84\xff\xff\xff\xff",  # the sign for the end
        b"\x40\x01a\x81\x00",  # filled up with zeros
        b"\x40\x01a\x82\x1f\xff",  # and with more than seven ones
    ],
)
def test_what_is_no_block(block: bytes) -> None:
    with pytest.raises(WireError):
        decode_headers(block)
