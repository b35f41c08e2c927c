"""Compiled loops over the edges of many permutations: connected components by union-find.

They hold no lock of the interpreter, so threads share the rows of a chunk. numba takes a moment to import:
`components` imports this module when it is first used.
"""

import numpy as np

from dysconnect.keeping.compiled import compiled

BITS = 11  # of a pass of the sort
SCALE = 1 << 2 * BITS  # two passes tell apart what float32 sums can: 2e-7


@compiled
def find(parent, node):
    """Root of a node; the path is halved on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def join(parent, size, mass, a, b, weight):
    """Add an edge of some weight to its component, which it may make of two."""
    a, b = find(parent, a), find(parent, b)
    if a != b:
        if size[a] < size[b]:
            a, b = b, a
        parent[b] = a
        size[a] += size[b]
        mass[a] += mass[b]
    size[a] += 1
    mass[a] += weight


@compiled
def strong_edges(values, edges, low, kept):
    """Edges above `low` to the front of `kept` [E], below ``-low`` to its back: their numbers, and both extremes."""
    n_high, n_low, highest, lowest = 0, 0, np.float32(0), np.float32(0)
    for edge in edges:
        value = values[edge]
        highest = max(highest, value)
        lowest = min(lowest, value)
        if value > low:
            kept[n_high] = edge
            n_high += 1
        elif value < -low:
            n_low += 1
            kept[len(kept) - n_low] = edge
    return n_high, n_low, highest, -lowest


@compiled
def nested_maxima(values, edges, rows, cols, cuts, thresholds, df, work, sizes, masses):
    """Largest size [K] and intensity [K] of a component at rising thresholds, of edges of one sign."""
    parent, size, mass = work
    for node in range(len(parent)):
        parent[node], size[node], mass[node] = node, 0, 0.0
    above = np.float32(np.inf)
    for k in range(len(cuts) - 1, -1, -1):  # from the highest: the forest only grows
        for edge in edges:
            r = abs(values[edge])
            if cuts[k] < r <= above:
                t = r * np.sqrt(df / (1.0 - min(np.float64(r) * r, 1 - 1e-12)))
                join(parent, size, mass, rows[edge], cols[edge], t)
        above = cuts[k]
        for node in range(len(parent)):
            if parent[node] == node and size[node] > 0:
                sizes[k] = max(sizes[k], size[node])
                masses[k] = max(masses[k], mass[node] - thresholds[k] * size[node])


@compiled
def component_maxima(r, rows, cols, n_nodes, members, starts, cuts, thresholds, df, sizes, masses, peaks):
    """Largest component of every row of r [c, E], in every family of edges and tail.

    `members` holds the edges of all families one after the other, `starts` [F + 1] where each begins. Filled are
    `sizes` and `masses`, [c, F, 2, K], and `peaks`, [c, F, 2]; tails are positive, negative.
    """
    work = (np.empty(n_nodes, np.int32), np.empty(n_nodes, np.int64), np.empty(n_nodes))
    kept = np.empty(r.shape[1], np.int32)
    for b in range(len(r)):
        for f in range(len(starts) - 1):
            edges = members[starts[f] : starts[f + 1]]
            sides = strong_edges(r[b], edges, cuts[0], kept)
            peaks[b, f, 0], peaks[b, f, 1] = sides[2], sides[3]
            for tail in range(2):
                strong = kept[: sides[0]] if tail == 0 else kept[len(kept) - sides[1] :]
                if len(strong):
                    args = (rows, cols, cuts, thresholds, df, work, sizes[b, f, tail], masses[b, f, tail])
                    nested_maxima(r[b], strong, *args)


@compiled
def single_t(r, df):
    """Statistics t of correlations [c, E], computed in double and kept in single precision: no step branches."""
    t = np.empty(r.shape, np.float32)
    for b in range(len(r)):
        for edge in range(r.shape[1]):
            value = min(max(np.float64(r[b, edge]), -1 + 1e-12), 1 - 1e-12)
            t[b, edge] = value * np.sqrt(df / (1 - value * value))
    return t


@compiled
def smallest_over_rank(ordered, logs, log_ranks, ranks):
    """Rank of the correlation whose p over its rank is smallest, of every row of `ordered` [B, K], which rises.

    `logs` holds log p at evenly spaced correlations from zero to one, `log_ranks` [K] log k; filled is `ranks` [B], 1
    for the strongest.
    """
    cells, n = len(logs) - 1, ordered.shape[1]
    for b in range(len(ordered)):
        smallest = np.inf
        for k in range(1, n + 1):
            place = min(np.float64(ordered[b, n - k]), 1.0) * cells
            cell = min(int(place), cells - 1)
            log_p = logs[cell] + (place - cell) * (logs[cell + 1] - logs[cell])
            if log_p - log_ranks[k - 1] < smallest:
                smallest, ranks[b] = log_p - log_ranks[k - 1], k


@compiled
def descending(values, sign, order, spare):
    """Edges of one sign by falling size, to the front of `order` [E]: radix sort of size and edge packed in one number.

    Returns how many there are. Nothing branches on the sign, which no processor could foresee.
    """
    n = 0
    for edge in range(len(values)):
        size = values[edge] * sign
        order[n] = ((SCALE - 1 - min(np.int64(max(size, 0) * SCALE), SCALE - 1)) << 32) | edge
        n += size > 0
    count = np.zeros((2, (1 << BITS) + 1), np.int64)
    for i in range(n):
        count[0, ((order[i] >> 32) & ((1 << BITS) - 1)) + 1] += 1
        count[1, (order[i] >> (32 + BITS)) + 1] += 1
    for digit in range(1 << BITS):
        count[0, digit + 1] += count[0, digit]
        count[1, digit + 1] += count[1, digit]
    for i in range(n):
        digit = (order[i] >> 32) & ((1 << BITS) - 1)
        spare[count[0, digit]] = order[i]
        count[0, digit] += 1
    for i in range(n):
        digit = spare[i] >> (32 + BITS)
        order[count[1, digit]] = spare[i] & 0xFFFFFFFF
        count[1, digit] += 1
    return n


@compiled
def areas(values, df, power, area):
    """Integral of ``h^(power - 1)`` from zero to the t of every correlation, into `area` [E]."""
    for edge in range(len(values)):
        square = np.float64(values[edge]) * values[edge]
        area[edge] = square * df / (1.0 - min(square, 1 - 1e-12))
    if power == 4:  # the usual height, and twice as quick
        for edge in range(len(values)):
            area[edge] *= area[edge] / 4
    else:
        for edge in range(len(values)):
            area[edge] = area[edge] ** (power / 2) / power


@compiled
def enhanced_maximum(area, order, rows, cols, extents, parent, size, since, best):
    """Largest enhanced score of a set of edges in falling order.

    Each root holds its size, the area where that last changed, and the best score of its edges so far: all
    edges of a component gain the same, so the best one stays the best.
    """
    for node in range(len(parent)):
        parent[node], size[node], since[node], best[node] = node, 0, 0.0, 0.0
    trees, done = len(parent), 0
    while trees > 1 and done < len(order):
        edge = order[done]
        done += 1
        a, b = find(parent, rows[edge]), find(parent, cols[edge])
        best[a] += extents[size[a]] * (since[a] - area[edge])
        since[a] = area[edge]
        if a != b:
            best[b] += extents[size[b]] * (since[b] - area[edge])
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            trees -= 1
            best[a] = max(best[a], best[b])
            size[a] += size[b]
            since[a] = area[edge]
        size[a] += 1
    top = 0.0
    for node in range(len(parent)):
        if parent[node] == node:
            top = max(top, best[node] + extents[size[node]] * since[node])
    if trees > 1 or done == 0:
        return top
    top, edges, height = best[a], size[a], since[a]
    for edge in order[done:]:  # one component holds all nodes
        top += extents[edges] * (height - area[edge])
        height = area[edge]
        edges += 1
    return top + extents[edges] * height


@compiled
def enhanced_maxima(r, rows, cols, n_nodes, df, extents, power, tops):
    """Largest enhanced score of every row of r [c, E] and tail, into `tops` [c, 2]."""
    n = r.shape[1]
    order, spare, area = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    parent, size = np.empty(n_nodes, np.int32), np.empty(n_nodes, np.int64)
    since, best = np.empty(n_nodes), np.empty(n_nodes)
    for b in range(len(r)):
        areas(r[b], df, power, area)
        for tail in range(2):
            count = descending(r[b], 1 - 2 * tail, order, spare)
            tops[b, tail] = enhanced_maximum(area, order[:count], rows, cols, extents, parent, size, since, best)


@compiled
def enhanced_scores(values, rows, cols, n_nodes, df, extents, power, scores):
    """Enhanced score of every edge, [E]; of either sign by its own tail.

    Gains are kept at the roots and a node's is the sum on its path, so that the trees are not halved here.
    """
    n = len(values)
    order, spare, area = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    areas(values, df, power, area)
    for sign in (1, -1):
        count = descending(values, sign, order, spare)
        parent, size = np.arange(n_nodes), np.zeros(n_nodes, np.int64)
        since, gain, ranks = np.zeros(n_nodes), np.zeros(n_nodes), np.zeros(n_nodes, np.int64)
        for edge in order[:count]:
            height = area[edge]
            a, b = path_root(parent, rows[edge]), path_root(parent, cols[edge])
            gain[a] += extents[size[a]] * (since[a] - height)
            since[a] = height
            if a != b:
                gain[b] += extents[size[b]] * (since[b] - height)
                if ranks[a] < ranks[b]:
                    a, b = b, a
                ranks[a] += ranks[a] == ranks[b]
                parent[b] = a
                gain[b] -= gain[a]
                size[a] += size[b]
                since[a] = height
            size[a] += 1
            scores[edge] = -path_gain(parent, gain, rows[edge])
        for node in range(n_nodes):
            if parent[node] == node:
                gain[node] += extents[size[node]] * since[node]
        for edge in order[:count]:
            scores[edge] += path_gain(parent, gain, rows[edge])


@compiled
def path_root(parent, node):
    """Root of a node, the tree left as it is."""
    while parent[node] != node:
        node = parent[node]
    return node


@compiled
def path_gain(parent, gain, node):
    """Sum of the gains from a node to its root."""
    total = gain[node]
    while parent[node] != node:
        node = parent[node]
        total += gain[node]
    return total
