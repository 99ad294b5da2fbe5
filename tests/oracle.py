"""An independent training, written from the formulas in plain NumPy; it shares no line with `snn`."""

import numpy as np


def photos_and_labels(samples=24, height=3, width=3, seed=5):
    """Random photos with a label that can be learnt: is the first half brighter than the second?"""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (samples, height, width, 3), dtype=np.uint8)
    flat = pixels.reshape(samples, -1).astype(int)
    half = flat.shape[1] // 2
    return pixels, (flat[:, :half].mean(axis=1) > flat[:, half:].mean(axis=1)).astype(int)


def step(Ws, bs, acts, X, Y):
    """One batch: (cost, dWs, dbs)."""
    m = X.shape[1]
    As, Zs = [X], []
    for W, b, act in zip(Ws, bs, acts):
        Zs.append(W @ As[-1] + b)
        As.append(np.maximum(0, Zs[-1]) if act == "relu" else 1 / (1 + np.exp(-Zs[-1])))
    P = As[-1]
    cost = -(Y * np.log(P) + (1 - Y) * np.log(1 - P)).sum() / m
    dA, dWs, dbs = -(Y / P) + (1 - Y) / (1 - P), [], []
    for i in reversed(range(len(Ws))):
        s = 1 / (1 + np.exp(-Zs[i]))
        dZ = dA * (Zs[i] > 0) if acts[i] == "relu" else dA * s * (1 - s)
        dWs.insert(0, dZ @ As[i].T / m)
        dbs.insert(0, dZ.sum(axis=1, keepdims=True) / m)
        dA = Ws[i].T @ dZ
    return cost, dWs, dbs


def train(Ws, bs, acts, parts, rate, epochs, strategy):
    """`parts`: [(X, Y)] of every mini-batch. Returns (Ws, bs, costs)."""
    costs, total = [], sum(Y.shape[1] for _, Y in parts)
    for _ in range(epochs):
        steps = [(*step(Ws, bs, acts, X, Y), Y.shape[1]) for X, Y in parts]
        if strategy == "best-batch":
            cost, dWs, dbs, _ = min(steps, key=lambda one: one[0])
        else:
            cost = sum(c * n for c, _, _, n in steps) / total
            dWs = [sum(dW[i] * n for _, dW, _, n in steps) / total for i in range(len(Ws))]
            dbs = [sum(db[i] * n for _, _, db, n in steps) / total for i in range(len(Ws))]
        Ws = [W - rate * dW for W, dW in zip(Ws, dWs)]
        bs = [b - rate * db for b, db in zip(bs, dbs)]
        costs.append(cost)
    return Ws, bs, costs


def train_as(chosen, start, parts):
    """Train as `chosen` (Parameters) says from `start` (layers of W and b) on `parts` (batches of X and Y)."""
    return train(
        [layer.W for layer in start],
        [layer.b for layer in start],
        [activation.value for activation in chosen.activation_per_layer],
        [(batch.X, batch.Y) for batch in parts],
        chosen.learning_rate,
        chosen.epochs,
        chosen.strategy.value,
    )


def small_network(sizes=(5, 4, 1), functions=("relu", "sigmoid", "sigmoid"), **fields):
    """What stands in parameters.json for a network of these sizes."""
    return {
        "epochs": 3,
        "layers": len(sizes),
        "neurons": {f"layer{i}": size for i, size in enumerate(sizes, start=1)},
        "activations": {f"layer{i}": name for i, name in enumerate(functions, start=1)},
        "learning_rate": 0.1,
        **fields,
    }
