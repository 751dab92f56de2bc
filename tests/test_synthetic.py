"""Components whose answer is known: the processes, their exact XE, and a model that reaches it."""
import csv
import itertools
import json
import math
import os

import numpy as np
import pytest
import scipy.special
import scipy.stats
from conftest import run

from checkpoint import read_checkpoint
from curves import log_bins
from plot_xe import draw_parts, plt, read_settings_shown
from processes import (build_processes, coin, component_losses, edges, entropy_rate, markov, mess3,
                       mixture_losses, optimal_losses, sample_process, stationary, unigram_xe)
from runs import parts_of

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
        p = sum(stationary(process)[path[0]]
                * math.prod(process[v, i, j] for v, i, j in zip(word, path, path[1:]))
                for path in paths)
        assert math.exp(-loss) == pytest.approx(p)

def test_mixture_of_coins():
    """The values are sums over all words, worked out apart from this code."""
    two = exact_xe([coin(0.05), coin(0.95)], all_words(2, 8))
    np.testing.assert_allclose(two[[0, 1, 3, 7]],
                               [0.693147, 0.313956, 0.215297, 0.198964], atol=6e-7)
    four = exact_xe(COINS4, all_words(2, 16))
    np.testing.assert_allclose(four[[0, 1, 3, 7, 15]],
                               [0.693147, 0.588169, 0.516523, 0.471189, 0.443853], atol=6e-7)
    assert np.mean([entropy_rate(p)[0] for p in COINS4]) == pytest.approx(0.422981, abs=6e-7)
    assert entropy_rate(coin(0.05))[0] == pytest.approx(0.198515, abs=6e-7)

def coins4_losses(n):
    """The component losses (4, n + 1, n) of words with 0 .. n ones at the end, and the probability
    (n + 1,) of that many ones.
    """
    words = np.tril(np.ones((n + 1, n), dtype=int), -1)[:, ::-1]
    p = np.linspace(0.05, 0.95, 4)[:, None]
    m = np.arange(n + 1)
    weight = scipy.stats.binom.pmf(m, n, p).mean(0)
    return np.stack([component_losses(c, words) for c in COINS4]), weight

@pytest.mark.parametrize('n, ambiguity', [(16, 1.13437), (64, 1.37544), (256, 1.38629)])
def test_ambiguity_of_coins_sums_to_ln_4(n, ambiguity):
    """A window's loss does not depend on the order of tosses: one word for each number of ones."""
    losses, weight = coins4_losses(n)
    total = weight @ mixture_losses(losses).sum(1) - n * 0.4229810
    assert total == pytest.approx(ambiguity, abs=6e-5) and total <= math.log(4)

def test_coins_at_a_late_position():
    """XE at position 63 is what the total grows by from 63 to 64 tokens."""
    before, after = (weight @ mixture_losses(losses).sum(1)
                     for losses, weight in (coins4_losses(63), coins4_losses(64)))
    assert after - before == pytest.approx(0.423616, abs=6e-7)

def test_golden_mean_even_and_z1r():
    built = build_processes('golden_mean,even,z1r', 16, 0)
    words = all_words(2, 6)
    golden_mean, z1r = (exact_xe([built[name]], words) for name in ('golden_mean', 'z1r'))
    rate = 2 / 3 * math.log(2)
    np.testing.assert_allclose(golden_mean, [0.636514] + [rate] * 5, atol=6e-7)
    np.testing.assert_allclose(z1r[:4], [0.693147, 0.636514, 0.462098, 0.231049], atol=6e-7)
    assert entropy_rate(built['golden_mean']) == (pytest.approx(rate), 0)
    assert entropy_rate(built['even']) == (pytest.approx(rate), 0)
    assert entropy_rate(built['z1r'])[0] == pytest.approx(math.log(2) / 3)
    even = sample_process(built['even'], 5, 2000, np.random.default_rng(0))
    for doc in even:  # runs of 1s between 0s are of even length
        zeros = np.flatnonzero(doc == 0)
        assert not ((np.diff(zeros) - 1) % 2).any()

