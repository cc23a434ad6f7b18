"""Every test here gets its row of the matrix by the fixture `row`."""

import pytest


@pytest.fixture
def row(request):
    """The row of the matrix that this test proves."""
    return request.node.get_closest_marker("fault").args[0]
