"""Graph networks on dense connectomes: ``forward(x [B, N, F], graph [B, N, N]) -> logits [B]``.

All follow one convention. With `noise` [B] they drop channels (training), without it they do not (evaluation).
The attribute `auxiliary` holds what the last call adds to the loss of each graph, [B] or a number.
"""
