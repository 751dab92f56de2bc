"""The evaluation: its statistics on numbers whose answer is known, and which runs it compares."""
import csv
import fcntl
import gc
import glob
import json
import math
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import MODEL, TRAIN, run

import configurator
import eval_xe
from curves import (
    Curve,
    average,
    cluster_bootstrap,
    fit_columns,
    fit_decay,
    holm,
    log_bins,
    mean_over_runs,
    resamples,
    t_interval,
)
from model import GPT
from processes import build_processes, component_losses, mixture_losses, sample_process


def clustered(n_docs=400, per_doc=5, seed=0):
    """
    Windows whose documents differ with variance 1 and that differ within one by .25:
    (xe (N, 3), doc (N,)).
    """
    rng = np.random.default_rng(seed)
    doc = np.repeat(np.arange(n_docs), per_doc)
    return 5 + rng.normal(size=(n_docs, 1))[doc] + 0.5 * rng.normal(size=(len(doc), 3)), doc


def test_mean_is_over_windows_and_its_error_is_over_documents():
    xe, doc = clustered()
    mean, boot, _ = cluster_bootstrap(xe, doc, 'a')
    np.testing.assert_allclose(mean, xe.mean(0))
    expected = math.sqrt((1 + 0.25 / 5) / 400)  # as if windows were independent: sqrt(1.25 / 2000)
    np.testing.assert_allclose(boot.std(0), expected, rtol=0.15)
    low, high = Curve(mean, boot).ci()
    np.testing.assert_allclose(high - low, 2 * 1.96 * expected, rtol=0.2)


def test_windows_weigh_the_same_in_documents_of_any_length():
    xe, doc = np.array([[1.0], [1.0], [1.0], [5.0]]), np.array([7, 7, 7, 9])
    mean, boot, _ = cluster_bootstrap(xe, doc, 'a')
    assert mean == 2.0
    assert {round(float(b), 5) for b in boot[:, 0]} == {1.0, 2.0, 5.0}  # 7 7, 7 9, 9 9


def test_one_document_gives_no_interval():
    mean, boot, folds = cluster_bootstrap(np.array([[1.0], [2.0]]), np.array([3, 3]), 'a')
    assert mean == 1.5 and np.isnan(boot).all() and np.isnan(folds).all()


def test_resamples_are_paired():
    """Two runs on the same windows: the constant between them has an interval of no width."""
    xe, doc = clustered()
    a, b = (cluster_bootstrap(x, doc, 'a') for x in (xe, xe + 0.5))
    np.testing.assert_allclose([(b - a).mean, *(b - a).ci()], 0.5, atol=1e-5)
    assert (a.boot.std(0) > 0.03).all()


def test_resamples_are_the_same_in_every_process_and_others_for_every_component():
    once, other = resamples(9, 'a'), resamples(9, 'b')
    resamples.cache_clear()
    assert np.array_equal(once, resamples(9, 'a')) and not np.array_equal(once, other)
    assert (once.sum(1) == 9).all()


def test_t_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [t_interval(rng.normal(size=4)) for _ in range(4000)]
    covered = [low < 0 < high for low, high in intervals]
    assert abs(np.mean(covered) - 0.95) < 0.012


def test_simultaneous_band_holds_whole_curves():
    """Of the resampled curves 95% lie inside at every position; of a pointwise band far fewer."""
    rng = np.random.default_rng(0)
    boot = rng.normal(size=(1000, 50))
    curve = Curve(np.zeros(50), boot)
    low, high = curve.band()
    assert abs(((boot > low) & (boot < high)).all(1).mean() - 0.95) < 0.01
    assert (high > 1.5 * curve.ci()[1]).all()


