"""An independent training, written from the formulas in plain NumPy; it shares no line with `snn`.

It is written to be checked, not to be fast: one sample set, one way through all layers, every formula spelled out. What
it claims is held to PyTorch in the benchmark's environment (`make test-witness`).
"""

import itertools
import math

import numpy as np
from scipy import ndimage


def photos_and_labels(samples=24, height=3, width=3, seed=5):
    """Random photos with a label that can be learnt: is the first half brighter than the second?"""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (samples, height, width, 3), dtype=np.uint8)
    flat = pixels.reshape(samples, -1).astype(int)
    half = flat.shape[1] // 2
    return pixels, (flat[:, :half].mean(axis=1) > flat[:, half:].mean(axis=1)).astype(int)


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


_erf = np.vectorize(math.erf)


def _sigma(Z):
    return 1 / (1 + np.exp(-Z))


# g(Z) and g'(Z) of every hidden layer's activation.
G = {
    "relu": (lambda Z: np.maximum(0, Z), lambda Z: (Z > 0) * 1.0),
    "leaky_relu": (lambda Z: np.where(Z > 0, Z, 0.01 * Z), lambda Z: np.where(Z > 0, 1.0, 0.01)),
    "elu": (lambda Z: np.where(Z > 0, Z, np.exp(Z) - 1), lambda Z: np.where(Z > 0, 1.0, np.exp(Z))),
    "gelu": (
        lambda Z: Z / 2 * (1 + _erf(Z / math.sqrt(2))),
        lambda Z: (1 + _erf(Z / math.sqrt(2))) / 2 + Z * np.exp(-(Z**2) / 2) / math.sqrt(2 * math.pi),
    ),
    "tanh": (lambda Z: np.tanh(Z), lambda Z: 1 / np.cosh(Z) ** 2),
    "sigmoid": (_sigma, lambda Z: _sigma(Z) * (1 - _sigma(Z))),
    "identity": (lambda Z: Z, lambda Z: np.ones_like(Z)),
}
GAIN = {"relu": 2, "leaky_relu": 2, "elu": 2, "gelu": 2}


def first_weights(chosen, features):
    """N(0,1)·√(gain/inputs), layer by layer from one generator; biases 0."""
    random, Ws, bs, inputs = np.random.default_rng(chosen.seed), [], [], features
    last = len(chosen.neurons_per_layer)
    for i, (n, name) in enumerate(zip(chosen.neurons_per_layer, chosen.activation_per_layer), start=1):
        gain = 1 if i == last else GAIN.get(name, 1)
        Ws.append((random.standard_normal((n, inputs)) * math.sqrt(gain / inputs)).astype(chosen.dtype))
        bs.append(np.zeros((n, 1), chosen.dtype))
        inputs = n
    return Ws, bs


def cost_and_error(Z, y, chosen):
    """The batch's mean cost, and its slope in the last layer's Z; y are class numbers, or numbers."""
    output, m = chosen.activation_per_layer[-1], Z.shape[1]
    if output == "identity":
        return float(((Z[0] - y) ** 2).mean()), 2 * (Z - y[None, :]) / m
    K = max(2, len(Z))
    w = np.ones(K)
    if isinstance(chosen.class_weights, list):
        w = np.array(chosen.class_weights)
    if chosen.class_weights == "balanced":
        w = chosen._balanced
    P = np.exp(Z - Z.max(axis=0)) if len(Z) > 1 else np.vstack([_sigma(-Z), _sigma(Z)])
    P = P / P.sum(axis=0)
    Q = np.full((K, m), chosen.label_smoothing / K)
    Q[y, np.arange(m)] += 1 - chosen.label_smoothing
    Q *= w[:, None]
    total = w[y].sum()
    dZ = (P * Q.sum(axis=0) - Q) / total
    return float(-(Q * np.log(P)).sum() / total), dZ if len(Z) > 1 else dZ[1:]


