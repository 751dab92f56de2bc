"""Components whose answer is known: the processes, their exact XE, and a model that reaches it."""
import csv
import itertools
import json
import math
import os
import re
import shlex

import numpy as np
import pytest
from conftest import run

from eval_xe import log_bins
from processes import (build_processes, coin, component_losses, edges, entropy_rate, markov, mess3, mixture_losses, sample_process,
                       stationary, unigram_xe)

COINS4 = [coin(p) for p in np.linspace(0.05, 0.95, 4)]
MESS3_X = (0.05, 0.15, 0.30, 0.45)


def all_words(vocab, length):
    return np.array(list(itertools.product(range(vocab), repeat=length)))


def exact_xe(processes, words):
    """The expected Bayes loss at each position of a uniform mixture, over every word there is."""
    losses = np.stack([component_losses(p, words) for p in processes])
    weight = np.exp(-losses.sum(2)).mean(0)  # P(word)
    assert weight.sum() == pytest.approx(1)
    return weight @ np.where(weight[:, None] > 0, mixture_losses(losses), 0)


def test_forward_algorithm_equals_the_sum_over_all_paths():
    process, words = mess3(0.15), all_words(3, 4)
    for word, loss in zip(words, component_losses(process, words).sum(1)):
        paths = itertools.product(range(3), repeat=5)
        p = sum(stationary(process)[path[0]] * math.prod(process[v, i, j] for v, i, j in zip(word, path, path[1:]))
                for path in paths)
        assert math.exp(-loss) == pytest.approx(p)


def test_mixture_of_coins():
    """DESIGN.md section 7, to the digits given there."""
    two = exact_xe([coin(0.05), coin(0.95)], all_words(2, 8))
    np.testing.assert_allclose(two[[0, 1, 3, 7]], [0.693147, 0.313956, 0.215297, 0.198964], atol=6e-7)
    four = exact_xe(COINS4, all_words(2, 16))
    np.testing.assert_allclose(four[[0, 1, 3, 7, 15]], [0.693147, 0.588169, 0.516523, 0.471189, 0.443853], atol=6e-7)
    assert np.mean([entropy_rate(p)[0] for p in COINS4]) == pytest.approx(0.422981, abs=6e-7)
    assert entropy_rate(coin(0.05))[0] == pytest.approx(0.198515, abs=6e-7)


def coins4_losses(n):
    """(4, n + 1, n) component losses of words with 0 .. n ones at the end, and (n + 1,) the probability of that many."""
    words = np.tril(np.ones((n + 1, n), dtype=int), -1)[:, ::-1]
    p = np.linspace(0.05, 0.95, 4)[:, None]
    log_choose = np.array([math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m + 1) for m in range(n + 1)])
    m = np.arange(n + 1)
    weight = np.exp(log_choose + m * np.log(p) + (n - m) * np.log(1 - p)).mean(0)
    return np.stack([component_losses(c, words) for c in COINS4]), weight


@pytest.mark.parametrize('n, ambiguity', [(16, 1.13437), (64, 1.37544), (256, 1.38629)])
def test_ambiguity_of_coins_sums_to_ln_4(n, ambiguity):
    """The order of tosses does not matter to the loss of a whole window, so one word stands for each number of ones."""
    losses, weight = coins4_losses(n)
    total = weight @ mixture_losses(losses).sum(1) - n * 0.4229810
    assert total == pytest.approx(ambiguity, abs=6e-5) and total <= math.log(4)


def test_coins_at_a_late_position():
    """XE at position 63 is what the total grows by from 63 to 64 tokens."""
    total = [weight @ mixture_losses(losses).sum(1) for losses, weight in map(coins4_losses, (63, 64))]
    assert total[1] - total[0] == pytest.approx(0.423616, abs=6e-7)


def test_golden_mean_even_and_z1r():
    built = build_processes('golden_mean,even,z1r', 16, 0)
    words = all_words(2, 6)
    np.testing.assert_allclose(exact_xe([built['golden_mean']], words), [0.636514] + [2 / 3 * math.log(2)] * 5, atol=6e-7)
    np.testing.assert_allclose(exact_xe([built['z1r']], words)[:4], [0.693147, 0.636514, 0.462098, 0.231049], atol=6e-7)
    assert entropy_rate(built['golden_mean']) == entropy_rate(built['even']) == (pytest.approx(2 / 3 * math.log(2)), 0)
    assert entropy_rate(built['z1r'])[0] == pytest.approx(math.log(2) / 3)
    even = sample_process(built['even'], 5, 2000, np.random.default_rng(0))
    for doc in even:  # runs of 1s between 0s are of even length
        zeros = np.flatnonzero(doc == 0)
        assert not ((np.diff(zeros) - 1) % 2).any()