def test_intervals_cover_as_often_as_they_say():
    """
    1,000 experiments on 80 documents of 1 to 8 windows, whose mean is known: 95% intervals hold it
    93 to 97 times in 100.
    """
    rng, covered = np.random.default_rng(0), []
    for _ in range(1000):
        doc = np.repeat(np.arange(80), rng.integers(1, 9, 80))
        xe = 5 + rng.normal(size=(80, 1))[doc] + 0.7 * rng.normal(size=(len(doc), 1))
        low, high = cluster_bootstrap(xe, doc, 'coverage').ci()
        covered.append(low < 5 < high)
    assert 0.93 <= np.mean(covered) <= 0.97


def noisy(curve):
    return Curve(curve, curve + 1e-4 * np.random.default_rng(0).normal(size=(200, len(curve))))


def test_holm_by_hand():
    """Sorted .005, .01, .03, .04, times 4, 3, 2, 1, and none less than the one before."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.7, 0.6]), [1, 1])


def test_fits_recover_what_made_the_curve():
    n = np.arange(100)
    power, exponential = 2 + 0.7 * np.maximum(n, 1.0)**-0.8, 2 + 0.7 * np.exp(-n / 9)
    for curve, better, c in ((power, 'power', 0.8), (exponential, 'exponential', 9)):
        fits = fit_decay(noisy(curve))
        assert min(fits, key=lambda form: fits[form][3][0]) == better
        assert [fits[better][i][0] for i in range(3)] == pytest.approx([2, 0.7, c], rel=0.06)
        other, = fits.keys() - {better}
        assert (fits[better][3] < fits[other][3]).all()


def coins_xe(K, T=100):
    """The exact Bayes XE (T,) of the mixture of K coins, minus its limit, the mean entropy rate."""
    p = np.linspace(0.05, 0.95, K)[:, None]
    loss = np.empty(T)
    for t in range(T):  # after t tosses of which m were ones, P(one) is the posterior mean of p
        m = np.arange(t + 1)
        choose = np.array([math.lgamma(t + 1) - math.lgamma(i + 1) - math.lgamma(t - i + 1)
                           for i in m])
        joint = np.exp(choose + m * np.log(p) + (t - m) * np.log(1 - p)) / K  # (K, t + 1)
        one = (joint * p).sum(0) / joint.sum(0)
        loss[t] = joint.sum(0) @ -(one * np.log(one) + (1 - one) * np.log(1 - one))
    return loss + np.mean(p * np.log(p) + (1 - p) * np.log(1 - p))


def test_many_coins_decay_as_a_power_and_two_exponentially():
    """
    Many coins are one unknown parameter, which costs 1 / (2 n) nats in the end (Riechers et al.
    2505.18373); few are told apart exponentially fast. From n = 1 on the power is lower than 1, for
    n XE(n) rises all the way: .11, .34, .46, .49 at n = 1, 8, 64, 399.
    """
    many, two = coins_xe(200, 400), coins_xe(2)
    limits = [n * many[n] for n in (1, 8, 64, 399)]
    assert limits == pytest.approx([0.114, 0.335, 0.456, 0.486], abs=1e-3)
    assert two[::8][:4] == pytest.approx([0.693147 - 0.198515, 0, 0, 0], abs=1e-3)
    for curve, better in ((many[:100], 'power'), (two[:60], 'exponential')):
        fits = fit_decay(noisy(curve))
        errors = {form: fits[form][3] for form in fits}
        other, = errors.keys() - {better}
        assert (errors[better] < 0.4 * errors[other]).all()


def test_bins_of_positions_double():
    assert log_bins(17).tolist() == [0, 1, 2, 2, *[3] * 4, *[4] * 8, 5]
    assert log_bins(9, 2).tolist() == [0, 1, 3, 4, 5, 5, 6, 6, 7]  # a factor of sqrt 2 each


def test_one_run_has_an_interval_over_documents_and_several_over_runs():
    one, two = Curve(1.0, np.linspace(0, 2, 1001)), Curve(2.0, np.linspace(1, 3, 1001))
    mean, ends, kind = mean_over_runs([one], [('a', 'b')])
    assert kind == 'documents' and list(ends) == pytest.approx([0.05, 1.95])
    for sets, name in (([('a', 'b')] * 2, 'seeds'), ([('a', 'b'), ('a', 'c')], 'draws')):
        mean, (low, high), kind = mean_over_runs([one, two], sets)  # t of 1 degree of freedom: 12.7
        assert (mean, low, high) == pytest.approx((1.5, 1.5 - 6.3531, 1.5 + 6.3531), abs=1e-3)
        assert kind == name
    assert mean_over_runs([one, two], [('a',), ('b',)])[2] == 'documents'


def test_more_seeds_of_a_set_are_no_more_draws_and_specialists_no_draws_at_all():
    """
    Sets spread by 1 and seeds by .1. Another draw's interval is that of the sets' means, as wide
    with two seeds as with ten. That of these components holds their own mean 95 times in 100.
    """
    rng, blank = np.random.default_rng(0), np.full(2, np.nan)

    def run_of(mean):
        return Curve(mean + 0.1 * rng.normal(), blank)
    widths, covered = [], {1: [], 2: []}
    for n_seeds in (2, 10):
        sets = [(f'{i}', 'x') for i in range(5) for _ in range(n_seeds)]
        _, (low, high), kind = mean_over_runs([run_of(int(i)) for i, _ in sets], sets)
        assert kind == 'draws'
        widths.append(high - low)
    assert widths == pytest.approx([2 * 2.7764 * math.sqrt(2.5 / 5)] * 2, rel=0.1)
    for size in (1, 2):  # eight specialists with unequal numbers of seeds; one pair with four
        sets = [('0', '1')] * 4
        if size == 1:
            sets = [(str(i),) for i in range(8) for _ in range(2 + i % 2)]
        truth = np.mean([int(names[0]) for names in {*sets}])
        for _ in range(1000):
            _, (low, high), kind = mean_over_runs([run_of(int(x[0])) for x in sets], sets)
            covered[size].append(low < truth < high)
        assert kind == 'seeds' and abs(np.mean(covered[size]) - 0.95) < 0.02


def experiment(curve, seed, n_docs=400):
    """A Curve of n_docs documents that differ in their level much more than in their form."""
    rng = np.random.default_rng(seed)
    xe = curve + rng.normal(size=(n_docs, 1)) + 0.5 * rng.normal(size=(n_docs, len(curve)))
    return cluster_bootstrap(xe, np.arange(n_docs), 'fits')


def test_fits_weigh_bins_by_their_covariance_and_held_out_documents_decide():
    """
    A true form's error is a chi-squared of bins - 3 degrees of freedom. Documents that were held
    out tell a power from an exponential where they differ, and say so where they do not.
    """
    n = np.arange(100)
    power, flat = 2 + 1.2 * np.maximum(n, 1.0)**-0.8, np.full(100, 2.0)
    exponential = 2 + 1.2 * np.exp(-n / 9)
    dof = log_bins(100, 2).max() + 1 - 2 - 3  # bins 0 and 2 are empty or left out
    errors, verdicts = [], {'power': [], 'exponential': [], 'flat': []}
    for seed in range(20):
        for name, curve in (('power', power), ('exponential', exponential), ('flat', flat)):
            row = fit_columns(experiment(curve, seed))
            verdicts[name].append(row['better_fit'])
            errors += [row[f'{name}_error']] if name != 'flat' else []
    assert np.mean(errors) == pytest.approx(dof, rel=0.25)
    assert verdicts['power'].count('power') >= 18, verdicts
    assert verdicts['exponential'].count('exponential') >= 18, verdicts
    assert verdicts['flat'].count('not decided') >= 16, verdicts


def test_parts_on_known_predictors(monkeypatch):
    """
    Where every model is the optimum for what it knows, nothing is diluted or transferred and all
    ambiguity is Bayes' own.
    """
    processes = list(build_processes('markov:4', 8, 0).values())
    rng, curves, summed = np.random.default_rng(0), {'M': {}, 'P': {}}, []
    for i, process in enumerate(processes):
        w = sample_process(process, 300, 64, rng)
        losses = np.stack([component_losses(p, w) for p in processes])
        mixture, unit = mixture_losses(losses), np.arange(300)
        best = cluster_bootstrap(mixture, unit, 'p')
        curves['P'][str(i)] = {'xe': cluster_bootstrap(losses[i], unit, 'p')}
        curves['M'][str(i)] = {
            'xe': best, 'bayes': best,
            'bayes_ambiguity': cluster_bootstrap(mixture - losses[i], unit, 'p')}
        summed.append((mixture - losses[i]).sum(1))
    specialist, components = {'folder': 'P'}, list(curves['M'])
    parts = {part: dict.fromkeys(components, specialist) for part in ('specialist', 'diluted')}
    monkeypatch.setattr(eval_xe, 'specialist_mixture', lambda *args: {})
    mixture = {'folder': 'M', 'mix': {'components': components}}
    by_component = eval_xe.decompose(mixture, parts | {'tagged': {'': specialist}}, curves, None)
    mean = average(list(by_component.values()))
    assert not mean['dilution'].mean.any() and not mean['transfer'].mean.any()
    np.testing.assert_allclose(mean['ambiguity'].mean, mean['bayes_ambiguity'].mean, atol=1e-12)
    terms = sum(mean[term].mean for term in ('dilution', 'transfer', 'ambiguity'))
    np.testing.assert_allclose(mean['delta'].mean, terms, atol=1e-12)
    assert np.max(summed) <= math.log(4) + 1e-9  # in every window
    assert mean['ambiguity'].mean.sum() == pytest.approx(math.log(4), abs=0.02)


# ---- which runs are compared, and by which code they are evaluated


@pytest.fixture
def one_run(small, tmp_path, monkeypatch):
    """Works in a folder with data/ and out/first. Returns copy_run(to, **changes of change_run)."""
    if not os.path.exists('eval/first'):
        run('train.py', *TRAIN, '--components=a', '--max_iters=3', '--out_dir=eval/first')
    os.symlink(small / 'data', tmp_path / 'data')
    shutil.copytree('eval/first', tmp_path / 'out/first')
    monkeypatch.chdir(tmp_path)
    change_run('out/first')

    def copy_run(to, **changes):
        shutil.copytree('out/first', f'out/{to}', ignore=shutil.ignore_patterns('*.npz'))
        change_run(f'out/{to}', **changes)
    return copy_run


def change_run(folder, without=(), code=None, steps=3, **keys):
    """Changes what a run's checkpoints say: keys of its config, its code and its steps."""
    for name in ('ckpt.pt', 'best.pt'):
        checkpoint = torch.load(f'{folder}/{name}', weights_only=True)
        config = {key: x for key, x in checkpoint['config'].items() if key not in without} | keys
        checkpoint |= {'config': config, 'code': code or {}, 'iter_num': steps}
        torch.save(checkpoint, f'{folder}/{name}')
    with open(f'{folder}/config.json', 'w') as f:
        json.dump(config, f)