def step(Ws, bs, chosen, X, y, draw=(0, 0, 0)):
    """One batch, of epoch, step and number `draw`: (cost, dWs, dbs)."""
    names = chosen.activation_per_layer
    rates = chosen.dropout
    if not isinstance(rates, dict):
        rates = {f"layer{i}": rates for i in range(1, len(Ws))}
    masks, As, Zs = [], [X], []

    def left_out(layer, A):
        rate = rates.get(f"layer{layer}", 0.0)
        random = np.random.default_rng([chosen.seed, 3, *draw, layer])
        kept = random.random(A.shape, dtype=np.float32) >= rate if rate else np.ones(A.shape)
        masks.append((kept / (1 - rate)).astype(A.dtype))
        return A * masks[-1]

    As[0] = left_out(0, X)
    for i, (W, b) in enumerate(zip(Ws, bs), start=1):
        Zs.append(W @ As[-1] + b)
        As.append(left_out(i, G[names[i - 1]][0](Zs[-1])) if i < len(Ws) else Zs[-1])
    cost, dZ = cost_and_error(Zs[-1], y, chosen)
    dWs, dbs = [], []
    for i in reversed(range(len(Ws))):
        dWs.insert(0, dZ @ As[i].T)
        dbs.insert(0, dZ.sum(axis=1, keepdims=True))
        if i:
            dZ = (Ws[i].T @ dZ) * masks[i] * G[names[i - 1]][1](Zs[i - 1])
    return cost, dWs, dbs


