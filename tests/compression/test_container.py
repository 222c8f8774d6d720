"""The file: golden ones, its documented bytes, and every kind of damage."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from golden_content import golden, golden_image, golden_signs

from tfprune.compression import container
from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.coders import CODERS
from tfprune.compression.container import Content, keras_line_of, pack, read
from tfprune.compression.plain import rounded
from tfprune.compression.plain_coder import PlainDecoder
from tfprune.compression.tensor import SparseTensor
from tfprune.errors import TfpruneError, UsageError

GOLDEN = Path(__file__).parent / "golden"
#: Whoever changes the dictionary makes a new version of the format, with a file of its own.
CRC = 776069523
DICTIONARY = Path(container.__file__).with_name("manifest_dictionary.txt")
BOTH = pytest.mark.parametrize("coder", CODERS.values(), ids=lambda coder: coder.name)


def packed(content, coder, **options):
    tensors = {
        name: coder.encode(SparseTensor.from_array(content.arrays[name])) for name in content.coded
    }
    return pack(content, coder, tensors, **options)


def split(file):
    """(header, [(kind, content)]), read as the documentation of the format says."""
    sections, at = [], 20
    while at < len(file):
        kind, length, at = file[at], 0, at + 1
        for shift in range(0, 63, 7):
            at += 1
            length |= (file[at - 1] & 127) << shift
            if file[at - 1] < 128:
                break
        at += 4
        sections.append((kind, file[at : at + length]))
        at += length
    return file[:16], sections


def join(header, sections):
    """The inverse, with the checksums made anew."""
    file = header + struct.pack("<I", zlib.crc32(header))
    for place, (kind, content) in enumerate(sections):
        length, digits = len(content), bytearray()
        while length >= 128:
            digits.append(length & 127 | 128)
            length >>= 7
        digits.append(length)
        checksum = zlib.crc32(struct.pack("<IB", place, kind) + content)
        file += bytes([kind, *digits]) + struct.pack("<I", checksum) + content
    return file


def manifest_of(sections):
    """The manifest of a file since version 2, whose compressor has a preset dictionary."""
    inflate = zlib.decompressobj(zdict=DICTIONARY.read_bytes())
    return json.loads(inflate.decompress(sections[0][1]))


def with_manifest(file, change):
    """The file with a changed manifest, checksums right."""
    header, sections = split(file)
    manifest = manifest_of(sections)
    manifest = change(manifest) or manifest
    sections[0] = (1, zlib.compress(json.dumps(manifest).encode()))
    return join(header, sections)


def refused(tmp_path, file, message):
    path = tmp_path / "bad.tfprune"
    path.write_bytes(file)
    with pytest.raises(TfpruneError, match=message) as caught:
        read(path)
    assert "bad.tfprune" in str(caught.value) and "\n" not in str(caught.value)


def values_of(section, coder):
    """The float32 values of a section of plain variables."""
    if coder.name == "huffman":
        return np.frombuffer(section, "<f4")
    decoder = PlainDecoder(ByteReader(section[1 : 1 + section[0]], "code"))
    return decoder.array("<f4", 26)


def of_levels(last, levels):
    """What int8 levels stand for where the largest magnitude is `last`: a step is a 127th."""
    return np.array(levels, np.float32) * np.float32(np.float32(last) / np.float32(127))


@BOTH
@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_golden_file_decodes_to_the_same_bits(coder, version):
    suffix = "" if version == 1 else f"-{version}"
    path = GOLDEN / f"{coder.name}{suffix}.tfprune"
    assert path.read_bytes()[8] == version
    content, found = read(path)
    expected = golden()
    assert found is coder and content.keras_line == 3 and content.coded == expected.coded
    assert content.architecture == expected.architecture and content.keras_version == "3.15.0"
    assert list(content.arrays) == list(expected.arrays)
    arrays = dict(expected.arrays)
    if version > 1:  # written with 8 bits for biases, and later 16 for those nowhere negative
        half = arrays["conv1/bias"].astype(np.float16).astype(np.float32)
        int8 = of_levels(5 / 3, [0, 25, 51, 76, 102, 127])
        arrays["conv1/bias"] = int8 if version == 2 else half
        steps = [0, 7, 13, 20, 27, 33, 40, 47, 53, 60, 67, 74, 80, 87, 94, 100, 107, 114, 120, 127]
        arrays["fc1/bias"] = of_levels(19 / 7, [-step for step in steps])
    for name, array in arrays.items():
        assert content.arrays[name].dtype == array.dtype
        assert content.arrays[name].shape == array.shape
        assert content.arrays[name].tobytes() == array.tobytes(), name


def test_the_golden_file_of_neighbours_decodes_to_the_same_bits():
    content, coder = read(GOLDEN / "neighbours-2.tfprune")
    expected = golden_image().arrays["fc1/kernel"]
    assert coder is CODERS["context"]
    assert content.arrays["fc1/kernel"].tobytes() == expected.tobytes()
    # Its positions are coded that way: kept in two bytes, entries, a codebook of four, contexts.
    _, sections = split((GOLDEN / "neighbours-2.tfprune").read_bytes())
    assert sections[1][1][2 + 3 + 16] & 64


def test_the_golden_file_of_signs_decodes_to_the_same_bits():
    content, coder = read(GOLDEN / "signs-3.tfprune")
    expected = golden_signs().arrays["conv1/kernel"]
    assert coder is CODERS["context"]
    assert content.arrays["conv1/kernel"].tobytes() == expected.tobytes()
    # Values are grouped by density (3) and by signs nearby: kept in two bytes, entries, contexts.
    _, sections = split((GOLDEN / "signs-3.tfprune").read_bytes())
    entries = len(np.unique(expected)) - 1
    contexts = sections[1][1][2 + 2 + 1 + 4 * entries]
    assert contexts >> 7 and contexts >> 2 & 3 == 3


def test_the_dictionary_of_version_2_never_changes():
    assert zlib.crc32(DICTIONARY.read_bytes()) == CRC


@BOTH
def test_the_bytes_are_as_documented(coder):
    file = packed(golden(), coder)
    header, sections = split(file)
    assert header == b"\x93TFPRUNE" + bytes([3, 3, coder.number, 0]) + struct.pack("<I", 4)
    assert [kind for kind, _ in sections] == [1, 2, 2, 3]
    manifest = manifest_of(sections)
    assert manifest["variables"][0] == ["conv1/kernel", [3, 3, 2, 6], "float32", "coded"]
    assert manifest["variables"][1] == ["conv1/bias", [6], "float32", "float32"]
    assert values_of(sections[3][1], coder)[:2].tolist() == [0, np.float32(1 / 3)]
    assert join(header, sections) == file


def test_every_type_of_variable_comes_back(tmp_path):
    arrays = {
        "a/half": np.array([1.5, -2], np.float16),
        "a/single": np.array([[1e-3, -0.0]], np.float32),
        "a/double": np.array(np.pi),
        "a/count": np.array([-5, 2**40]),
        "a/flag": np.array([True, False]),
        "a/seed": np.array([2**32 - 1], np.uint32),
        "a/empty": np.zeros((0, 3), np.float32),
    }
    content = Content(2, "2.21.0", {}, arrays, frozenset())
    for bits in (32, 16, 8):
        path = tmp_path / "x.tfprune"
        path.write_bytes(packed(content, CODERS["context"], other_bits=bits))
        held, _ = read(path)
        assert keras_line_of(path) == held.keras_line == 2
        for name, array in arrays.items():
            stored = rounded(name, array, bits)
            assert held.arrays[name].dtype == array.dtype
            assert held.arrays[name].tobytes() == stored.astype(array.dtype).tobytes()


def test_what_cannot_be_stored_is_refused():
    def content(array):
        return Content(3, "3", {}, {"a/b": array}, frozenset())

    with pytest.raises(UsageError, match=r"'a/b' is of a type .* Received: complex64"):
        packed(content(np.zeros(2, np.complex64)), CODERS["context"])
    with pytest.raises(UsageError, match=r"'a/b' does not fit into float16.* Received: 70000"):
        packed(content(np.array([1, 7e4], np.float32)), CODERS["context"], other_bits=16)


@BOTH
def test_thousands_of_corruptions_are_all_noticed(coder, tmp_path):
    file = (GOLDEN / f"{coder.name}-3.tfprune").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.tfprune"
    for trial in range(1200):
        damaged = bytearray(file)
        # Near the ends, where lengths and checksums are, as often as anywhere.
        at = int(rng.integers(0, [40, len(file)][trial % 2]))
        kind = trial % 5
        if kind == 0:
            damaged[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            damaged[at : at + 8] = rng.bytes(8)
        elif kind == 2:
            del damaged[at:]
        elif kind == 3:
            del damaged[at : at + int(rng.integers(1, 9))]
        else:
            damaged[at:at] = rng.bytes(int(rng.integers(1, 9)))
        if damaged == file:
            continue
        path.write_bytes(damaged)
        with pytest.raises(TfpruneError):
            read(path)


def test_every_single_byte_counts(tmp_path):
    file = (GOLDEN / "context-3.tfprune").read_bytes()
    path = tmp_path / "bad.tfprune"
    for at in range(len(file)):
        path.write_bytes(file[:at] + bytes([file[at] ^ 0x55]) + file[at + 1 :])
        with pytest.raises(TfpruneError):
            read(path)


def test_a_claim_the_section_cannot_justify_is_refused_before_it_is_allocated(tmp_path):
    file = packed(golden(), CODERS["context"])

    def claim(shape):
        def change(manifest):
            manifest["variables"][0][1] = shape

        return with_manifest(file, change)

    refused(tmp_path, claim([2**20, 2**19]), "cannot hold the 549755813888 weights")
    refused(tmp_path, claim([2**20]), "cannot hold the 1048576 weights claimed")

    def plain(manifest):
        manifest["variables"][1][1] = [2**20, 2**19]

    refused(tmp_path, with_manifest(file, plain), "cannot hold the 549755813908 values claimed")
    file = packed(golden(), CODERS["huffman"])
    refused(tmp_path, with_manifest(file, plain), "bytes early")


@pytest.mark.parametrize("form", ["float32", "int8", "coded"])
def test_no_weights_in_a_shape_beyond_numpy_are_refused(tmp_path, form):
    arrays = {"a/b": np.zeros((0, 3), np.float32)}
    coded = frozenset(arrays if form == "coded" else ())

    def claim(manifest):
        manifest["variables"][0][1] = [0, *[2**32 - 1] * 3]
        manifest["variables"][0][3] = form

    file = packed(Content(3, "3", {}, arrays, coded), CODERS["context"])
    if form == "int8":
        header, sections = split(file)
        file = join(header, [*sections[:-1], (3, bytes(4))])  # its step
    refused(tmp_path, with_manifest(file, claim), "its manifest is not as tfprune writes it")


def test_an_empty_layer_is_padded_to_what_its_size_needs(tmp_path):
    arrays = {"fc/kernel": np.zeros((1000, 1024), np.float32)}
    path = tmp_path / "zeros.tfprune"
    path.write_bytes(packed(Content(3, "3", {}, arrays, frozenset(arrays)), CODERS["context"]))
    assert 1000 < path.stat().st_size < 1200
    assert not read(path)[0].arrays["fc/kernel"].any()
    header, sections = split(path.read_bytes())
    sections[1] = (2, sections[1][1][:-1] + b"\1")
    refused(tmp_path, join(header, sections), "padding is not zero")


def test_a_manifest_that_tfprune_does_not_write_is_refused(tmp_path):
    file = packed(golden(), CODERS["context"])

    def change(**entries):
        return with_manifest(file, lambda manifest: manifest | entries)

    first = ["conv1/kernel", [3, 3, 2, 6], "float32", "coded"]
    for entries in (
        {"architecture": "code"},
        {"keras": 3},
        {"variables": [first, first]},
        {"variables": [["a", [-1], "float32", "coded"]]},
        {"variables": [["a", [1.0], "float32", "coded"]]},
        {"variables": [["a", [1], "object", "object"]]},
        {"variables": [["a", [1], "float64", "float32"]]},
        {"variables": [["a", [1], "int32", "coded"]]},
        {"variables": [[1, [1], "int32", "int32"]]},
        {"variables": [["a", 1, "int32", "int32"]]},
    ):
        refused(tmp_path, change(**entries), "its manifest is not as tfprune writes it")
    for entries in ({"variables": [["a"]]}, {"variables": 5}):
        refused(tmp_path, change(**entries), "its manifest is none")
    refused(tmp_path, with_manifest(file, lambda _: [1]), "its manifest is none")

    header, sections = split(file)
    bombs = {
        "cut short, or longer": zlib.compress(b" " * (1 << 24)),
        "its manifest is none": zlib.compress(b"[" * 100_000),
        "none .*incorrect header": b"no zlib",
    }
    for message, content in bombs.items():
        refused(tmp_path, join(header, [(1, content), *sections[1:]]), message)


def test_sections_in_another_order_or_number_are_refused(tmp_path):
    header, sections = split(packed(golden(), CODERS["context"]))
    refused(tmp_path, join(header, sections[1:]), "kind 1 is due, there is one of kind 2")
    refused(tmp_path, join(header[:12] + struct.pack("<I", 3), sections[:3]), "there is none")
    refused(tmp_path, join(header[:12] + struct.pack("<I", 5), sections), "ends 1 bytes early")
    more = join(header[:12] + struct.pack("<I", 5), [*sections, (3, b"")])
    refused(tmp_path, more, "goes on after its last section")
    refused(tmp_path, join(header, sections) + b"x", "goes on after its last section")
    longer = [*sections[:3], (3, sections[3][1] + b"x")]
    refused(tmp_path, join(header, longer), "its padding is not zero")
    header, sections = split(packed(golden(), CODERS["huffman"]))
    longer = [*sections[:3], (3, sections[3][1] + b"x")]
    refused(tmp_path, join(header, longer), "1 bytes too many")


def test_other_files_versions_and_coders_are_refused(tmp_path):
    header, sections = split(packed(golden(), CODERS["context"]))

    def headed(at, value):
        return join(header[:at] + bytes([value]) + header[at + 1 :], sections)

    refused(tmp_path, headed(8, 4), "version 4; this tfprune reads 1, 2, 3")
    refused(tmp_path, headed(9, 4), "names coder 2 and Keras 4")
    refused(tmp_path, headed(10, 9), "names coder 9 and Keras 3")
    refused(tmp_path, b"PK\3\4 a zip archive", "is no .tfprune file")
    refused(tmp_path, b"", "is no .tfprune file")
    with pytest.raises(TfpruneError, match=r"cannot read .*missing.tfprune': No such file"):
        read(tmp_path / "missing.tfprune")