def evaluate(*args):
    """Runs eval_xe.py; returns its rows of xe_vs_k.csv and of xe_by_component.csv."""
    run('eval_xe.py', *args)
    tables = []
    for name in ('xe_vs_k', 'xe_by_component'):
        with open(f'results/{name}.csv', newline='') as f:
            tables.append(list(csv.DictReader(f)))
    return tables


def today(**changed):
    """What a run of today says of its code in config.json."""
    names = ('model.py', 'sample_mix.py', 'train.py')
    return {name: configurator.code_hash(name) for name in names} | changed


def test_runs_that_differ_in_a_new_key_are_told_apart(one_run, capsys):
    """A key that train.py does not have yet: one run knows it, the other does not."""
    one_run('rope', rope='yarn x=4')
    vs_k, _ = evaluate()
    assert [row['n_runs'] for row in vs_k] == ['1', '1']
    assert sorted(row['setting'] for row in vs_k) == ["'rope=yarn x=4'", 'rope=None']
    out = capsys.readouterr().out
    assert 'repeats' not in out and 'rope=yarn x=4\nrope\n' in out and 'rope=None\nfirst\n' in out
    assert len(glob.glob('results/xe_vs_k-rope=*.png')) == 2


def test_a_run_that_does_not_know_a_key_has_its_default(one_run):
    one_run('other_seed', without=('constant_per_component', 'patience'), seed=1)
    vs_k, _ = evaluate()
    assert [(row['n_runs'], row['setting']) for row in vs_k] == [('2', '')]


