"""The evaluation: its statistics on numbers whose answer is known, and which runs it compares."""
import csv
import fcntl
import gc
import glob
import json
import math
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import MODEL, TRAIN, run

import checkpoint
import configurator
import eval_xe
import plot_xe
import sample_mix
from curves import (Curve, average, cluster_bootstrap, log_bins, mean_over_runs, resamples,
                    summarise, t_interval, tell_apart)
from model import GPT
from processes import build_processes, component_losses, mixture_losses, sample_process
from runs import match_parts, read_run

def clustered(n_docs=400, per_doc=5, seed=0):
    """Windows whose documents differ with variance 1 and that differ within one by .25: (xe (N, 3),
    doc (N,)).
    """
    rng = np.random.default_rng(seed)
    doc = np.repeat(np.arange(n_docs), per_doc)
    return 5 + rng.normal(size=(n_docs, 1))[doc] + 0.5 * rng.normal(size=(len(doc), 3)), doc

def test_mean_is_over_windows_and_its_error_is_over_documents():
    xe, doc = clustered()
    mean, boot = cluster_bootstrap(xe, doc, 'a')
    np.testing.assert_allclose(mean, xe.mean(0))
    expected = math.sqrt((1 + 0.25 / 5) / 400)  # as if windows were independent: sqrt(1.25 / 2000)
    np.testing.assert_allclose(boot.std(0), expected, rtol=0.15)
    low, high = Curve(mean, boot).ci()
    np.testing.assert_allclose(high - low, 2 * 1.96 * expected, rtol=0.2)

def test_windows_weigh_the_same_in_documents_of_any_length():
    xe, doc = np.array([[1.0], [1.0], [1.0], [5.0]]), np.array([7, 7, 7, 9])
    mean, boot = cluster_bootstrap(xe, doc, 'a')
    assert mean == 2.0
    assert {round(float(b), 5) for b in boot[:, 0]} == {1.0, 2.0, 5.0}  # 7 7, 7 9, 9 9

def test_one_document_gives_no_interval():
    mean, boot = cluster_bootstrap(np.array([[1.0], [2.0]]), np.array([3, 3]), 'a')
    assert mean == 1.5 and np.isnan(boot).all()

def test_resamples_are_paired():
    """Two runs on the same windows: the constant between them has an interval of no width."""
    xe, doc = clustered()
    a, b = (cluster_bootstrap(x, doc, 'a') for x in (xe, xe + 0.5))
    np.testing.assert_allclose([(b - a).mean, *(b - a).ci()], 0.5, atol=1e-5)
    assert (a.boot.std(0) > 0.03).all()

def test_resamples_are_the_same_everywhere_and_others_for_every_component():
    once, other = resamples(9, 'a'), resamples(9, 'b')
    assert once[0].tolist() == [1, 2, 1, 0, 2, 0, 2, 1, 0]  # on any machine, any day
    assert (once.sum(1) == 9).all() and not np.array_equal(once, other)

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
    """1,000 experiments on 80 documents of 1 to 8 windows, whose mean is known: 95% intervals hold
    it 93 to 97 times in 100.
    """
    rng, covered = np.random.default_rng(0), []
    for _ in range(1000):
        doc = np.repeat(np.arange(80), rng.integers(1, 9, 80))
        xe = 5 + rng.normal(size=(80, 1))[doc] + 0.7 * rng.normal(size=(len(doc), 1))
        low, high = cluster_bootstrap(xe, doc, 'coverage').ci()
        covered.append(low < 5 < high)
    assert 0.93 <= np.mean(covered) <= 0.97

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
    """Sets spread by 1 and seeds by .1. Another draw's interval is that of the sets' means, as wide
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

def test_parts_on_known_predictors():
    """Where every model is the optimum for what it knows, nothing is diluted or transferred and all
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
    parts = {(part, c): specialist for part in ('specialist', 'diluted') for c in components}
    mixture = {'folder': 'M', 'mix': {'components': components}}
    by_component = eval_xe.decompose(mixture, parts | {('tagged', ''): specialist}, curves)
    mean = average(list(by_component.values()))
    assert not mean['dilution'].mean.any() and not mean['transfer'].mean.any()
    np.testing.assert_allclose(mean['ambiguity'].mean, mean['bayes_ambiguity'].mean, atol=1e-12)
    terms = sum(mean[term].mean for term in ('dilution', 'transfer', 'ambiguity'))
    np.testing.assert_allclose(mean['delta'].mean, terms, atol=1e-12)
    assert np.max(summed) <= math.log(4) + 1e-9  # in every window
    assert mean['ambiguity'].mean.sum() == pytest.approx(math.log(4), abs=0.02)

