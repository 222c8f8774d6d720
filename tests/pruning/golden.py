"""Weights, and what PyTorch makes of them: the values below were printed by this script.

```python
import numpy as np, torch, torch.nn.utils.prune as tp  # torch 2.13 (CPU)
torch.set_printoptions(precision=11)
def w(shape, step):
    return torch.sin(step * torch.arange(1, 1 + int(np.prod(shape))).double()).reshape(shape)

# GLOBAL: an n.Linear holds its weights as (out, in), transposed.
a, b = torch.nn.Linear(4, 6, bias=False), torch.nn.Linear(6, 5, bias=False)
a.weight.data = w((4, 6), 1.0).T.float().contiguous()
b.weight.data = 0.5 * w((6, 5), 1.7).T.float().contiguous()
tp.global_unstructured([(a, "weight"), (b, "weight")], tp.L1Unstructured, amount=27)
print(a.weight_mask.T, b.weight_mask.T)
# NEURONS, FILTERS
a = torch.nn.Linear(4, 6, bias=False); a.weight.data = w((4, 6), 1.0).T.float().contiguous()
tp.ln_structured(a, "weight", amount=3, n=1, dim=0)
c = torch.nn.Conv2d(2, 5, 3, bias=False)
c.weight.data = w((3, 3, 2, 5), 0.7).permute(3, 2, 0, 1).float().contiguous()
tp.ln_structured(c, "weight", amount=2, n=1, dim=0)
print(a.weight_mask.T[0], c.weight_mask.amax(dim=(1, 2, 3)), c.weight_orig.abs().sum(dim=(1, 2, 3)))
# SNIP: mean squared error of relu(x W1) W2
x, y = w((5, 3), 0.9), w((5, 2), 2.3)
W1, W2 = w((3, 4), 1.0).requires_grad_(), w((4, 2), 1.7).requires_grad_()
g1, g2 = torch.autograd.grad(((torch.relu(x @ W1) @ W2 - y) ** 2).mean(), (W1, W2))
print((g1 * W1).abs(), (g2 * W2).abs())
# SYNFLOW: convolution 2x2, batch norm (gamma, variance), dense 8 -> 3, dense 3 -> 2
gamma, var = torch.tensor([-0.5, 2.0]).double(), torch.tensor([1.0, 4.0]).double()
F2 = w((3, 2), 0.6).abs()
def scores(K, F1):
    K, F1 = K.detach().requires_grad_(), F1.detach().requires_grad_()
    h = torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3).double(), K.permute(3, 2, 0, 1))
    h = h * (gamma.abs() / torch.sqrt(var + 1e-3)).reshape(1, 2, 1, 1)
    R = (h.permute(0, 2, 3, 1).reshape(1, -1) @ F1 @ F2).sum()
    return [(g * v / R).detach() for g, v in zip(torch.autograd.grad(R, (K, F1)), (K, F1))]
K, F1 = w((2, 2, 1, 2), 1.0).abs(), w((8, 3), 1.7).abs()
print(scores(K, F1))
# SYNFLOW_ROUNDS: 22 of 32 weights, at once and in four rounds
for rounds in (1, 4):
    m = torch.ones(32).double()
    for k in range(1, rounds + 1):
        s = scores(K * m[:8].reshape(K.shape), F1 * m[8:].reshape(F1.shape))
        flat = torch.where(m > 0, torch.cat([i.flatten() for i in s]), -1.0)
        m = torch.ones(32).double()
        m[flat.argsort()[: int(np.floor((1 - 0.3 ** (k / rounds)) * 32 + 0.5))]] = 0
    print(m.int())
# LAMP: scores by sort and cumsum, 27 of 54 weights
def lamp(v):
    s, i = torch.sort(v.abs().flatten())
    out = torch.empty_like(s)
    out[i] = s**2 / torch.flip(torch.cumsum(torch.flip(s**2, [0]), 0), [0])
    return out
print((torch.cat([lamp(w((4, 6), 1.0)), lamp(0.01 * w((6, 5), 1.7))]).argsort()[:27] < 24).sum())
```
"""

import numpy as np


def wave(shape, step):
    """sin(step), sin(2 step), ... in the given shape."""
    size = int(np.prod(shape))
    return np.sin(step * np.arange(1, 1 + size)).reshape(shape).astype(np.float32)


GLOBAL = [
    [[1, 1, 0, 1, 1, 0], [1, 1, 0, 1, 1, 1], [0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 1, 1]],
    [
        [1, 0, 1, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 1, 0, 1, 0],
        [1, 0, 0, 0, 0],
        [1, 0, 1, 0, 1],
        [0, 1, 0, 0, 0],
    ],
]
NEURONS = [0, 1, 0, 0, 1, 1]
FILTERS = [1, 1, 1, 0, 0]
FILTER_L1 = [11.451051712, 11.622957230, 11.577921867, 11.328708649, 11.317341805]
SNIP = [
    [
        [0.05791330433, 0.12285986400, 0.02415275848, 0.02091360319],
        [0.06647961254, 0.04772605719, 0.13271899272, 0.09775085088],
        [0.00715650769, 0.04201758938, 0.07999372441, 0.08073658556],
    ],
    [
        [0.00267540384, 0.00408520436],
        [0.01580657688, 0.04892279430],
        [0.00049694077, 0.07737496756],
        [0.01464990184, 0.02327796666],
    ],
]
SYNFLOW = [
    [
        [0.0995239435, 0.2146051015, 0.0166907950, 0.1786144682],
        [0.1134155866, 0.0659454097, 0.0777042801, 0.2335004155],
    ],
    [
        [0.04773585735, 0.01355544209, 0.01737880321],
        [0.05374840072, 0.09571499186, 0.02968760897],
        [0.02975532126, 0.04557512720, 0.00744736120],
        [0.10457838778, 0.01786057698, 0.04240967875],
        [0.00522944948, 0.05155005380, 0.00674001460],
        [0.09564509995, 0.07020059853, 0.03089594473],
        [0.03722575353, 0.02806573838, 0.01707568305],
        [0.03205363158, 0.11814432955, 0.00172614546],
    ],
]
SYNFLOW_ROUNDS = {
    1: "11011011" + "000010000100000100000010",
    4: "01010101" + "000110000100000110000010",
}
LAMP_REMOVED = [11, 16]