def test_keys_that_move_no_number_tell_nothing_apart(one_run, capsys):
    one_run('elsewhere', out_dir='out/elsewhere', compile=True, log_interval=7, device='cuda')
    vs_k, _ = evaluate()
    assert [row['n_runs'] for row in vs_k] == ['1']
    assert 'out/first repeats out/elsewhere: left out' in capsys.readouterr().out


def test_runs_of_other_code_are_told_apart(one_run, capsys):
    one_run('new', code=today())
    one_run('hacked', code=today(**{'train.py': '0' * 8}))
    vs_k, _ = evaluate()
    settings = {row['setting'] for row in vs_k}
    assert len(settings) == 3 and all(setting.startswith('code=') for setting in settings)
    assert '1 of 3 runs do not say what code they were trained with' in capsys.readouterr().out


def test_no_run_is_evaluated_by_the_model_of_another(one_run, capsys, fails):
    one_run('new', code=today())
    one_run('other', code=today(**{'model.py': 'ab12ab12'}))
    _, by_component = evaluate()
    assert {row['run'] for row in by_component} == {'first', 'new'}
    assert 'trained with another model.py (ab12ab12): out/other; set' in capsys.readouterr().out
    assert not os.path.exists('out/other/losses-test-best.npz')
    assert 'no run that this model.py can evaluate' in fails('eval_xe.py', '--runs=out/other')