# ---- which runs are compared, and by which code they are evaluated

@pytest.mark.parametrize('paid', [[0.2], [0.2, 0.4, 0.01] * 20])
def test_efficiency_is_a_ratio_of_means(paid):
    """Of 60 sets, a third of which pays next to nothing, and of one, with the ends of its ratio."""
    rng, members, means = np.random.default_rng(0), [], {}
    for i, x in enumerate(paid):
        members.append({
            'folder': i, 'dataset': 'd', 'setting': '', 'k': 2, 'block_size': 4, 'token_budget': 16,
            'shuffle_components': False, 'unfinished': False,
            'mix': {'of_each': {'a': {'tokens': 8}, f'b{i}': {'tokens': 8}}}})
        means[i] = {name: Curve(np.full(4, y), y + 0.01 * rng.normal(size=(1000, 4)))
                    for name, y in (('xe', 1), ('ambiguity', x), ('bayes_ambiguity', 0.1))}
    row, _ = summarise(members, means)
    ratio = 0.1 / np.mean(paid)
    assert row['efficiency'] == pytest.approx(ratio)
    ends = row['efficiency_ci_low'], row['efficiency_ci_high']
    if len(paid) == 1:
        least, x = (means[0][name].boot.mean(1) for name in ('bayes_ambiguity', 'ambiguity'))
        assert ends == pytest.approx(np.quantile(least / x, (0.025, 0.975)), abs=0.002)
    else:  # the delta method; t of 59 degrees of freedom
        half = 2.0010 * ratio * np.std(paid, ddof=1) / np.mean(paid) / math.sqrt(60)
        assert ends == pytest.approx((ratio - half, ratio + half), rel=1e-4)

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

def change_run(folder, without=(), code=None, steps=3, tensors=None, **keys):
    """Changes what a run's ckpt.pt says, under a new seal: keys of its config, {file: text} of its
    code, its steps; and what holds tensors.
    """
    path = f'{folder}/ckpt.pt'
    saved = torch.load(path, weights_only=True) | (tensors or {})
    plain = {key: saved[key] for key in saved['sealed'] if key != 'seal'}
    plain['config'] = {key: x for key, x in plain['config'].items() if key not in without} | keys
    plain['code'] = [plain['code'][-1] | (code or {})]
    plain = configurator.sealed(plain | {'iter_num': steps})
    torch.save(saved | plain, path)

def evaluate(*args):
    """Runs eval_xe.py; returns its rows of xe_vs_k.csv and of xe_by_component.csv."""
    run('eval_xe.py', *args)
    tables = []
    for name in ('xe_vs_k', 'xe_by_component'):
        with open(f'results/{name}.csv', newline='') as f:
            tables.append(list(csv.DictReader(f)))
    return tables

OTHER = 'x = 1 + 1\n'  # the text of another model.py

@pytest.mark.parametrize('key', ['seed', 'mix_seed', 'n_layer'])
def test_a_mixture_is_compared_with_what_has_its_seeds_and_settings(key):
    def made(value, name, tag=False, **gives):
        numbers = {'seed': 0, 'mix_seed': 0, 'n_layer': 2} | {key: value}
        mix = {'components': [*gives], 'tokens': sum(gives.values()), 'shares': '',
               'of_each': {c: {'tokens': n} for c, n in gives.items()}}
        return numbers | {
            'folder': f'{name}-{value}', 'settings': {'n_layer': numbers['n_layer']}, 'mix': mix,
            'evaluated': [*gives], 'dataset': 'x', 'block_size': 16, 'token_budget': 160,
            'tag': tag, 'shuffle_components': False, 'constant_per_component': False}
    trained = [made(value, name, name == 'tagged', **gives) for value in (5, 6) for name, gives in {
        'M': {'a': 80, 'b': 80}, 'tagged': {'a': 80, 'b': 80}, 'P_a': {'a': 160}, 'P_b': {'b': 160},
        'D_a': {'a': 80}, 'D_b': {'b': 80}}.items()]
    matched = match_parts(trained)
    for value in (5, 6):
        assert {part: run['folder'] for part, run in matched[f'M-{value}'].items()} == {
            ('tagged', ''): f'tagged-{value}',
            ('specialist', 'a'): f'P_a-{value}', ('specialist', 'b'): f'P_b-{value}',
            ('diluted', 'a'): f'D_a-{value}', ('diluted', 'b'): f'D_b-{value}'}
        assert {*matched[f'P_a-{value}']} == {('specialist', 'a')}

