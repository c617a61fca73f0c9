"""Networks as priors: diffusers' own reverse step is the oracle, whatever a network predicts."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from repaint_batch.errors import PriorError
from repaint_batch.sampler.path import Reverse
from repaint_batch.sampler.repaint import repaint_steps
from repaint_batch.sampler.step import State, drift
from repaint_batch.sampler.table import Table

from ..tiny_networks import generator, prior_of, tiny_classifier, tiny_unet


class PositiveLastChannels(torch.nn.Module):
    """A network whose last three channels are variances near those of the true posterior."""

    def __init__(self, scheduler: DDPMScheduler) -> None:
        super().__init__()
        self.unet, self.scheduler = tiny_unet(out_channels=6), scheduler
        self.config = self.unet.config

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Any:
        output = self.unet(x, t)
        mean, raw = output.sample.chunk(2, dim=1)
        place = torch.sigmoid(20 * raw)
        low, high = self.scheduler._get_variance(int(t.flatten()[0])), self.scheduler.betas[int(t.flatten()[0])]
        output.sample = torch.cat([mean, low ** (1 - place) * high**place], dim=1)
        return output


@pytest.mark.parametrize("index", [1, 20, 70, 99])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range", "learned"])
def test_the_reverse_step_is_that_of_diffusers(prediction: str, variance: str, index: int) -> None:
    scheduler = DDPMScheduler(
        num_train_timesteps=100, beta_end=0.1, prediction_type=prediction, variance_type=variance, clip_sample=True
    )
    if variance == "learned":
        network: Any = PositiveLastChannels(DDPMScheduler(num_train_timesteps=100, beta_end=0.1))
    else:
        network = tiny_unet(out_channels=6 if variance == "learned_range" else 3)
    prior = prior_of(network, scheduler)
    x = torch.randn(2, 3, 8, 8, generator=generator())
    keep_mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)

    steps = repaint_steps(prior.schedule, [Reverse(index)], fixed_large_variance=prior.fixed_large_variance)
    table = Table.of(prior.schedule, steps, len(prior.schedule), starts_known=False)
    state = State(x, torch.zeros_like(x), keep_mask, torch.zeros_like(x), torch.zeros(2, dtype=torch.int64))
    with torch.inference_mode():
        step = drift(prior, None, table, state)
        ours = step.mean + step.std * torch.randn(x.shape, generator=generator(5))
        output = network(x, torch.tensor(index).expand(2)).sample
        # Its tables are float32, which shows at low noise.
        theirs = scheduler.step(output, index, x, generator=generator(5)).prev_sample
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_a_perfect_network_of_any_kind_predicts_the_noise(prediction: str) -> None:
    scheduler = DDPMScheduler(prediction_type=prediction)
    x_0, eps = (torch.randn(3, 3, 8, 8, generator=generator(seed)) for seed in (0, 1))
    t = torch.tensor([10, 400, 900])
    x_t = scheduler.add_noise(x_0, eps, t)
    truth = {"epsilon": eps, "sample": x_0, "v_prediction": scheduler.get_velocity(x_0, eps, t)}[prediction]

    class Perfect(torch.nn.Linear):
        config = tiny_unet().config

        def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Any:
            return type("Output", (), {"sample": truth})

    torch.testing.assert_close(prior_of(Perfect(1, 1), scheduler).__call__(x_t, t).eps, eps, rtol=0, atol=2e-3)


class Offloaded(torch.nn.Module):
    """A network whose weights are elsewhere between its calls, as those of an offloaded one are."""

    def __init__(self) -> None:
        super().__init__()
        self.config = tiny_unet().config
        self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Any:
        return SimpleNamespace(sample=x)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_what_an_offloaded_network_says_is_read_where_the_state_is(prediction: str) -> None:
    prior = prior_of(Offloaded(), DDPMScheduler(prediction_type=prediction))
    x, t = torch.randn(2, 3, 8, 8, generator=generator()), torch.tensor([3, 900])
    assert prior(x, t).eps.device.type == "cpu"
    assert prior(x.to("meta"), t.to("meta")).eps.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_network_has_float32_doors(dtype: torch.dtype) -> None:
    exact, rounded = prior_of(tiny_unet()), prior_of(tiny_unet().to(dtype))
    x, t = torch.randn(2, 3, 8, 8, generator=generator()), torch.tensor([5, 500])
    with torch.inference_mode():
        expected, actual = exact(x, t).eps, rounded(x, t).eps
    assert actual.dtype == torch.float32
    assert not torch.equal(actual, expected)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.05)


def test_output_channels_must_fit_the_variance() -> None:
    with pytest.raises(PriorError, match="6 output channels for 3 input channels"):
        prior_of(tiny_unet(out_channels=6))
    with pytest.raises(PriorError, match="'learned_range' asks for 6"):
        prior_of(tiny_unet(), DDPMScheduler(variance_type="learned_range"))


def test_class_labels_reach_the_network() -> None:
    network = tiny_unet(num_class_embeds=4)
    x, t = torch.randn(2, 3, 8, 8, generator=generator()), torch.tensor([5, 500])
    prior = prior_of(network)
    with torch.inference_mode():
        expected = network(x, t, class_labels=torch.tensor([1, 3])).sample
        assert torch.equal(prior.labelled([1, 3], 2)(x, t).eps, expected)
        assert not torch.equal(prior.labelled([1, 2], 2)(x, t).eps, expected)
        by_default = prior_of(network, default_label=3).labelled(None, 2)
        assert torch.equal(by_default(x, t).eps, network(x, t, class_labels=torch.tensor([3, 3])).sample)


def test_labels_that_cannot_be_honoured_are_refused() -> None:
    conditional = prior_of(tiny_unet(num_class_embeds=4))
    assert conditional.num_classes == 4
    for label in (-1, 4):
        with pytest.raises(PriorError, match=rf"class label {label} is outside 0 \.\. 3"):
            conditional.labelled([0, label], 2)
    with pytest.raises(PriorError, match="say which of its 4 classes"):
        conditional.labelled(None, 2)
    with pytest.raises(PriorError, match="1 class labels for 2 pictures"):
        conditional.labelled([0], 2)
    with pytest.raises(PriorError, match=r"class label 9 is outside"):
        prior_of(tiny_unet(num_class_embeds=4), default_label=9)
    unconditional = prior_of(tiny_unet())
    assert unconditional.num_classes is None
    assert unconditional.labelled(None, 2).labels is None
    with pytest.raises(PriorError, match="takes no class label"):
        unconditional.labelled([0, 0], 2)


def test_a_classifier_gives_an_unconditional_network_classes() -> None:
    prior = prior_of(tiny_unet(), classifier=tiny_classifier(), classifier_scale=3.0)
    assert prior.num_classes == 4
    labelled = prior.labelled([1, 2], 2)
    assert labelled.guidance is not None
    x, t = torch.randn(2, 3, 8, 8, generator=generator()), torch.tensor([5, 500])
    with torch.inference_mode():
        pull = labelled.guidance(x, t)
    # The gradient, by differences along a random direction.
    direction = torch.randn(2, 3, 8, 8, generator=generator(3)).double()
    classifier = tiny_classifier().double()

    def log_p(step: float) -> Tensor:
        return torch.log_softmax(classifier(x.double() + step * direction, t), -1)[[0, 1], [1, 2]].sum()

    slope = (log_p(1e-4) - log_p(-1e-4)) / 2e-4
    assert float((pull.double() * direction).sum()) == pytest.approx(3.0 * float(slope), rel=1e-3)


def test_network_and_classifier_must_agree() -> None:
    with pytest.raises(PriorError, match="the network knows 7 classes, its classifier 4"):
        prior_of(tiny_unet(num_class_embeds=7), classifier=tiny_classifier())
    with pytest.raises(PriorError, match="do not fit the classifier: only 8×8 px do"):
        prior_of(tiny_unet(), classifier=tiny_classifier()).check_size((1, 3, 16, 16))


def test_sizes_that_do_not_fit_are_refused() -> None:
    prior = prior_of(tiny_unet())
    assert (prior.resolution_px, prior.channels, prior.size_multiple_px) == (8, 3, 2)
    prior.check_size((1, 3, 6, 10))
    with pytest.raises(PriorError, match=r"9×6 px do not fit the network, which halves them 1 times.*multiples of 2"):
        prior.check_size((1, 3, 6, 9))
    with pytest.raises(PriorError, match="4 channels, the network takes 3"):
        prior.check_size((1, 4, 8, 8))
    assert prior_of(tiny_unet(sample_size=(8, 8))).resolution_px == 8
    for size in (None, (8, 16)):
        with pytest.raises(PriorError, match="sample_size"):
            _ = prior_of(tiny_unet(sample_size=size)).resolution_px


def test_the_fingerprint_changes_with_what_decides_numbers_and_with_nothing_else() -> None:
    network = tiny_unet(num_class_embeds=4)
    first = prior_of(network).fingerprint
    assert first == prior_of(tiny_unet(num_class_embeds=4)).fingerprint == prior_of(network, card="words").fingerprint
    others = [
        prior_of(tiny_unet(seed=1, num_class_embeds=4)),
        prior_of(network, DDPMScheduler(beta_end=0.03)),
        prior_of(network, DDPMScheduler(prediction_type="sample")),
        prior_of(network, DDPMScheduler(variance_type="fixed_large")),
        prior_of(network, default_label=1),
        prior_of(network, classifier=tiny_classifier()),
        prior_of(network, classifier=tiny_classifier(), classifier_scale=2.0),
        prior_of(tiny_unet(num_class_embeds=4).to(torch.bfloat16)),
        prior_of(network, weights_sha256=("ab",)),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 10