@pytest.mark.parametrize('x, rate', [
    (0.05, 0.79346), (0.15, 0.99019), (0.30, 1.09506), (0.45, 1.04812)])
def test_entropy_rate_of_mess3(x, rate):
    docs = sample_process(mess3(x), 200, 2000, np.random.default_rng(0))
    estimate, se = entropy_rate(mess3(x), docs)
    assert 0 < se < 0.002 and abs(estimate - rate) < 3 * se + 1e-4
    assert unigram_xe([mess3(x)]) == pytest.approx(math.log(3))

def test_markov_is_uniform_then_at_its_rate_for_ever():
    process = markov(16, np.random.default_rng(0))
    assert sorted(set(process[process > 0])) == [1 / 8, 1 / 4, 1 / 2]
    assert ((process > 0).sum((0, 2)) == 4).all()
    np.testing.assert_allclose(process.sum((0, 1)), 1)  # symbols are reached as often as left
    assert entropy_rate(process) == (pytest.approx(1.213008, abs=6e-7), 0)
    small = markov(8, np.random.default_rng(0))
    expected = [math.log(8)] + [1.75 * math.log(2)] * 3
    np.testing.assert_allclose(exact_xe([small], all_words(8, 4)), expected, atol=1e-9)

@pytest.mark.parametrize('processes, vocab, length', [
    (COINS4, 2, 10), ([mess3(x) for x in MESS3_X], 3, 6),
    ([markov(8, np.random.default_rng(i)) for i in range(2)], 8, 4)])
def test_the_price_of_not_knowing_is_mutual_information(processes, vocab, length):
    """At each position the mixture's Bayes XE minus the components' mean is I(component; next token
    | past), here from the entropies of the posterior over components; its sum is at most ln K.
    """
    words, K = all_words(vocab, length), len(processes)
    losses = np.stack([component_losses(p, words) for p in processes])
    gap = exact_xe(processes, words) - np.mean([exact_xe([p], words) for p in processes], axis=0)
    left = [math.log(K)]  # H(component | the first t tokens)
    for t in range(1, length + 1):
        # P(component, first t tokens), each counted vocab^(length - t) times
        joint = np.exp(-losses[:, :, :t].sum(2)) / K
        entropy = scipy.special.entr(joint).sum() - scipy.special.entr(joint.sum(0)).sum()
        left.append(entropy / vocab ** (length - t))
    np.testing.assert_allclose(gap, -np.diff(left), atol=1e-12)
    assert (gap > -1e-12).all() and gap.sum() <= math.log(K)

def test_a_prior_is_bayes_rule_by_hand():
    """A coin of 3/4 and one of 1/4 with prior 3 : 1, then 1 : 1: P(1) = 10/16 at first."""
    losses = np.stack([component_losses(coin(p), np.array([[1, 0]])) for p in (0.75, 0.25)])
    first = 10 / 16
    second = (3 / 4 * 3 / 16 + 1 / 4 * 3 / 16) / first  # P(1, 0) / P(1)
    np.testing.assert_allclose(mixture_losses(losses, [0.75, 0.25])[0],
                               [-math.log(first), -math.log(second)])
    np.testing.assert_allclose(mixture_losses(losses, [0.5, 0.5]), mixture_losses(losses))