@pytest.mark.parametrize('x, rate', list(zip(MESS3_X, (0.79346, 0.99019, 1.09506, 1.04812))))
def test_entropy_rate_of_mess3(x, rate):
    docs = sample_process(mess3(x), 200, 2000, np.random.default_rng(0))
    found, se = entropy_rate(mess3(x), docs)
    assert 0 < se < 0.002 and abs(found - rate) < 3 * se + 1e-4
    assert unigram_xe([mess3(x)]) == pytest.approx(math.log(3))


def test_markov_is_uniform_then_at_its_rate_for_ever():
    process = markov(16, np.random.default_rng(0))
    assert sorted(set(process[process > 0])) == [1 / 8, 1 / 4, 1 / 2] and ((process > 0).sum((0, 2)) == 4).all()
    np.testing.assert_allclose(process.sum((0, 1)), 1)  # every symbol is reached as often as it is left
    assert entropy_rate(process) == (pytest.approx(1.213008, abs=6e-7), 0)
    small = markov(8, np.random.default_rng(0))
    np.testing.assert_allclose(exact_xe([small], all_words(8, 4)), [math.log(8)] + [1.75 * math.log(2)] * 3, atol=1e-9)


@pytest.mark.parametrize('processes, vocab, length', [
    (COINS4, 2, 10), ([mess3(x) for x in MESS3_X], 3, 6), ([markov(8, np.random.default_rng(i)) for i in range(2)], 8, 4)])
def test_the_price_of_not_knowing_is_mutual_information(processes, vocab, length):
    """
    At each position the mixture's Bayes XE minus the components' mean is I(component; next token | past), here from
    the entropies of the posterior over components; its sum is at most ln K.
    """
    words, K = all_words(vocab, length), len(processes)
    losses = np.stack([component_losses(p, words) for p in processes])
    gap = exact_xe(processes, words) - np.mean([exact_xe([p], words) for p in processes], axis=0)
    left = [math.log(K)]  # H(component | the first t tokens)
    for t in range(1, length + 1):
        joint = np.exp(-losses[:, :, :t].sum(2)) / K  # P(component, first t tokens), each counted V^(length - t) times
        posterior = joint / np.maximum(joint.sum(0), 1e-300)
        surprise = -np.where(posterior > 0, joint * np.log(np.where(posterior > 0, posterior, 1)), 0).sum()
        left.append(surprise / vocab ** (length - t))
    np.testing.assert_allclose(gap, -np.diff(left), atol=1e-12)
    assert (gap > -1e-12).all() and gap.sum() <= math.log(K)


def test_samples_follow_their_process():
    process = mess3(0.15)
    docs = sample_process(process, 2000, 50, np.random.default_rng(0))
    assert docs.dtype == np.uint16 and docs.shape == (2000, 50)
    words = all_words(3, 2)
    expected = np.exp(-component_losses(process, words).sum(1))
    for start in (0, 48):  # stationary from the first token to the last
        found = np.bincount(docs[:, start] * 3 + docs[:, start + 1], minlength=9) / 2000
        np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / 2000))


def test_what_a_process_cannot_emit_costs_it_everything_and_the_mixture_nothing():
    golden, fair = build_processes('golden_mean', 16, 0)['golden_mean'], coin(0.5)
    words = np.array([[1, 0, 0, 1, 1]])  # two 0s in a row
    losses = np.stack([component_losses(p, words) for p in (golden, fair)])
    assert np.isinf(losses[0, 0, 2]) and np.isfinite(losses[0, 0, 3:]).all()
    np.testing.assert_allclose(mixture_losses(losses)[0, 3:], math.log(2))
    assert np.isinf(mixture_losses(losses[:1])[0, 2:]).all()


def test_position_bins_double():
    assert log_bins(17).tolist() == [0, 1, 2, 2, 3, 3, 3, 3] + [4] * 8 + [5]


