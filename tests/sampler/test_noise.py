"""Keyed noise: the generator is Philox, the law is N(0, 1), and nothing but key, draw and place decides a value."""

import hashlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.inpainting.device import missing_compiler
from repaint_batch.sampler.noise import key_words, keyed_normal, philox4x32, sample_key

KEYS = st.integers(0, 2**64 - 1)


def noise(keys, draws, shape):
    """Return the noise of keys, with one draw for all or one each."""
    draws = [draws] * len(keys) if isinstance(draws, int) else draws
    return keyed_normal(key_words(keys), torch.tensor(draws), shape)


# Known-answer vectors of the Random123 library: counter, key, output.
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), VECTORS)
def test_philox_gives_the_published_words(counter, key, words):
    found = philox4x32(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)))
    assert tuple(int(word) for word in found) == words


def _philox_in_python(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return tuple(c)


@given(st.tuples(*[st.integers(0, 2**32 - 1)] * 4), st.tuples(*[st.integers(0, 2**32 - 1)] * 2))
@settings(deadline=None, max_examples=50)
def test_philox_agrees_with_unbounded_integers(counter, key):
    found = philox4x32(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)))
    assert tuple(int(word) for word in found) == _philox_in_python(counter, key)


@given(st.lists(st.tuples(KEYS, st.integers(0, 5000)), min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_a_sample_gets_its_noise_in_any_batch_and_order_beside_any_other_draws(asked, random):
    shape = (3, 5, 7)
    together = noise(*zip(*asked, strict=True), shape)
    order = random.sample(range(len(asked)), len(asked))
    others = [(0, random.randrange(99)) for _ in range(random.randrange(3))]
    shuffled = noise(*zip(*[asked[i] for i in order] + others, strict=True), shape)
    for place, i in enumerate(order):
        assert torch.equal(shuffled[place], together[i])
        assert torch.equal(noise([asked[i][0]], asked[i][1], shape)[0], together[i])


def test_noise_is_standard_normal():
    x = noise([sample_key(0, f"picture-{i}") for i in range(64)], 3, (3, 32, 32))
    x = x.double().flatten().sort().values
    n = len(x)
    moments = [float((x**power).mean()) for power in (1, 2, 3, 4)]
    # Standard errors of the first four sample moments of a normal: 1, √2, √15, √96 over √n.
    for found, right, spread in zip(moments, (0, 1, 0, 3), (1, 2**0.5, 15**0.5, 96**0.5), strict=True):
        assert abs(found - right) < 4.5 * spread / math.sqrt(n)
    cdf = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    ranks = torch.arange(1, n + 1, dtype=torch.float64) / n
    kolmogorov = float(torch.maximum((ranks - cdf).abs(), (cdf - ranks + 1 / n).abs()).max())
    assert kolmogorov < 1.95 / math.sqrt(n)  # p = 0.001


def _correlation(x, y):
    return float((x.double() * y.double()).mean())


def test_samples_windows_seeds_and_draws_are_uncorrelated():
    shape = (3, 64, 64)
    keys = [sample_key(0, "a"), sample_key(0, "b"), sample_key(0, "a", 1), sample_key(1, "a"), 0, 1, 1 << 32]
    fields = [x for draw in (0, 1, 2) for x in noise(keys, draw, shape)]
    bound = 4.8 / math.sqrt(math.prod(shape))
    for i, x in enumerate(fields):
        for y in fields[:i]:
            assert abs(_correlation(x, y)) < bound
        for lag in (1, 2, 3, 4):
            assert abs(_correlation(x.flatten()[lag:], x.flatten()[:-lag])) < bound


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same():
    keys = [sample_key(0, str(i)) for i in range(4)]
    words, draws = key_words(keys), torch.full((4,), 2)
    here, there = (keyed_normal(words.to(device), draws.to(device), (3, 16, 16)) for device in ("cpu", "cuda"))
    torch.testing.assert_close(there.cpu(), here, atol=1e-6, rtol=0)


@given(st.tuples(st.integers(0, 99), st.text(max_size=8), st.integers(0, 99)), st.data())
@settings(deadline=None, max_examples=80)
def test_sample_keys_differ_wherever_seed_sample_or_window_do(one, data):
    other = data.draw(st.tuples(st.integers(0, 99), st.text(max_size=8), st.integers(0, 99)))
    assert 0 <= sample_key(*one) < 2**64
    assert (sample_key(*one) == sample_key(*other)) == (one == other)


def test_sample_key_stays_what_it_was():
    # A job resumed next year must draw the same noise.
    digest = hashlib.blake2b(b"0\0picture\x000", digest_size=8).digest()
    assert sample_key(0, "picture", 0) == int.from_bytes(digest, "little")
    assert len({sample_key(0, str(i)) for i in range(200_000)}) == 200_000


@pytest.mark.skipif(missing_compiler() is not None, reason="there is no compiler")
@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 5, 7)], ids=str)
def test_compiled_noise_is_the_same_but_for_rounding(shape):
    keys = [2**63 + 11, 7, 12345]
    fused = torch.compile(keyed_normal, dynamic=False)
    for draw in (0, 1, 4000):
        draws = torch.tensor([draw, 3, draw + 1])
        found = fused(key_words(keys), draws, shape)
        torch.testing.assert_close(found, keyed_normal(key_words(keys), draws, shape), rtol=0, atol=2e-6)
        backwards = fused(key_words(keys[::-1]), draws.flip(0), shape)
        assert torch.equal(backwards.flip(0), found), "a sample's noise does not depend on its place"