@pytest.mark.parametrize('shares, at_first', [('', 0.55), ('3,1', 0.75 * 0.2 + 0.25 * 0.9)])
def test_the_optimum_of_a_run_is_bayes_rule_with_its_shares(monkeypatch, shares, at_first):
    """Coins that are named in another order than the data set's; the first toss is a 1."""
    coins = {'often': coin(0.9), 'rare': coin(0.2)}
    monkeypatch.setattr('processes.read_process', lambda meta, component: coins[component])
    windows = {'tokens': np.array([[1, 1]]), 'name': ('test', shares)}
    run_of = {'known': ['rare', 'often'], 'mix': {'shares': shares}, 'tag': False,
              'meta': {'source': 'synthetic', 'seal': 'x'}, 'shuffle_components': False}

    def first(component='rare', **keys):
        both = optimal_losses(run_of | keys, component, windows)
        return both and [np.exp(-xe[0, 0]) for xe in both]
    assert first() == pytest.approx([at_first, 0.2])
    assert first('often') == pytest.approx([at_first, 0.9])
    assert first(tag=True) == pytest.approx([0.2, 0.2])  # it is given the component
    assert first(shuffle_components=True) == pytest.approx([0.55, 0.55])  # it means nothing
    assert first('other') is None and first(meta={'source': 'arxiv', 'seal': 'x'}) is None

def test_samples_follow_their_process():
    process = mess3(0.15)
    docs = sample_process(process, 2000, 50, np.random.default_rng(0))
    assert docs.dtype == np.uint16 and docs.shape == (2000, 50)
    words = all_words(3, 2)
    expected = np.exp(-component_losses(process, words).sum(1))
    for start in (0, 48):  # stationary from the first token to the last
        share = np.bincount(docs[:, start] * 3 + docs[:, start + 1], minlength=9) / 2000
        np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / 2000))

def test_what_a_process_cannot_emit_costs_it_everything_and_the_mixture_nothing():
    golden, fair = build_processes('golden_mean', 16, 0)['golden_mean'], coin(0.5)
    words = np.array([[1, 0, 0, 1, 1]])  # two 0s in a row
    losses = np.stack([component_losses(p, words) for p in (golden, fair)])
    assert np.isinf(losses[0, 0, 2]) and np.isfinite(losses[0, 0, 3:]).all()
    np.testing.assert_allclose(mixture_losses(losses)[0, 3:], math.log(2))
    assert np.isinf(mixture_losses(losses[:1])[0, 2:]).all()

@pytest.mark.parametrize('args, says', [
    (['--processes=dice:4'], "cannot make 'dice:4': choose from coins:N"),
    (['--processes=coins:none'], "cannot make 'coins:none': choose from coins:N"),
    (['--processes=mess3:9'], 'N <= 8'),
    (['--processes='], "cannot make '': choose from coins:N"),
    (['--processes=even,even'], 'one of these is named twice'),
    (['--processes=coins:2,coins:3'], 'two components of the same name'),
    (['--processes=leaky.npy'], 'the least is 0.45, and those of state 0 sum to 0.9'),
    (['--processes=split.npy'], 'is not ergodic: 2 groups of states are never left'),
    (['--processes=flat.npy'], 'not (V, S, S) of T[v, i, j]'),
    (['--processes=huge.npy'], 'V <= 65,534'),
    (['--processes=none.npy'], 'V <= 65,534'),
    (['--processes=complex.npy'], 'complex.npy is not an array of numbers'),
    (['--processes=archive.npy'], 'archive.npy is not an array of numbers'),
    (['--processes=negative.npy'], 'must be probabilities that sum to 1; the least is -0.5'),
    (['--processes=markov:1', '--markov_vocab=70000'], '--markov_vocab 8 to 1000'),
    (['--documents_per_process=1'], '--documents_per_process at least 10'),
])
def test_a_mistake_in_a_process_writes_nothing(tmp_path, monkeypatch, fails, args, says):
    monkeypatch.chdir(tmp_path)
    np.save('leaky.npy', coin(0.5) * 0.9)
    np.save('negative.npy', np.array([[[1.5]], [[-0.5]]]))
    np.save('split.npy', edges((0, 0, 0, 1.0), (1, 1, 1, 1.0)))
    np.save('flat.npy', np.ones((2, 2)))
    np.save('huge.npy', np.full((65535, 1, 1), 1 / 65535))
    np.save('none.npy', np.ones((0, 2, 2)))
    np.save('complex.npy', coin(0.5) * 1j)
    np.savez('archive.npz', coin(0.5))
    os.rename('archive.npz', 'archive.npy')
    assert says in fails('prepare.py', '--source=synthetic', '--dataset=bad', *args)
    assert not os.path.exists('data')