def test_runs_that_differ_in_a_new_key_are_told_apart(one_run, capsys):
    """A key that train.py does not have yet: one run knows it, the other does not."""
    one_run('rope', rope='yarn x=4')
    vs_k, _ = evaluate()
    assert [row['n_runs'] for row in vs_k] == ['1', '1']
    assert sorted(row['setting'] for row in vs_k) == ["'rope=yarn x=4'", 'rope=None']
    out = capsys.readouterr().out
    assert 'repeats' not in out and 'rope=yarn x=4\nrope\n' in out and 'rope=None\nfirst\n' in out
    assert len(glob.glob('results/xe_vs_k-rope=*.png')) == 2

def test_runs_in_two_folders_of_one_name_are_two(one_run, monkeypatch):
    one_run('later/first', seed=1)
    drawn = []
    monkeypatch.setattr(plot_xe.plt.Axes, 'scatter', lambda ax, x, y, **_: drawn.append(len(x)))
    vs_k, by_component = evaluate('--runs=out/first,out/later/first')
    assert [row['n_runs'] for row in vs_k] == ['2'] and drawn[0] == 2
    assert {row['run'] for row in by_component} == {'out/first', 'out/later/first'}

def test_a_folder_that_is_not_there_is_named(one_run, capsys):
    evaluate('--runs=out/first,out/frist')
    assert 'left out, no such folder: out/frist\n' in capsys.readouterr().out

def test_a_key_of_the_user_may_be_called_as_what_a_run_has(one_run):
    one_run('keyed', state='warm')
    run = read_run('out/keyed')
    assert (run['config']['state'], run['state']) == ('warm', 'finished')

def test_losses_of_other_windows_or_weights_are_of_another_setting(one_run):
    hashes = [evaluate(*args)[1][0]['setting_hash'] for args in (
        [], ['--batch_size=2'], ['--ckpt=last'], ['--windows_per_component=2'])]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3

def test_a_run_that_does_not_know_a_key_has_its_default(one_run):
    one_run('other_seed', without=('constant_per_component', 'patience'), seed=1)
    vs_k, _ = evaluate()
    assert [(row['n_runs'], row['setting']) for row in vs_k] == [('2', '')]

def test_keys_that_move_no_number_tell_nothing_apart(one_run, capsys):
    one_run('elsewhere', out_dir='out/elsewhere', compile=True, log_interval=7, device='cuda')
    vs_k, _ = evaluate()
    assert [row['n_runs'] for row in vs_k] == ['1']
    assert 'left out, they repeat others: out/first repeats out/else' in capsys.readouterr().out

def test_runs_of_other_code_are_told_apart(one_run):
    one_run('hacked', code={'train.py': OTHER})
    vs_k, _ = evaluate()
    settings = {row['setting'] for row in vs_k}
    assert len(settings) == 2 and all(setting.startswith('code=') for setting in settings)

def test_no_run_is_evaluated_by_the_model_of_another(one_run, capsys, fails):
    one_run('other', code={'model.py': OTHER})
    _, by_component = evaluate()
    assert {row['run'] for row in by_component} == {'first'}
    out = capsys.readouterr().out
    assert 'left out: out/other was trained with another model.py (' in out and '- x = 1 + 1' in out
    assert not glob.glob('out/other/*.npz')
    assert 'no run that this model.py can evaluate' in fails('eval_xe.py', '--runs=out/other')
    _, by_component = evaluate('--runs=out/other', '--any_code=True')
    assert {row['run'] for row in by_component} == {'other'}