def rate_factor(chosen, t, steps):
    """The schedule's factor at step t, counted from 0, of a training with so many steps an epoch."""
    schedule = chosen.model_dump()["schedule"]
    epochs = t / steps
    warm = min(1.0, (t + 1) / (schedule["warmup"] * steps)) if schedule["warmup"] else 1.0
    if schedule["name"] == "step":
        return warm * schedule["gamma"] ** (epochs // schedule["step_size"])
    if schedule["name"] == "exponential":
        return warm * schedule["gamma"] ** epochs
    if schedule["name"] == "cosine":
        after = max(0.0, epochs - schedule["warmup"]) / (chosen.epochs - schedule["warmup"])
        return warm * (schedule["final"] + (1 - schedule["final"]) * 0.5 * (1 + math.cos(math.pi * min(1.0, after))))
    return warm


def move(ps, gs, state, chosen, t, rate):
    """One step of the optimizer on arrays ps, the first half of which are W: PyTorch's formulas."""
    options = chosen.model_dump()["optimizer"]
    if chosen.clip_norm is not None:
        norm = math.sqrt(sum((g**2).sum() for g in gs))
        gs = [g * min(1.0, chosen.clip_norm / (norm + 1e-6)) for g in gs]
    gs = [g + chosen.l2 * p if i < len(ps) // 2 else g for i, (p, g) in enumerate(zip(ps, gs))]
    new = []
    for i, (p, g) in enumerate(zip(ps, gs)):
        one = state.setdefault(i, {"v": np.zeros_like(p), "m": np.zeros_like(p), "s": np.zeros_like(p)})
        if options["name"] == "gradient_descent":
            one["v"] = options["momentum"] * one["v"] + g
            d = g + options["momentum"] * one["v"] if options["nesterov"] else one["v"]
            new.append(p - rate * d)
        elif options["name"] == "rmsprop":
            one["s"] = options["rho"] * one["s"] + (1 - options["rho"]) * g**2
            one["v"] = options["momentum"] * one["v"] + g / (np.sqrt(one["s"]) + options["epsilon"])
            new.append(p - rate * one["v"])
        else:
            if options["name"] == "adamw":
                p = p - rate * options["weight_decay"] * p
            one["m"] = options["beta_1"] * one["m"] + (1 - options["beta_1"]) * g
            one["s"] = options["beta_2"] * one["s"] + (1 - options["beta_2"]) * g**2
            m_hat, s_hat = one["m"] / (1 - options["beta_1"] ** t), one["s"] / (1 - options["beta_2"] ** t)
            new.append(p - rate * m_hat / (np.sqrt(s_hat) + options["epsilon"]))
    return new


def batches_of(chosen, m, epoch):
    """The epoch's steps, each a list of the places of its batches."""
    size = m if chosen.strategy == "full-batch" else min(chosen.batch_size, m)
    places = np.arange(m)
    if chosen.strategy in ("best-batch", "sgd") and size < m:
        places = np.random.default_rng([chosen.seed, 1, epoch]).permutation(m)
    cut = [places[at : at + size] for at in range(0, m, size)]
    if chosen.strategy != "sgd":
        return [cut]
    steps = []
    for part in cut:
        parts = min(chosen.sub_batches, len(part))
        ends = [len(part) * k // parts for k in range(parts + 1)]
        steps.append([part[a:b] for a, b in itertools.pairwise(ends)])
    return steps


def augmented(photos, chosen, m, epoch, places):
    """Photos (k, h, w[, c]) as an epoch changes them."""
    drawn = {"mirror": 1, "shift": 2, "rotation": 1, "brightness": 1}
    asked = {name: chosen.augmentation[name] for name in drawn if chosen.augmentation.get(name)}
    if not asked:
        return photos
    numbers = sum(drawn[name] for name in asked)
    draw = np.random.default_rng([chosen.seed, 4, epoch]).random((m, numbers))[places]
    out = []
    for photo, one in zip(photos, draw):
        given = iter(one)
        if "mirror" in asked and next(given) < 0.5:
            photo = photo[:, ::-1]
        if "shift" in asked:
            n = asked["shift"]
            down, right = (math.floor(next(given) * (2 * n + 1)) - n for _ in range(2))
            padded = np.pad(photo, [(n, n), (n, n)] + [(0, 0)] * (photo.ndim - 2), mode="edge")
            photo = padded[n - down : n - down + photo.shape[0], n - right : n - right + photo.shape[1]]
        if "rotation" in asked:
            degrees = (2 * next(given) - 1) * asked["rotation"]
            photo = ndimage.rotate(photo, degrees, reshape=False, order=1, mode="nearest")
        if "brightness" in asked:
            factor = 1 + (2 * next(given) - 1) * asked["brightness"]
            photo = np.array([min(math.floor(x * factor + 0.5), 255) for x in photo.ravel()]).reshape(photo.shape)
        out.append(photo.astype(np.uint8))
    return np.stack(out)


def as_inputs(stored, dtype, scales=None):
    """What a network sees of stored samples, (features, k), while it learns: x, or (x - mean) / scale."""
    flat = stored.reshape(len(stored), -1).astype(dtype)
    x = flat / 255 if stored.dtype == np.uint8 else flat
    return ((x - scales.mean) / scales.scale if scales else x).T


def seen_as_they_are(Ws, bs, scales):
    """A network that learned from (x - mean) / scale as one that sees x: W(x - mean)/scale + b = (W/scale)x + ..."""
    W = Ws[0] / scales.scale
    return [W, *Ws[1:]], [bs[0] - W @ np.full((W.shape[1], 1), scales.mean, W.dtype), *bs[1:]]


def train(chosen, stored, y):
    """Train as `chosen` (Parameters) says on samples as they are stored and their labels (m,).

    Returns ({"W1": …, "b1": …}, costs of the epochs).
    """
    m = len(stored)
    Ws, bs = first_weights(chosen, stored[0].size)
    if chosen.class_weights == "balanced":
        chosen = chosen.model_copy()
        counts = np.bincount(y, minlength=max(2, chosen.neurons_per_layer[-1]))
        object.__setattr__(chosen, "_balanced", m / (len(counts) * counts))
    w = np.ones(m)
    if chosen.class_weights is not None:
        w = (chosen._balanced if chosen.class_weights == "balanced" else np.array(chosen.class_weights))[y]
    costs, state, t = [], {}, 0
    for epoch in range(chosen.epochs):
        steps, spent, weighed = batches_of(chosen, m, epoch), 0.0, 0.0
        for number, batches in enumerate(steps):
            done = []
            for index, places in enumerate(batches):
                X = as_inputs(augmented(stored[places], chosen, m, epoch, places), chosen.dtype, chosen.input_scaling)
                done.append((*step(Ws, bs, chosen, X, y[places], (epoch, number, index)), w[places].sum()))
            if chosen.strategy == "best-batch":
                full = [one for one, places in zip(done, batches, strict=True) if len(places) == len(batches[0])]
                cost, dWs, dbs, weight = min(full, key=lambda one: one[0])
            else:
                weight = sum(one[3] for one in done)
                cost = sum(one[0] * one[3] for one in done) / weight
                dWs = [sum(one[1][i] * one[3] for one in done) / weight for i in range(len(Ws))]
                dbs = [sum(one[2][i] * one[3] for one in done) / weight for i in range(len(bs))]
            t += 1
            rate = chosen.learning_rate * rate_factor(chosen, t - 1, len(steps))
            new = move([*Ws, *bs], [*dWs, *dbs], state, chosen, t, rate)
            Ws, bs = new[: len(Ws)], new[len(Ws) :]
            spent, weighed = spent + cost * weight, weighed + weight
        costs.append(spent / weighed)
        if chosen.threshold is not None and costs[-1] <= chosen.threshold:
            break
    if chosen.input_scaling:
        Ws, bs = seen_as_they_are(Ws, bs, chosen.input_scaling)
    named = {f"W{i}": W for i, W in enumerate(Ws, start=1)} | {f"b{i}": b for i, b in enumerate(bs, start=1)}
    return named, costs


def train_on(chosen, dataset):
    """Train on a data set's training part."""
    return train(chosen, dataset.train.stored, dataset.train.y)