def test_the_cache_knows_the_code(one_run, monkeypatch, capsys):
    """After a change of model.py an old run is evaluated anew, one of before from its cache."""
    one_run('new', code=today())
    one_run('not_evaluated', code=today(), seed=1)
    _, before = evaluate('--runs=out/first,out/new')
    original, loaded, load = configurator.code_hash, [], torch.load
    monkeypatch.setattr(torch, 'load', lambda path, **k: (
        'ckpt.pt' in path or loaded.append(path), load(path, **k))[1])
    evaluate('--runs=out/first,out/new')
    assert loaded == []
    monkeypatch.setattr(configurator, 'code_hash', lambda path: 'changed' * (path == 'model.py')
                        or original(path))
    _, after = evaluate()
    assert loaded == ['out/first/best.pt']
    assert [row['xe'] for row in after] == [row['xe'] for row in before]
    assert 'model.py (' in (out := capsys.readouterr().out) and '): out/not_evaluated;' in out
    monkeypatch.setattr(configurator, 'code_hash', lambda path: 'changed' * (
        path == 'sample_mix.py') or original(path))
    evaluate()
    names = ('first', 'new', 'not_evaluated')
    assert sorted(loaded[1:]) == [f'out/{name}/best.pt' for name in names]


def test_a_checkpoint_of_other_code_than_its_config_is_refused(one_run, fails):
    one_run('new', code=today())
    checkpoint = torch.load('out/new/best.pt', weights_only=True)
    torch.save(checkpoint | {'code': today(**{'model.py': 'ab12ab12'})}, 'out/new/best.pt')
    assert 'is not of the run' in fails('eval_xe.py', '--runs=out/new')


