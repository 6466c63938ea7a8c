import pytest
import torch

import opmask
from opmask.editor.layers import Draft, Layer, Row, open_gates
from opmask.operators import Parallel


def test_opening_a_gate_changes_nothing(session):
    edit, size = session.edit, session.edit.size
    opened = open_gates(edit, torch.ones(1, 1, *size))
    before, after = edit.masks(effective=True), opened.masks(effective=True)
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=2e-3, rtol=0)


def test_without_gates_there_is_nothing_to_open(pixels):
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8)).eval()
    edit = opmask.plan(model, pixels)
    assert open_gates(edit, torch.ones(1, 1, *edit.size)) is edit


@pytest.mark.parametrize("join", [opmask.Retoucher, lambda *ops: opmask.Retoucher(Parallel(*ops))])
def test_beside_other_operators_only_masks_behind_the_gate_are_touched(pixels, join):
    retoucher = join(opmask.Mul(opmask.LAB), opmask.Gated(opmask.Add(opmask.LAB, "l")))
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8), retoucher).eval()
    opened = open_gates(opmask.plan(model, pixels), torch.ones(1, 1, 60, 80))
    assert {a.name for a in opened.adjustments} == {"l_add", "gate"}


def test_controls_at_rest_leave_the_edit_as_it_is(session):
    layer = Layer("photo", rows={"l_add": Row()})
    assert layer.applied(session.edit) is session.edit


def test_a_layer_whose_area_is_empty_does_nothing(session):
    draft = Draft(session.edit).within("area").change("l_add", offset=0.3)
    rendered = draft.edit.render(session.photo).pixels
    assert (rendered == session.edit.render(session.photo).pixels).all()