@pytest.mark.parametrize('args, says', [
    (['--processes=dice:4'], "cannot make 'dice:4': choose from coins:N"),
    (['--processes=coins:none'], 'write coins:4 for four of them'),
    (['--processes=mess3:9'], 'N <= 8'),
    (['--processes='], 'is empty'),
    (['--processes=even,even'], 'two components of the same name'),
    (['--processes=leaky.npy'], 'of each state must sum to 1; that of state 0 sums to 0.9'),
    (['--processes=split.npy'], 'is not ergodic: 2 groups of states are never left'),
    (['--processes=flat.npy'], 'it must be T[v, i, j], (V, S, S)'),
    (['--processes=huge.npy'], 'uint16 holds 65,534'),
    (['--processes=negative.npy'], 'has an entry that is no probability: -0.5'),
    (['--processes=markov:1', '--markov_vocab=70000'], '--markov_vocab 8 to 1000'),
    (['--documents_per_process=1'], 'must be at least 10'),
])
def test_a_mistake_in_a_process_writes_nothing(tmp_path, monkeypatch, fails, args, says):
    monkeypatch.chdir(tmp_path)
    np.save('leaky.npy', coin(0.5) * 0.9)
    np.save('negative.npy', np.array([[[1.5]], [[-0.5]]]))
    np.save('split.npy', edges((0, 0, 0, 1.0), (1, 1, 1, 1.0)))
    np.save('flat.npy', np.ones((2, 2)))
    np.save('huge.npy', np.full((65535, 1, 1), 1 / 65535))
    assert says in fails('prepare.py', '--source=synthetic', '--dataset=bad', *args)
    assert not (tmp_path / 'data').exists()


def test_a_rounded_process_is_normalised(tmp_path):
    """Else the missing mass of a float32 row goes to a symbol that cannot occur, and its Bayes loss is infinite."""
    np.save(f'{tmp_path}/rounded.npy', edges((0, 0, 1, 1 / 3), (1, 0, 0, 2 / 3), (1, 1, 0, 1.0)).astype(np.float32) * (1 - 5e-7))
    process = build_processes(f'{tmp_path}/rounded.npy', 16, 0)['rounded']
    np.testing.assert_allclose(process.sum((0, 2)), 1, atol=1e-15)


def test_transient_states_are_no_second_component():
    process = edges((0, 0, 1, 1.0), (1, 1, 1, 0.5), (0, 1, 1, 0.5))
    np.testing.assert_allclose(stationary(process), [0, 1], atol=1e-12)


@pytest.fixture
def synthetic(tmp_path, monkeypatch):
    """Prepares, trains and evaluates in an empty folder: returns the rows of xe_by_position.csv and xe_vs_k.csv."""
    monkeypatch.chdir(tmp_path)

    def check(processes, k, *args):
        run('prepare.py', '--source=synthetic', '--dataset=s', f'--processes={processes}', '--documents_per_process=500',
            '--document_length=2048')
        run('train.py', '--dataset=s', '--candidates=', f'--k={k}', '--block_size=64', '--dropout=0.0', '--device=cpu',
            '--compile=False', '--warmup_iters=20', '--eval_interval=100', '--val_windows_per_component=64', *args)
        run('eval_xe.py', '--windows_per_component=1024')
        tables = []
        for name in ('by_position', 'vs_k'):
            with open(f'results/xe_{name}.csv', newline='') as f:
                tables.append(list(csv.DictReader(f)))
        return tables
    return check


def test_coins_reach_bayes(synthetic):
    """Coins K = 4: within .01 nats of the exact optimum on average, and in every bin of positions."""
    by_position, vs_k = synthetic('coins:4', 4, '--n_layer=1', '--n_head=1', '--n_embd=32', '--batch_size=64', '--epochs=1',
                                  f'--token_budget={64 * 64 * 400}', '--learning_rate=3e-3', '--min_lr=1e-4')
    assert len({r['component'] for r in by_position}) == 4
    excess = np.array([[float(r['xe']) - float(r['bayes_xe']) for r in by_position if int(r['position']) == t]
                       for t in range(64)]).mean(1)
    assert abs(excess.mean()) < 0.01
    assert max(abs(excess[log_bins(64) == b].mean()) for b in range(7)) < 0.01
    assert float(vs_k[0]['excess']) == pytest.approx(excess.mean(), abs=1e-4)
    assert float(vs_k[0]['unigram_xe']) == pytest.approx(math.log(2))