def test_nine_shapes_of_model_are_evaluated_in_one_call(one_run, monkeypatch):
    compile = torch.nn.Module.compile  # with the code generator left out, which takes a minute
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, **k: compile(
        self, backend='aot_eager', **k | {'mode': None}))
    torch._dynamo.reset()
    checkpoint = torch.load('out/first/best.pt', weights_only=True)
    for n_embd in range(4, 40, 4):
        one_run(f'width{n_embd}', n_embd=n_embd)
        args = checkpoint['model_args'] | {'n_embd': n_embd}
        torch.save(checkpoint | {'model': GPT(**args).state_dict(), 'model_args': args},
                   f'out/width{n_embd}/best.pt')
    _, by_component = evaluate('--runs=out/width*', '--compile=True', *MODEL[-2:])
    assert len(by_component) == 9


def hold(path):
    """Holds a lock as another process would; returns the file to close."""
    gc.collect()  # a run of train.py in this process lets go of it
    f = open(path, 'w')
    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return f


def test_unfinished_runs_are_left_out_unless_asked_for(one_run, capsys, fails):
    one_run('half', seed=1, steps=2)
    one_run('now', seed=2)
    one_run('bad', seed=3, steps=1)
    for folder, step in (('bad', 2), ('half', 1)):  # half went on past its bad step
        with open(f'out/{folder}/nonfinite.json', 'w') as f:
            json.dump({'step': step}, f)
    held = hold('out/now/lock')
    _, by_component = evaluate()
    out = capsys.readouterr().out
    assert [(row['run'], row['unfinished']) for row in by_component] == [('first', 'False')]
    assert ('left out, unfinished: out/bad (ended by a number that is not finite, 1 of 3 steps),'
            ' out/half (2 of 3 steps), out/now (being trained, 3 of 3 steps);'
            ' --unfinished=True takes them') in out and 'not finished' not in out
    assert 'no finished run there' in fails('eval_xe.py', '--runs=out/half')
    vs_k, by_component = evaluate('--unfinished=True')
    assert (vs_k[0]['n_runs'], vs_k[0]['unfinished']) == ('4', '3')
    assert {row['run']: row['unfinished'] for row in by_component} == {
        'first': 'False', 'half': 'True', 'now': 'True', 'bad': 'True'}
    assert 'K = 1: 3 of 4 runs not finished' in capsys.readouterr().out
    held.close()


def test_a_run_is_what_its_checkpoint_says(one_run, capsys):
    """Of a second seed, whose config.json is of another run: named, and in no table."""
    one_run('mixed', seed=1)
    one_run('bare', seed=2)
    for name in ('config.json', 'mix.json'):
        os.remove(f'out/bare/{name}')
    shutil.copy('out/first/config.json', 'out/mixed/config.json')
    os.remove('out/first/best.pt')
    _, by_component = evaluate()
    assert [(row['run'], row['seed']) for row in by_component] == [('bare', '2')]
    out = capsys.readouterr().out
    assert 'another run than their ckpt.pt: out/mixed' in out
    assert 'left out, without best.pt: out/first' in out


@pytest.mark.parametrize('content', [b'\xff\xfe', b'{"seed": NaN}', b'[' * 10**5])
def test_a_config_json_that_cannot_be_read_is_of_another_run(one_run, capsys, content):
    one_run('odd', seed=1)
    with open('out/odd/config.json', 'wb') as f:
        f.write(content)
    with open('out/first/nonfinite.json', 'w') as f:
        f.write('{"step": "x"}')
    _, by_component = evaluate()
    assert [row['run'] for row in by_component] == ['first']
    assert 'another run than their ckpt.pt: out/odd' in capsys.readouterr().out


