"""Compares sbi's neural estimators with exact posteriors, on the data of `conditions.py`.

    KERAS_BACKEND=torch python benchmarks/conditions_sbi.py ising --seed 0 --seconds 300

sbi needs an environment of its own, with torch: `pip install sbi ".[torch,commands]"`. Two of its
methods are trained with nearly its defaults (learning rate 0.0005, batches of 200), each for the
given processor time:

- *NPE*: a spline flow of the parameter, given features of a CNN (Greenberg et al. 2019),
- *NLE*: an autoregressive flow of the lattice, given the parameter (Papamakarios et al. 2019).

The figures are added to the file that `conditions.py` wrote for the same problem and seed.
"""

import time
from importlib.metadata import version

import torch
import typer
from common import RESULTS, save
from conditions import PROBLEMS, Cases, draw, normalized
from sbi.inference import NLE, NPE
from sbi.neural_nets import likelihood_nn, posterior_nn
from sbi.neural_nets.embedding_nets import CNNEmbedding
from sbi.utils import BoxUniform

from keras_pixelcnnpp.utils.files import read_json

AT_ONCE = 100  # lattices whose log-probabilities are computed together


def trained(method, values, lattices, seconds, seed):
    """Returns the density estimator, its processor seconds and the number of epochs."""
    torch.manual_seed(seed)
    method.append_simulations(values, lattices)
    start, epochs = time.process_time(), 0
    is_finished = False  # sbi ends if the loss on a tenth of the data has not fallen for 20 epochs
    while time.process_time() - start < seconds and not is_finished:
        epochs += 1
        given = {"max_num_epochs": epochs, "resume_training": epochs > 1}
        estimator = method.train(training_batch_size=200, **given)
        is_finished = epochs > 1 and len(method.summary["validation_loss"]) < epochs
    return estimator.eval(), time.process_time() - start, epochs


@torch.no_grad()
def log_probs(estimator, grid, lattices, is_likelihood):
    """Returns log q(x | value) or log q(value | x) for each lattice and value, `(N, K)`."""
    found = []
    for part in lattices.split(AT_ONCE):
        values = grid[:, None, None].expand(-1, len(part), 1)
        if is_likelihood:
            each = [estimator.log_prob(part[None], value)[0] for value in values]
            found.append(torch.stack(each, dim=1))
        else:
            found.append(estimator.log_prob(values, part).T)
    return torch.cat(found).numpy().astype("float64")


def run(problem: str, size: int = 8, seed: int = 0, count: int = 400_000, seconds: float = 300):
    """Trains both methods and adds their figures."""
    kind, path = PROBLEMS[problem](size), RESULTS / f"conditions-{problem}-{size}-{seed}.json"
    images, values = draw(kind, count, [seed, 0])
    cases = Cases(kind, seed)

    def flat(images):
        return torch.tensor(images.reshape(len(images), -1) / 127.5 - 1, dtype=torch.float32)

    grid = torch.tensor(cases.grid, dtype=torch.float32)
    prior = BoxUniform(torch.tensor([kind.low]), torch.tensor([kind.high]))
    embedding = torch.nn.Sequential(
        torch.nn.Unflatten(-1, (1, size, size)), CNNEmbedding((size, size), kernel_size=3)
    )
    methods = {
        "npe": NPE(prior, posterior_nn("nsf", z_score_x="none", embedding_net=embedding)),
        "nle": NLE(prior, likelihood_nn("maf")),
    }
    of_training = torch.tensor(values[:, None], dtype=torch.float32), flat(images)
    result = read_json(path) | {"sbi": version("sbi")}
    for name, method in methods.items():
        estimator, spent, epochs = trained(method, *of_training, seconds, seed)
        start = time.process_time()
        single = log_probs(estimator, grid, flat(cases.images), name == "nle")
        seconds_of_posterior = time.process_time() - start
        of_sets = log_probs(estimator, grid, flat(cases.images_of_sets), name == "nle")
        result[name] = {
            "seconds": spent,
            "epochs": epochs,
            "seconds_of_posterior": seconds_of_posterior,
            **cases.measured(normalized(single), normalized(cases.summed(of_sets))),
        }
        print(name, result[name], flush=True)
        save(result, path)


if __name__ == "__main__":
    typer.run(run)
