r"""What the controls of the editor say, as adjustments of an edit.

The page shows one layer of controls, for one area. Choosing another area begins a new layer; the
layers before stay. A draft is never changed in place, so that undoing is going back to another.

Data flow: `controls -> Layer -> Draft -> Edit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from opmask.inference import Edit
from opmask.operators import Operator, Parallel

__all__ = ["Draft", "Layer", "Row", "open_gates"]


@dataclass(frozen=True)
class Row:
    r"""The controls of one mask.

    Args:
        strength: A factor on the distance from the identity.
        offset: A constant to add, in operator units.
        on: Whether the mask acts at all.
    """

    strength: float = 1.0
    offset: float = 0.0
    on: bool = True


@dataclass(frozen=True, eq=False)
class Layer:
    r"""The controls of all masks, for one area.

    Args:
        scope: `"model"`: where the model acts; `"area"`: in an area that was chosen; `"photo"`:
            everywhere.
        area: The area that was chosen, with shape :math:`(1, 1, h, w)`, in :math:`[0, 1]`.
        rows: The controls by name of the mask; those that are missing are at rest.
    """

    scope: str = "model"
    area: Tensor | None = None
    rows: Mapping[str, Row] = field(default_factory=dict)

    @property
    def at_rest(self) -> bool:
        """Whether no control has been moved."""
        return all(row == Row() for row in self.rows.values())

    def row(self, name: str) -> Row:
        """The controls of one mask."""
        return self.rows.get(name, Row())

    def region(self, size: tuple[int, int]) -> Tensor | None:
        """Where it acts, with shape :math:`(1, 1, h, w)`; everywhere if `None`."""
        if self.scope == "model":
            return None
        if self.scope == "photo":
            return torch.ones(1, 1, *size)
        return torch.zeros(1, 1, *size) if self.area is None else self.area

    def applied(self, edit: Edit) -> Edit:
        """The edit with what the controls say."""
        if self.at_rest:
            return edit
        region = self.region(edit.size)
        if region is not None and any(row.on and row.offset for row in self.rows.values()):
            edit = open_gates(edit, region)
        for name, row in self.rows.items():
            if not row.on:
                edit = edit.adjust(name, strength=0.0, region=region)
            elif row != Row():
                edit = edit.adjust(name, strength=row.strength, offset=row.offset, region=region)
        return edit


@dataclass(frozen=True, eq=False)
class Draft:
    r"""An edit in the making.

    Args:
        base: The edit as it was planned or opened.
        layers: What was changed since; the last one is what the controls show.
        whole: The strength of the whole.

    Example:
        >>> import opmask
        >>> from PIL import Image
        >>> photo = Image.new("RGB", (64, 48), "teal")
        >>> draft = Draft(opmask.plan(opmask.load(), photo, strength=0))
        >>> lighter = draft.change("l_add", offset=0.1).within("photo")
        >>> [len(draft.edit.adjustments), len(draft.change("l_add", offset=0.1).edit.adjustments)]
        [1, 2]
    """

    base: Edit
    layers: tuple[Layer, ...] = (Layer(),)
    whole: float = 1.0

    @property
    def layer(self) -> Layer:
        """The layer that the controls show."""
        return self.layers[-1]

    @property
    def edit(self) -> Edit:
        """The edit with all that was changed."""
        edit = self.base
        for layer in self.layers:
            edit = layer.applied(edit)
        return edit if self.whole == 1 else edit.adjust(strength=self.whole)

    def change(self, name: str, **controls: float | bool) -> Draft:
        """The same with some controls of one mask moved."""
        row = replace(self.layer.row(name), **controls)  # type: ignore[arg-type]
        return self._with(replace(self.layer, rows={**self.layer.rows, name: row}))

    def within(self, scope: str, area: Tensor | None = None) -> Draft:
        """The same for another area: in a new layer if controls were moved for the one before."""
        new = Layer(scope, self.layer.area if area is None else area)
        if self.layer.at_rest:
            return self._with(new)
        return replace(self, layers=(*self.layers, new))

    def painted(self, area: Tensor) -> Draft:
        """The same with the area of this layer painted anew; its controls stay."""
        if self.layer.scope != "area":
            return self.within("area", area)
        return self._with(replace(self.layer, area=area))

    def _with(self, layer: Layer) -> Draft:
        return replace(self, layers=(*self.layers[:-1], layer))


def open_gates(edit: Edit, region: Tensor) -> Edit:
    r"""Opens the gates of an edit in a region, without changing what it does.

    Where a gate is shut, whatever is added to the masks behind it has no effect. So the gate is
    multiplied into its masks, and then opened.

    Args:
        edit: The edit.
        region: Where, with shape :math:`(1, 1, h, w)`, in :math:`[0, 1]`.

    Returns:
        The edit with more adjustments; `edit` itself if it has no gates.

    Example:
        >>> import opmask
        >>> from PIL import Image
        >>> edit = opmask.plan(opmask.load(), Image.new("RGB", (64, 48), "teal"), strength=0)
        >>> opened = open_gates(edit, torch.ones(1, 1, *edit.size))
        >>> opened.masks()["gate"].min()
        tensor(1.)
    """
    masks, operators = edit.masks(), list(_side_by_side(edit.retoucher.operators))
    for operator in operators:
        if not operator.gates:
            continue
        gate = operator.gates[-1]  # the outermost, which acts on all masks of the operator
        names = [n for n in operator.ranges if n not in operator.gates]
        # One adjustment for all masks, where there is no other operator.
        for name in [None] if len(operators) == 1 else names:
            edit = edit.adjust(name, strength=0.0, region=region * (1 - masks[gate].cpu()))
        edit = edit.adjust(gate, offset=1.0, region=region)
    return edit


def _side_by_side(operators: Iterable[Operator]) -> Iterator[Operator]:
    """The operators, and in the place of those of a :class:`Parallel` the ones in it."""
    for operator in operators:
        if isinstance(operator, Parallel):
            yield from _side_by_side(operator.operators)  # type: ignore[arg-type]
        else:
            yield operator
