"""Why a network did not get as cheap as it was asked to be: what the user can change."""

from __future__ import annotations

from picojoule.pruning.energy_aware.subject import JudgedNetwork, Subject
from picojoule.pruning.graph.masks import staying_channels
from picojoule.units import listed

_SAVES_NOTHING = 0.99  # of the price, where nine of ten weights are zero


def obstacles(subject: Subject, start: JudgedNetwork, all_widths: str | None) -> tuple[str, ...]:
    """Sentences on what kept the price up.

    Args:
        start: the network before pruning.
        all_widths: why no channel was removed, if none could be.
    """
    sentences = []
    price, pricing = start.price, subject.pricing
    beyond = pricing.unpruned
    if beyond:
        share = sum(price.layers[name] for name in beyond) / price.energy
        sentences.append(f"layers that pruning does not reach cost {share:.0%}: {listed(beyond)}")
    layer = max(subject.layers, key=lambda layer: price.layers[layer.calls[0]])
    call = layer.calls[0]
    dense, sparse = (
        pricing.layer(call, weight=weight, densities=start.densities.get(call))
        for weight in (1.0, 0.1)
    )
    if sparse > dense * _SAVES_NOTHING:
        sentences.append(
            "zeros among the weights save nothing here (they are neither skipped nor coded), "
            f"as in {layer.name}; only removing channels does"
        )
    if all_widths is not None:
        sentences.append(f"no channels were removed: {all_widths}")
    elif subject.narrowing is not None:
        sentences += staying_channels(subject.narrowing.refused)
    return tuple(sentences)