def test_a_rounded_process_is_normalised(tmp_path):
    """Else the missing mass of a float32 row goes to a symbol that cannot occur, and its Bayes loss
    is infinite.
    """
    process = edges((0, 0, 1, 1 / 3), (1, 0, 0, 2 / 3), (1, 1, 0, 1.0))
    np.save(f'{tmp_path}/rounded.npy', process.astype(np.float32) * (1 - 5e-7))
    process = build_processes(f'{tmp_path}/rounded.npy', 16, 0)['rounded']
    np.testing.assert_allclose(process.sum((0, 2)), 1, atol=1e-15)

def test_transient_states_are_no_second_component():
    process = edges((0, 0, 1, 1.0), (1, 1, 1, 0.5), (0, 1, 1, 0.5))
    np.testing.assert_allclose(stationary(process), [0, 1], atol=1e-12)

def load_config(name):
    with open(f'out/{name}/config.json') as f:
        return json.load(f)

def read_rows(name):
    with open(f'results/{name}.csv', newline='') as f:
        return list(csv.DictReader(f))

@pytest.fixture
def synthetic(tmp_path, monkeypatch):
    """Prepares, trains, evaluates in an empty folder: the rows of xe_by_position and xe_vs_k."""
    monkeypatch.chdir(tmp_path)

    def check(processes, k, *args):
        run('prepare.py', '--source=synthetic', '--dataset=s', f'--processes={processes}',
            '--markov_vocab=8', '--documents_per_process=200', '--document_length=1024')
        run('train.py', '--dataset=s', '--candidates=', f'--k={k}', '--n_layer=1', '--n_head=1',
            '--dropout=0.0', '--device=cpu', '--compile=False', '--epochs=1', '--batch_size=32',
            '--warmup_iters=10', '--min_lr=1e-4', '--eval_interval=100',
            '--val_windows_per_component=64', *args)
        run('eval_xe.py', '--windows_per_component=1024')
        return read_rows('xe_by_position'), read_rows('xe_vs_k')
    return check

def test_coins_reach_bayes(synthetic):
    """Coins K = 4: within .01 nats of the exact optimum on average, and in every bin."""
    by_position, vs_k = synthetic('coins:4', 4, '--n_embd=32', '--block_size=64',
                                  f'--token_budget={32 * 64 * 150}', '--learning_rate=6e-3')
    assert len({r['component'] for r in by_position}) == 4
    excess = np.zeros(64)  # of each position, the mean over components
    for r in by_position:
        excess[int(r['position'])] += (float(r['xe']) - float(r['bayes_xe'])) / 4
    assert abs(excess.mean()) < 0.01
    assert max(abs(excess[log_bins(64) == b].mean()) for b in range(7)) < 0.01
    assert float(vs_k[0]['excess']) == pytest.approx(excess.mean(), abs=1e-4)
    assert float(vs_k[0]['unigram_xe']) == pytest.approx(math.log(2))

def test_markov_reaches_its_rate(synthetic):
    by_position, _ = synthetic('markov:1', 1, '--n_embd=64', '--block_size=32',
                               f'--token_budget={32 * 32 * 150}', '--learning_rate=1e-2')
    xe = [float(r['xe']) for r in by_position]
    bayes = [float(r['bayes_xe']) for r in by_position]
    assert xe[0] == pytest.approx(math.log(8), abs=0.05)
    assert np.mean(np.array(xe[1:]) - np.array(bayes[1:])) < 0.02  # on the same windows
    assert np.mean(xe[1:]) == pytest.approx(1.75 * math.log(2), abs=0.02)

