"""The tables of moves."""

from fundus_relay.domain.states import DELIVERY_MOVES, IMAGE_MOVES, IMAGE_SETTLED, DeliveryState, ImageState


def test_every_state_has_a_row() -> None:
    assert set(IMAGE_MOVES) == set(ImageState)
    assert set(DELIVERY_MOVES) == set(DeliveryState)


def test_an_answered_image_moves_only_when_its_sender_takes_it_back() -> None:
    assert IMAGE_MOVES[ImageState.ANSWERED] == {ImageState.CANCELLED}


def test_every_state_is_reached_from_the_first() -> None:
    reached = {ImageState.RECEIVED}
    for _ in ImageState:
        reached |= {to for state in reached for to in IMAGE_MOVES[state]}
    assert reached == set(ImageState)


def test_an_image_is_never_uploaded_without_having_been_marked_as_sending() -> None:
    assert {state for state, moves in IMAGE_MOVES.items() if ImageState.ANALYSING in moves} == {
        ImageState.SENDING,
        ImageState.CANCELLED,  # sent again as a new Media, to be asked for again; nothing is uploaded
        ImageState.PARKED,  # released by a person, to be asked for again; nothing is uploaded
    }


def test_settled_states_are_those_that_nothing_moves_by_itself() -> None:
    assert (
        frozenset({ImageState.ANSWERED, ImageState.REJECTED, ImageState.PARKED, ImageState.CANCELLED}) == IMAGE_SETTLED
    )