def test_a_run_whose_best_step_is_0_is_named_under_the_table(one_run, capsys):
    one_run('untrained', seed=1)
    assert 'untrained' not in '\n'.join(map(str, evaluate('--runs=out/first')))
    capsys.readouterr()
    for name in ('ckpt.pt', 'best.pt'):
        checkpoint = torch.load(f'out/untrained/{name}', weights_only=True)
        torch.save(checkpoint | {'best_iter': 0}, f'out/untrained/{name}')
    vs_k, _ = evaluate()
    assert vs_k[0]['n_runs'] == '2'
    with open('results/table.txt', encoding='utf-8') as f:
        table = f.read()
    assert table in capsys.readouterr().out
    assert 'the best step of 1 of 2 runs is 0' in table and table.endswith(': out/untrained\n')


def test_losses_that_are_not_what_was_written_are_computed_anew(one_run, capsys):
    """Zeros, NaN, whole numbers, another shape, a cut file: one line, and the same results."""
    _, before = evaluate()
    path = 'out/first/losses-test-best.npz'
    with np.load(path) as f:
        cached = dict(f)
    name, = cached.keys() - {'digest'}
    x, shapes = cached[name], {name: cached[name].shape}
    right, = eval_xe.read_cache(path, name, shapes)[0].values()
    assert np.array_equal(right, x)
    wrong = [(y, cached['digest']) for y in (0 * x, np.nan * x, x.astype(int), x[:, :3])]
    wrong += [(y, eval_xe.digest_of({name: y})) for y, _ in wrong[1:]]  # with a digest of its own
    for y, digest in wrong:
        np.savez(path, **{name: y, 'digest': digest})
        assert eval_xe.read_cache(path, name, shapes) == ({}, True)
    capsys.readouterr()
    for says in (f'{path} is damaged: its losses are computed anew', ''):
        _, after = evaluate()
        out = capsys.readouterr().out
        assert after == before and says in out and ('damaged' in out) is bool(says)
    os.truncate(path, 100)
    assert eval_xe.read_cache(path, name, shapes) == ({}, True)
    assert eval_xe.read_cache('nowhere.npz', name, shapes) == ({}, False)


def test_long_windows_go_through_the_model_a_few_at_a_time():
    """At 1,024 tokens 256 windows took over 6 GB on a CPU."""
    assert [eval_xe.windows_at_once(T) for T in (16, 100, 1024, 10**5)] == [256, 256, 16, 1]


def test_a_folder_that_cannot_be_written_is_evaluated(one_run, monkeypatch, capsys):
    access = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: path != 'out/first' and access(path, mode))
    _, by_component = evaluate()
    assert [row['run'] for row in by_component] == ['first']
    assert not glob.glob('out/first/*.npz')
    assert 'so losses are not kept: out/first\n' in capsys.readouterr().out


def test_one_evaluation_writes_a_folder_at_a_time(one_run, monkeypatch, fails):
    """The second waits for the first, which ends when it says so; a drawing does not wait."""
    os.makedirs('results')
    held, lines = hold('results/.lock'), []
    assert 'results is being written by another process' in fails('plot_xe.py')
    assert os.listdir('results') == ['.lock']
    monkeypatch.setattr(configurator, 'print', lambda line, **keys: (
        lines.append(line), held.close()), raising=False)
    evaluate()
    assert lines == ['results is being written by another process: waiting for it']


def test_data_that_are_replaced_meanwhile_are_noticed(one_run, monkeypatch, fails):
    shutil.copytree('data', 'copy')
    os.remove('data')
    os.rename('copy', 'data')
    load = torch.load

    def replace(path, **keys):
        if path.endswith('best.pt'):
            with open('data/small/meta.json') as f:
                meta = json.load(f)
            meta['components']['a']['test']['bytes'] += 1
            with open('data/small/meta.json', 'w') as f:
                json.dump(meta, f)
        return load(path, **keys)
    monkeypatch.setattr(torch, 'load', replace)
    assert 'was replaced while it was read' in fails('eval_xe.py')
    assert not os.path.exists('results/xe_vs_k.csv')


ODD = ['C++', '$\\bad$', "it's", 'World News', '[abc]', '$(touch pwned)', '`touch pwned`', 'a/b',
       'R&D', '100%']