def test_markov_reaches_its_rate(synthetic):
    by_position, _ = synthetic('markov:1', 1, '--n_layer=1', '--n_head=1', '--n_embd=64', '--batch_size=32', '--epochs=1',
                               f'--token_budget={32 * 64 * 400}', '--learning_rate=5e-3', '--min_lr=1e-4')
    xe = [float(r['xe']) for r in by_position]
    bayes = [float(r['bayes_xe']) for r in by_position]
    assert xe[0] == pytest.approx(math.log(16), abs=0.05)
    assert np.mean(np.array(xe[1:]) - np.array(bayes[1:])) < 0.02  # on the same windows
    assert np.mean(xe[1:]) == pytest.approx(1.75 * math.log(2), abs=0.02)


def test_the_parts_of_delta_xe(tmp_path, monkeypatch, capsys):
    """
    Trains a mixture of two chains, then what eval_xe.py says is missing, by its very commands: the parts add up to ΔXE in the CSV, the
    least possible ambiguity is theory's, the specialist mixture starts from 1/2 and finds the component, and nothing is asked for any more.
    """
    monkeypatch.chdir(tmp_path)
    run('prepare.py', '--source=synthetic', '--dataset=s', '--processes=markov:2', '--markov_vocab=8', '--documents_per_process=100',
        '--document_length=512')
    args = ['--dataset=s', '--candidates=', '--block_size=32', '--dropout=0.0', '--device=cpu', '--dtype=float32', '--n_layer=1', '--n_head=2',
            '--n_embd=32', '--batch_size=32', '--epochs=4', '--warmup_iters=5', '--learning_rate=1e-2', '--eval_interval=50',
            f'--token_budget={32 * 800}', '--k=2']
    run('train.py', *args)
    run('eval_xe.py')
    for line in [line for line in capsys.readouterr().out.splitlines() if 'python train.py' in line]:
        run('train.py', *shlex.split(line)[2:])
    assert len(os.listdir('out')) == 1 + 1 + 2 + 2  # M, M_tag, P_c, D_c
    run('eval_xe.py')
    assert 'python train.py' not in capsys.readouterr().out
    assert {json.load(open(f'out/{name}/config.json'))['max_iters'] for name in os.listdir('out')} == {100}

    with open('results/decomposition.csv', newline='') as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 1 + 32 + 2
    for row in rows:
        delta, *terms = (float(row[name]) for name in ('delta_xe', 'dilution', 'transfer', 'ambiguity'))
        assert sum(terms) == pytest.approx(delta, abs=1e-6)
        assert float(row['specialist_gap_ci_low']) <= float(row['specialist_gap']) <= float(row['specialist_gap_ci_high'])
    at = {row['position']: row for row in rows if not row['component']}
    assert float(at['0']['posterior']) == pytest.approx(0.5) and float(at['31']['posterior']) > 0.9
    bayes = sum(float(at[str(t)]['bayes_ambiguity']) for t in range(32))
    assert bayes == pytest.approx(math.log(2), abs=0.02)
    assert float(at['']['bayes_ambiguity']) * 32 == pytest.approx(bayes)
    with open('results/xe_vs_k.csv', newline='') as f:
        row, = [r for r in csv.DictReader(f) if r['k'] == '2' and r['ambiguity']]
    assert float(row['efficiency']) == pytest.approx(float(row['bayes_ambiguity']) / float(row['ambiguity']))
    assert {'parts.png', 'posterior.png', 'delta_by_component.png'} <= set(os.listdir('results'))
    with np.load(next(f'out/{name}/losses-test-best.npz' for name in os.listdir('out') if 'tokens' in name)) as kept:
        assert len(kept.files) in (1, 2)

    # with twice the steps nothing has to stay: the table says what moves
    for name in sorted(os.listdir('out')):
        config = json.load(open(f'out/{name}/config.json'))
        run('train.py', *config['command'][1:], '--max_iters=200', f'--out_dir=double/{name}')
    run('eval_xe.py', '--runs=out/*,double/*')
    assert re.search('K = 2: with twice the steps (.*undertrained|no term moves)', capsys.readouterr().out)
