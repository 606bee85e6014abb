"""Starting values from which the models of this package learn at once."""

from __future__ import annotations

import torch
from torch import nn

from unrolled_export import minimal
from unrolled_export.minimal import MinimalRecurrence
from unrolled_export.recurrence import Recurrence

GATES = {"RNN_TANH": 1, "GRU": 3, "LSTM": 4, **minimal.GATES}
ONE_HOT_DEVIATION = 0.5


def initialise(recurrence: Recurrence, decoder: nn.Linear | None, *, one_hot: bool) -> None:
    """Set every weight of the recurrent layers and the decoder in place.

    Recurrent weights are orthogonal gate by gate, and the LSTM's forget gate opens with a bias of 1
    (Jozefowicz et al. 2015). A one-hot picks a single column of the first input matrix, so that matrix is
    drawn with deviation 0.5: at torch's default of 1 / sqrt(H) the input is lost among the recurrent sums.
    """
    mode = recurrence.kind if isinstance(recurrence, MinimalRecurrence) else recurrence.mode
    gates = GATES[mode]
    with torch.no_grad():
        for name, weight in recurrence.named_parameters():
            if name.startswith("weight_hh"):
                for gate in weight.chunk(gates):
                    nn.init.orthogonal_(gate)
            elif name == "weight_ih_l0" and one_hot:
                nn.init.normal_(weight, std=ONE_HOT_DEVIATION)
            elif name.startswith("weight_ih"):
                for gate in weight.chunk(gates):
                    nn.init.xavier_uniform_(gate)
            else:
                nn.init.zeros_(weight)
                if mode == "LSTM" and name.startswith("bias_ih"):
                    weight.chunk(gates)[1].fill_(1.0)
        if decoder is not None:
            nn.init.xavier_uniform_(decoder.weight)
            nn.init.zeros_(decoder.bias)
