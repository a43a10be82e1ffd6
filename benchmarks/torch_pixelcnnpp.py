"""PixelCNN++ in plain PyTorch, written from the paper (https://arxiv.org/abs/1701.05517)."""

import torch
from torch import nn
from torch.nn.functional import dropout, elu, logsigmoid, pad, softplus
from torch.nn.utils.parametrizations import weight_norm


def concat_elu(x):
    return elu(torch.cat([x, -x], dim=1))


def shifted(inputs, outputs, rows, columns, stride=1, right=False):
    """Returns a down-shifted convolution, or a down-right-shifted one with `right`."""
    sides = (columns - 1, 0) if right else (columns // 2, columns // 2)
    conv = weight_norm(nn.Conv2d(inputs, outputs, (rows, columns), stride))
    return nn.Sequential(nn.ZeroPad2d((*sides, rows - 1, 0)), conv)


class Block(nn.Module):
    def __init__(self, filters, right, before):
        super().__init__()
        size = (2, 2) if right else (2, 3)
        self.conv = shifted(2 * filters, filters, *size, right=right)
        self.before = weight_norm(nn.Conv2d(2 * before, filters, 1)) if before else None
        self.gate = shifted(2 * filters, 2 * filters, *size, right=right)

    def forward(self, x, before=None):
        hidden = self.conv(concat_elu(x))
        if before is not None:
            hidden = hidden + self.before(concat_elu(before))
        hidden = dropout(concat_elu(hidden), 0.5, self.training)
        value, gate = self.gate(hidden).chunk(2, dim=1)
        return x + value * torch.sigmoid(gate)


class Network(nn.Module):
    """Maps images `(N, 3, H, W)` in [-1, 1] to their mean negative log-likelihood in nats."""

    def __init__(self, filters=40, blocks=1, mixtures=5):
        super().__init__()
        self.rows, self.above = shifted(4, filters, 2, 3), shifted(4, filters, 1, 3)
        self.left = shifted(4, filters, 2, 1, right=True)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()  # pairs of layers, one per stream
        for level in range(3):
            if level:
                smaller = (shifted(filters, filters, 2, size, 2, size == 2) for size in (3, 2))
                self.down.append(nn.ModuleList(smaller))
                larger = (nn.ConvTranspose2d(filters, filters, (2, size), 2) for size in (3, 2))
                self.up.append(nn.ModuleList(map(weight_norm, larger)))
            for before, layers in ((0, self.down), (filters, self.up)):
                for _ in range(blocks + (before > 0 and level > 0)):
                    pair = Block(filters, False, before), Block(filters, True, before + filters)
                    layers.append(nn.ModuleList(pair))
        self.head = weight_norm(nn.Conv2d(filters, 10 * mixtures, 1))

    def forward(self, x):
        pixels = pad(x, (0, 0, 0, 0, 0, 1), value=1.0)  # ones mark the image, zeros the border
        u = pad(self.rows(pixels), (0, 0, 1, -1))
        ul = pad(self.above(pixels), (0, 0, 1, -1)) + pad(self.left(pixels), (1, -1))
        stored = [(u, ul)]
        for rows, left in self.down:
            u = rows(u)
            ul = left(ul, u) if isinstance(left, Block) else left(ul)
            stored.append((u, ul))
        u, ul = stored.pop()
        for rows, left in self.up:
            if isinstance(left, Block):
                u_before, ul_before = stored.pop()
                u = rows(u, u_before)
                ul = left(ul, torch.cat([u, ul_before], dim=1))
            else:
                u, ul = rows(u)[..., :-1], left(ul)  # the transposed convolutions add a column
        return negative_log_likelihood(self.head(elu(ul)).float(), x)


def negative_log_likelihood(parameters, x):
    """Returns the mean negative log-likelihood of discretized logistic mixtures, in nats."""
    logits, *others = parameters.unflatten(1, (10, -1)).unbind(1)  # each (N, mixtures, H, W)
    means, log_scales, factors = torch.stack(others, 1).unflatten(1, (3, 3)).unbind(1)
    x, factors = x.unsqueeze(2), torch.tanh(factors)
    green = means[:, 1] + factors[:, 0] * x[:, 0]
    blue = means[:, 2] + factors[:, 1] * x[:, 0] + factors[:, 2] * x[:, 1]
    centered = x - torch.stack([means[:, 0], green, blue], dim=1)
    above, below = ((centered + side / 255) * torch.exp(-log_scales) for side in (1, -1))
    log_prob = (torch.sigmoid(above) - torch.sigmoid(below)).clamp(min=1e-12).log()
    log_prob = torch.where(x > 0.999, -softplus(below), log_prob)
    log_prob = torch.where(x < -0.999, logsigmoid(above), log_prob).sum(1)
    return -torch.logsumexp(log_prob + torch.log_softmax(logits, dim=1), dim=1).sum((1, 2)).mean()