def test_any_name_is_evaluated_drawn_and_quoted(small, tmp_path, monkeypatch):
    """
    Components with names that shells, patterns and matplotlib read otherwise. A stand-in for python
    notes the arguments that a shell gives it from missing.txt.
    """
    with open('data/small/meta.json') as f:
        meta = json.load(f)
    facts = meta['components']['a']
    for name in ODD:
        shutil.copytree('data/small/a', tmp_path / 'data/odd' / configurator.safe_name(name))
    (tmp_path / 'data/odd/meta.json').write_text(json.dumps(
        meta | {'dataset': 'odd', 'components': dict.fromkeys(ODD, facts)}))
    monkeypatch.chdir(tmp_path)
    run('train.py', *TRAIN, '--dataset=odd', f'--components={",".join(ODD)}', '--max_iters=1',
        '--token_budget=1600', '--out_dir=out/[abc]')
    vs_k, by_component = evaluate('--runs=out/[abc]')
    assert sorted(row['component'] for row in by_component) == sorted(ODD)
    assert vs_k[0]['k'] == str(len(ODD)) and os.path.exists('results/xe_vs_k.png')
    os.makedirs('bin')
    with open('bin/python', 'w') as f:
        f.write(f'#!{sys.executable}\nimport json, sys\n'
                'print(json.dumps(sys.argv[1:]), file=open("args", "a"))\n')
    os.chmod('bin/python', 0o755)
    subprocess.run("tr '\\n' '\\0' < results/missing.txt | xargs -0 -n1 sh -c", shell=True,
                   check=True, env=os.environ | {'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}'})
    with open('args') as f:
        given = [json.loads(line) for line in f]
    named = [arg.removeprefix('--components=').split(',') for args in given for arg in args
             if arg.startswith('--components=')]
    assert set(sum(named, [])) == set(ODD)
    assert not os.path.exists('pwned') and len(given) == 2 * len(ODD) + 1


def test_missing_runs_are_trained_by_their_commands(small, tmp_path, monkeypatch, capsys):
    """Settings that are not train.py's, a folder with a space: the commands are those needed."""
    run('train.py', *TRAIN, '--k=2', '--max_iters=2', '--token_budget=320',
        '--out_dir=eval/a mixture')
    monkeypatch.chdir(small)
    _, by_component = evaluate('--runs=eval/a mixture')
    out = capsys.readouterr().out
    assert 'small: ΔXE of K = 2 lacks 2 specialist runs' in out
    assert 'decomposition.csv has no rows' in out
    assert out.index('python train.py') < out.index('icl_score')
    with open('results/missing.txt') as f:
        commands = f.read().splitlines()
    assert len(commands) == 5 and 'results/missing.txt has the 5 commands' in out
    assert [f'  {command}' in out for command in commands] == [True] * 3 + [False] * 2
    for command in commands:
        run('train.py', *shlex.split(command)[2:])
    os.rename('eval/a mixture-tag', 'eval/a mixture, too')
    part = torch.load('eval/a mixture, too/ckpt.pt', weights_only=True)  # killed after one step
    torch.save(part | {'iter_num': 1}, 'eval/a mixture, too/ckpt.pt')
    held = hold('eval/a mixture, too/lock')
    evaluate('--runs=eval/a mixture*')
    assert 'lacks 1 tagged run, 1 of them begun and not finished' in capsys.readouterr().out
    assert not os.path.exists('results/missing.txt')  # it is being trained
    held.close()
    evaluate('--runs=eval/a mixture*')
    with open('results/missing.txt') as f:
        command, = f.read().splitlines()
    assert shlex.split(command)[-1] == '--out_dir=eval/a mixture, too'
    run('train.py', *shlex.split(command)[2:])
    vs_k, _ = evaluate('--runs=eval/a mixture*')
    assert [row['k'] for row in vs_k if row['ambiguity']] == ['2']
    assert not os.path.exists('results/missing.txt')