def test_the_cache_knows_the_code(one_run, monkeypatch, capsys):
    """After a change of model.py an old run comes from its cache, and one without is left out."""
    one_run('not_evaluated', seed=1)
    _, before = evaluate('--runs=out/first')
    loaded, load, read_code = [], checkpoint.load_model, checkpoint.read_code
    monkeypatch.setattr(checkpoint, 'load_model', lambda *args: (
        loaded.append(args[0]), load(*args))[1])
    evaluate('--runs=out/first')
    assert loaded == []
    texts = read_code()
    monkeypatch.setattr(checkpoint, 'read_code', lambda: texts | {'model.py': OTHER})
    _, after = evaluate()
    assert loaded == [] and [row['xe'] for row in after] == [row['xe'] for row in before]
    assert 'left out: out/not_evaluated was trained with another' in capsys.readouterr().out
    for text, count in ((f'# a comment\n{texts["sample_mix.py"]}', 1),
                        (f'{texts["sample_mix.py"]}\nx = 1\n', 3)):
        monkeypatch.setattr(checkpoint, 'read_code', lambda: texts | {'sample_mix.py': text})
        evaluate()
        assert len(loaded) == count, loaded

def test_a_snapshot_of_another_run_is_refused(one_run, fails):
    one_run('new')
    change_run('out/new', seed=7)
    os.rename('out/new/ckpt.pt', 'out/first/step-000002.pt')
    assert 'is of another run than ckpt.pt' in fails('eval_xe.py', '--runs=out/first',
                                                     '--ckpt=step-000002')

def test_nine_shapes_of_model_are_evaluated_in_one_call(one_run, monkeypatch):
    compile = torch.nn.Module.compile  # with the code generator left out, which takes a minute
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, **k: compile(
        self, backend='eager', **k | {'mode': None}))
    torch._dynamo.reset()
    saved = torch.load('out/first/ckpt.pt', weights_only=True)
    for n_embd in range(4, 40, 4):
        args = saved['model_args'] | {'n_embd': n_embd}
        one_run(f'width{n_embd}', n_embd=n_embd,
                tensors={'best': GPT(**args).state_dict(), 'model_args': args})
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
    held = hold('out/now/lock')
    _, by_component = evaluate()
    out = capsys.readouterr().out
    assert [(row['run'], row['unfinished']) for row in by_component] == [('first', 'False')]
    assert ('left out, unfinished (--unfinished=True takes them): out/half (unfinished, 2 of 3'
            ' steps), out/now (being trained, 3 of 3 steps)\n') in out
    assert 'runs unfinished' not in out
    assert 'no run there but those left out' in fails('eval_xe.py', '--runs=out/half')
    vs_k, by_component = evaluate('--unfinished=True')
    assert (vs_k[0]['n_runs'], vs_k[0]['unfinished']) == ('3', '2')
    assert {row['run']: row['unfinished'] for row in by_component} == {
        'first': 'False', 'half': 'True', 'now': 'True'}
    assert 'K = 1: 2 of 3 runs unfinished' in capsys.readouterr().out
    held.close()
    os.remove('out/now/lock')
    one_run('a-cut-short-copy', steps=2)
    _, by_component = evaluate('--unfinished=True')
    assert 'they repeat others: out/a-cut-short-copy repeats out/first' in capsys.readouterr().out
    assert [row['run'] for row in by_component] == ['first', 'now', 'half']

def test_a_run_is_what_its_checkpoint_says(one_run):
    """What lies beside ckpt.pt is for people: damaged, or gone, it moves nothing."""
    _, before = evaluate()
    one_run('odd', seed=1)
    for name in ('config.json', 'mix.json', 'best.pt', 'log.csv'):
        with open(f'out/odd/{name}', 'wb') as f:
            f.write(b'\xff{"seed": NaN}')
        os.remove(f'out/first/{name}')
    _, by_component = evaluate()
    assert [(row['run'], row['seed']) for row in by_component] == [('first', '0'), ('odd', '1')]
    assert [row['xe'] for row in by_component] == [before[0]['xe']] * 2

def test_a_run_whose_best_step_is_0_is_named_under_the_table(one_run, capsys):
    one_run('untrained', seed=1)
    assert 'untrained' not in '\n'.join(map(str, evaluate('--runs=out/first')))
    capsys.readouterr()
    change_run('out/untrained', seed=1, tensors={'best_iter': 0})
    vs_k, _ = evaluate()
    assert vs_k[0]['n_runs'] == '2'
    with open('results/table.txt', encoding='utf-8') as f:
        table = f.read()
    assert table in capsys.readouterr().out
    assert 'untrained: the best step is 0' in table and table.endswith(': out/untrained\n')

def test_a_run_that_the_table_has_not_is_named_below_it():
    run = {'folder': 'out/x', 'untrained': False,
           'mix': {'token_budget': 16, 'constant_per_component': False, 'tokens': 16}}
    line, = eval_xe.notes([run], {'out/y': {}})
    assert line == '\nin xe_by_component.csv alone, as they lack components: out/x'
    assert eval_xe.notes([run], {}) == eval_xe.notes([run], {'out/x': {}}) == []  # all are printed