def test_the_parts_of_delta_xe(tmp_path, monkeypatch, capsys):
    """Trains a mixture of two chains, then what it is compared with. The parts add up to ΔXE in the
    CSV, the least possible ambiguity is theory's, the specialist mixture starts from 1/2 and finds
    the component, fits and tests are there, and no run is missing any more.
    """
    monkeypatch.chdir(tmp_path)
    run('prepare.py', '--source=synthetic', '--dataset=s', '--processes=markov:2',
        '--markov_vocab=8', '--documents_per_process=100', '--document_length=512')
    run('train.py', '--dataset=s', '--candidates=', '--k=2', f'--token_budget={32 * 800}',
        '--block_size=32', '--n_layer=1', '--n_head=2', '--n_embd=32', '--dropout=0.0',
        '--device=cpu', '--dtype=float32', '--batch_size=32', '--epochs=4', '--warmup_iters=5',
        '--learning_rate=1e-2', '--eval_interval=50', '--val_windows_per_component=64')
    run('eval_xe.py')
    assert "python sweep.py --parts_of='out/*'" in capsys.readouterr().out
    M = load_config('s-k2-s0')['command'][1:]
    record = read_checkpoint('out/s-k2-s0')['mix']
    for folder, keys in parts_of('out/s-k2-s0', record, load_config('s-k2-s0')).values():
        run('train.py', *M, *(f'--{key}={value}' for key, value in keys.items()),
            '--max_iters=100', f'--out_dir={folder}')
    names = sorted(os.listdir('out'))
    assert len(names) == 1 + 1 + 2 + 2  # M, M_tag, P_c, D_c
    capsys.readouterr()
    run('eval_xe.py', '--dump=True')
    assert 'sweep.py' not in capsys.readouterr().out
    configs = {name: load_config(name) for name in names}
    assert {config['max_iters'] for config in configs.values()} == {100}

    rows = read_rows('decomposition')
    assert len(rows) == 1 + 32 + 2
    for row in rows:
        terms = sum(float(row[term]) for term in ('dilution', 'transfer', 'ambiguity'))
        assert terms == pytest.approx(float(row['delta_xe']), abs=1e-6)
    at = {row['position']: row for row in rows if not row['component']}
    bayes = sum(float(at[str(t)]['bayes_ambiguity']) for t in range(32))
    assert bayes == pytest.approx(math.log(2), abs=0.02)
    assert float(at['']['bayes_ambiguity']) * 32 == pytest.approx(bayes)
    row, = [row for row in read_rows('xe_vs_k') if row['k'] == '2' and row['ambiguity']]
    assert float(row['efficiency']) == pytest.approx(
        float(row['bayes_ambiguity']) / float(row['ambiguity']))
    (_, tables), = read_settings_shown('results').values()
    assert draw_parts('', tables)
    plt.close('all')

    # the studies
    known = {}
    for part, stem in (('diluted', 'posterior'), ('specialist', 'posterior-specialist')):
        run('studies/posterior.py', '--compile=False', f'--part={part}')
        rows = read_rows(stem)
        assert len(rows) == 1 + 32 + 2 and os.path.getsize(f'results/{stem}-s.png') > 10000
        for row in rows:
            for name in ('specialist_gap', 'posterior'):
                low, x, high = (float(row[f'{name}{end}']) for end in ('_ci_low', '', '_ci_high'))
                assert low <= x <= high
        at = {row['position']: row for row in rows if not row['component']}
        known[part] = [float(at[t]['posterior']) for t in ('0', '31')]
        assert known[part][0] == pytest.approx(0.5) and known[part][1] > 0.9
        assert sum(float(at[str(t)]['specialist_gap']) for t in range(32)) <= math.log(2)
    assert known['diluted'] != known['specialist']
    run('studies/decay.py')
    fitted = {(row['setting'], row['k']): row for row in read_rows('decay')}
    assert len(fitted) == len(read_rows('xe_vs_k')) and 'better_fit' in next(iter(fitted.values()))
    assert all(float(row['power_error']) > 0 for row in fitted.values())
