"""How work is shared out."""

from repaint_batch.pipeline.dataset import parcels_in_flight


def test_the_first_actor_to_be_ready_does_not_take_all_of_a_small_job() -> None:
    shares = {(units, actors): parcels_in_flight(units, actors) for units, actors in ((4, 2), (25, 2), (48, 2), (6, 3))}
    assert shares == {(4, 2): 2, (25, 2): 13, (48, 2): 24, (6, 3): 2}
    for units, actors in ((1000, 2), (1, 2), (3, 2), (2, 1), (8, 1)):
        assert parcels_in_flight(units, actors) == 24, "as many as keep slots full"