def test_a_budget_that_k_does_not_divide_is_said_beside_the_table(one_run, capsys):
    saved = torch.load('out/first/ckpt.pt', weights_only=True)
    for name, read in (('whole', 20_480), ('little', 20_464), ('much', 16_384)):
        mix = saved['mix'] | {'token_budget': 20_480, 'tokens': read}
        one_run(name, token_budget=20_480, seed=read, tensors={'mix': mix})
    evaluate()
    with open('results/table.txt', encoding='utf-8') as f:
        line, = [line for line in f if 'the budget:' in line]
    assert '16,384 of its 20,480 tokens: out/much' in line, line
    assert line in capsys.readouterr().out

def test_losses_that_are_damaged_are_computed_anew(one_run):
    """A bit that has turned, or a cut file: the same results."""
    _, before = evaluate()
    path, = glob.glob('out/first/losses-*.npz')
    with open(path, 'rb') as f:
        whole = f.read()
    for damaged in (whole[:100], whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]):
        with open(path, 'wb') as f:
            f.write(damaged)
        assert evaluate()[1] == before
        with open(path, 'rb') as f:
            assert f.read() != damaged

def test_long_windows_go_through_the_model_a_few_at_a_time():
    """At 1,024 tokens 256 windows took over 6 GB on a CPU."""
    at_once = []

    class Model:
        lm_head = SimpleNamespace(weight=torch.zeros(1))

        def __call__(self, idx, targets):
            at_once.append(len(idx))
            return torch.zeros(idx.shape)
    for T in (16, 100, 1024, 10**5):
        eval_xe.window_losses(Model(), np.zeros((1, T), dtype=int), np.zeros(1, dtype=int))
    assert at_once == [256, 256, 16, 1]

def test_a_folder_that_cannot_be_written_is_evaluated(one_run, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: path != 'out/first' and access(path, mode))
    _, by_component = evaluate()
    assert [row['run'] for row in by_component] == ['first']
    assert not glob.glob('out/first/*.npz')

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
    load = checkpoint.load_model

    def replace(*args):
        meta = sample_mix.read_meta('small')
        meta['components']['a']['test']['bytes'] += 1
        with open('data/small/meta.json', 'w') as f:
            json.dump(configurator.sealed(meta), f)
        return load(*args)
    monkeypatch.setattr(checkpoint, 'load_model', replace)
    assert 'was replaced while it was read' in fails('eval_xe.py')
    assert not os.path.exists('results/xe_vs_k.csv')

ODD = ['C++', '$\\bad$', "it's", 'World News', '[abc]', '$(touch pwned)', '`touch pwned`', 'a/b',
       'R&D', '100%']

def test_any_name_is_evaluated_and_drawn(small, tmp_path, monkeypatch, capsys):
    """Components with names that shells, patterns and matplotlib read otherwise."""
    meta = sample_mix.read_meta('small')
    facts = meta['components']['a']
    for name in ODD:
        shutil.copytree('data/small/a', tmp_path / 'data/odd' / configurator.safe_name(name))
    (tmp_path / 'data/odd/meta.json').write_text(json.dumps(configurator.sealed(
        meta | {'dataset': 'odd', 'components': dict.fromkeys(ODD, facts)})))
    monkeypatch.chdir(tmp_path)
    run('train.py', *TRAIN, '--dataset=odd', f'--components={",".join(ODD)}', '--max_iters=1',
        '--token_budget=1600', '--out_dir=out/[abc]')
    vs_k, by_component = evaluate('--runs=out/[abc]')
    assert sorted(row['component'] for row in by_component) == sorted(ODD)
    assert vs_k[0]['k'] == str(len(ODD)) and os.path.exists('results/xe_vs_k.png')
    out = capsys.readouterr().out
    assert f'{len(ODD)} specialist' in out
    assert out.index("python sweep.py --parts_of='out/[abc]'") < out.index('icl_score')

def test_keys_that_tell_settings_apart_are_as_few_as_will_do():
    keys = [{'a': str(i), 'b': 'x', 'c': str(i // 2)} for i in range(4)]
    assert tell_apart(keys) == ['a'] and tell_apart(keys[:1]) == []
    assert tell_apart([{'a': 1}, {'a': 1, 'b': 2}]) == ['b']

