"""fit_law.py finds again what data were made with, and says what it lacks."""
import itertools
import json
import os

import numpy as np
import pandas as pd
import pytest
from conftest import run

import fit_law
from curves import COLUMNS

B, NAMES = 84_000, ['a', 'b', 'c', 'd', 'e']
A, SCALE, ALPHA = [2.0, 2.3, 2.1, 2.4, 2.2], [1.2, 1.6, 1.4, 1.3, 1.5], [.3, .45, .5, .35, .4]
ETA = np.array([[0, .7, .5, .3, .2], [.6, 0, .6, .4, .3], [.5, .5, 0, .7, .4],
                [.3, .5, .6, 0, .6], [.2, .2, .5, .7, 0]])


def f(c, n):
    """The learning curve of component c, a number, at n tokens."""
    return A[c] + SCALE[c] * (n / B)**-ALPHA[c]


def additive(S, c):
    return f(c, B / len(S) * (1 + ETA[c, list(S)].sum()))


def redundant(S, c):
    rest = [j for j in S if j != c]
    like = {j: np.mean([ETA[j, i] for i in rest if i != j]) if len(rest) > 1 else 0 for j in rest}
    return f(c, B / len(S) * (1 + sum(ETA[c, j] * (1 - 0.15 * like[j]) for j in rest)))


def revised(S, c):
    rest = [j for j in S if j != c]
    like = {j: np.mean([ETA[j, i] for i in rest if i != j]) if len(rest) > 1 else 0 for j in rest}
    return f(c, B / len(S) * (1 + sum(ETA[c, j] * (1 - 0.336 * like[j] * (1 - ETA[c, j]))
                                      for j in rest)))


TRUTHS = {
    'additive': additive, 'redundant': redundant, 'revised': revised,
    'shares': lambda S, c: f(c, B * (1 / len(S) + ETA[c, list(S)].sum() / 2
                                     * (2 / len(S))**1.06)),
    'one eta each': lambda S, c: f(c, B / len(S) * (1 + 0.1 * (c + 3) * (len(S) - 1))),
    'one eta': lambda S, c: f(c, B / len(S) * (1 + 0.4 * (len(S) - 1))),
    'one power': lambda S, c: f(c, B * len(S)**-0.5),
    'power': lambda S, c: f(c, B * len(S)**np.mean([np.log2((1 + ETA[c, j]) / 2)
                                                    for j in S if j != c])),
    'ATLAS': lambda S, c: A[c] + SCALE[c] * len(S)**(ALPHA[c] - 0.15),
    'exponential': lambda S, c: A[c] + SCALE[c] * np.exp(np.mean([0.6 * (1 - ETA[c, j]) * (j != c)
                                                                  for j in S])),
    'shared head': lambda S, c: 0.6 * f(c, B) + 0.4 * f(c, B / len(S)),
    'shared capacity': lambda S, c: f(c, B / len(S)) - 0.3 * (1 - 1 / len(S)),
    'a ln K': lambda S, c: f(c, B) + 0.2 * np.log(len(S)),
    'dilution': lambda S, c: f(c, B / len(S))}


def make_rows(law, seeds=1, sd=0.0, cross=False, top=5):
    """Rows of xe_by_component.csv: all mixtures of up to `top` components, and the specialists."""
    rng, rows = np.random.default_rng(1), []

    def add(S, n, c, xe, seed, tag=False):
        rows.append({
            'run': f'{S}-{n}-{seed}{tag}', 'dataset': 'made', 'split': 'test', 'k': len(S),
            'seed': seed, 'mix_seed': seed, 'components': '+'.join(NAMES[j] for j in S),
            'component': NAMES[c], 'xe': xe + sd * rng.standard_normal(), 'in_training': c in S,
            'setting': f'token_budget={n} tag={tag}', 'unfinished': False, 'token_budget': n,
            'tag': tag, 'shuffle_components': False, 'constant_per_component': False,
            'setting_hash': 'a'})
    for seed in range(seeds):
        for c in range(5):
            for part in (1, 2, 3, 4, 6, 8):
                add([c], B // part, c, f(c, B // part), seed)
            for j in range(5):
                if cross and j != c:
                    add([j], B, c, f(c, B) + 2 * (0.9 - ETA[c, j]), seed)
        for K in range(2, top + 1):
            for S in itertools.combinations(range(5), K):
                for c in S:
                    add(S, B, c, 9.0, seed, tag=True)  # a tagged run, which does not count
                    add(S, B, c, TRUTHS[law](S, c), seed)
    return pd.DataFrame(rows)


def write_rows(rows, path):
    """Writes rows as eval_xe.py writes xe_by_component.csv."""
    columns = [name + end for word in COLUMNS['xe_by_component'].split() for name in [
        word.strip('+')] for end in (('', '_ci_low', '_ci_high') if '+' in word else ('',))]
    rows.reindex(columns=columns).to_csv(path, index=False)


@pytest.mark.parametrize('kind', TRUTHS)
def test_each_law_finds_its_truth_and_no_other_does(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_law, 'DRAWS', 4)
    write_rows(make_rows(kind), tmp_path / 'x.csv')
    fit = fit_law.fit_rates(fit_law.read_results(str(tmp_path / 'x.csv'), '')[0], B)
    assert fit['form'] == 'power' and fit['errors']['power'] < 0.002 < fit['errors']['pchip']
    errors = {law: np.mean([
        abs(function(fit, list(S), c)[0] - TRUTHS[kind](S, c))
        for K in (3, 4, 5) for S in itertools.combinations(range(5), K) for c in S])
        for law, function in fit_law.LAWS.items()}
    assert errors[kind] < 0.004
    # a law that holds this truth too, as a special case
    general = ['additive', 'redundant', 'shares', 'one eta each', 'one eta', 'power', 'one power',
               'ATLAS', 'shared head', 'shared capacity', 'revised']
    holds = {'one eta': general[:1] + general[3:4], 'one eta each': general[:1], 'ATLAS': ['power'],
             'one power': ['power'], 'dilution': general}.get(kind, [])
    worse = min(x for law, x in errors.items() if law not in (kind, *holds))
    assert errors[kind] < 0.5 * worse, errors
    if kind == 'additive':
        assert np.nanmax(abs(fit['eta'][0] - ETA)[~np.eye(5, dtype=bool)]) < 0.01


def test_forecasts_hold_in_new_runs_and_a_missing_pair_is_the_run_to_train(
        tmp_path, capsys, monkeypatch):
    """Two seeds with noise; pair {a, e} is not there, so that its rates come from the line."""
    monkeypatch.chdir(tmp_path)
    rows = make_rows('additive', seeds=2, sd=0.012, cross=True)
    whole = rows.copy()
    write_rows(rows[rows['components'] != 'a+e'], 'x.csv')
    run('fit_law.py', '--results=x.csv', '--results_dir=law', '--law_error=0.0')
    scores = pd.read_csv('law/law_scores.csv')
    of_all = scores[scores['k'].isna()].set_index(['law', 'way'])
    assert of_all['n']['additive', 'b'] == 55 and of_all['no_forecast']['additive', 'a'] > 0
    assert 0.8 < of_all['coverage']['additive', 'b'] <= 1 and of_all['mae']['additive', 'b'] < 0.02
    assert of_all['mae'].idxmin()[0] in ('additive', 'shares')
    assert 0.8 < of_all['coverage']['additive', 'a'] < 0.99 > of_all['coverage']['dilution', 'a']
    eta = pd.read_csv('law/law_eta.csv').query('way == "a" and other.notna()')
    eta = eta.set_index(['component', 'other'])
    inside = [row.eta_low <= ETA[NAMES.index(c), NAMES.index(j)] <= row.eta_high
              for (c, j), row in eta.dropna(subset='eta').iterrows()]
    assert len(inside) == 18 and np.mean(inside) > 0.7
    tokens = pd.read_csv('law/law_tokens.csv').set_index(['components', 'component'])
    assert abs(tokens['share']['a+b', 'a'] - (1 + ETA[0, 1]) / 2) < 0.08
    by_law = tokens['law_share'] - tokens['share']  # a pair tells its own rates
    assert abs(by_law[tokens['k'] == 2]).max() < 1e-4 < abs(by_law[tokens['k'] > 2]).max() < 0.2
    capsys.readouterr()
    with pytest.raises(SystemExit) as e:
        run('fit_law.py', '--results=x.csv', '--forecast=a,e', '--law_error=0.0', '--law=additive')
    assert not e.value.code
    out = capsys.readouterr().out
    assert '(b), 0 of 2 by (a)' in out and '--components=a,e --token_budget=84000' in out
    xe = whole[(whole['components'] == 'a+e') & ~whole['run'].str.contains('True')]
    line = next(line for line in out.splitlines() if line.startswith('a '))
    low, high = json.loads(line.split('XE')[1][line.split('XE')[1].index('['):].split('  ')[0])
    assert low < xe[xe['component'] == 'a']['xe'].mean() < high


def test_mixtures_that_are_tried_enter_no_forecast(tmp_path, monkeypatch):
    """A forecast written down before they were trained is the one that is scored."""
    monkeypatch.setattr(fit_law, 'DRAWS', 4)
    monkeypatch.setattr(fit_law, 'data_dir', str(tmp_path))
    write_rows(make_rows('additive', seeds=2, sd=0.02, cross=True), tmp_path / 'x.csv')
    after, *_ = fit_law.read_results(str(tmp_path / 'x.csv'), '')
    before = {key: x for key, x in after.items() if len(key[0]) <= 2}
    monkeypatch.setitem(fit_law.LAWS, 'mine', fit_law.LAWS['additive'])
    monkeypatch.setattr(fit_law, 'law', 'mine')
    tables = []
    for cells in (before, after):
        ways, _ = fit_law.fit_ways(fit_law.fit_rates(cells, B), cells, 'x', {})
        tables.append(fit_law.forecast_rows(ways, [('a', 'b', 'c')], cells, 'x').iloc[:, :12])
    assert set(tables[0]['way']) == {'a', 'b'} and tables[0].equals(tables[1])
    assert set(tables[0]['way'][tables[0]['law'] == 'mine']) == {'a', 'b'}  # a law of a user's
    few, *_ = fit_law.read_results(str(tmp_path / 'x.csv'), only='a,b,c')
    assert few.keys() == {key for key in after if {*key[0], key[2]} <= {*'abc'}}

    # specialists alone have the rates of the line of those results
    monkeypatch.setattr(fit_law, 'line_from', str(tmp_path / 'x.csv'))
    alone = {key: x for key, x in before.items() if len(key[0]) == 1}
    ways, _ = fit_law.fit_ways(fit_law.fit_rates(alone, B), alone, 'x', {})
    assert [*ways] == ['d'] and np.nanmax(abs(ways['d']['eta'][0] - ETA)) < 0.06
    monkeypatch.setattr(fit_law, 'tagged', True)  # make_rows has tagged runs with an XE of 9
    of_tagged, *_ = fit_law.read_results(str(tmp_path / 'x.csv'))
    assert all(abs(x.mean() - 9) < 0.1 for (S, _, _), (x, _) in of_tagged.items() if len(S) > 1)
    assert of_tagged.keys() == after.keys()


def test_bigram_gaps(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_law, 'data_dir', str(tmp_path))
    for c, (train, test) in {'x': ([0, 1, 0, 1, 0], [0, 1]), 'y': ([1, 1, 1, 0], [1, 1])}.items():
        os.makedirs(tmp_path / 'd' / c)
        for split, tokens in (('train', train), ('test', test)):
            np.array(tokens, '<u2').tofile(tmp_path / 'd' / c / f'{split}.bin')
    (tmp_path / 'd' / 'meta.json').write_text('{"vocab_size": 2, "components": {}}')
    gaps = fit_law.bigram_gaps('d', ['x', 'y'], 99, {})
    # x reads 0 1: (2 + 2.5 / 6) / (3 + 1) under x, (0 + 3.5 / 5) / (1 + 1) under y
    assert gaps[0, 1] == pytest.approx(np.log((2 + 2.5 / 6) / 4) - np.log(3.5 / 5 / 2))
    assert gaps[1, 0] == pytest.approx(np.log((2 + 3.5 / 5) / 4) - np.log((2.5 / 6) / 3))
    assert np.isnan(gaps[0, 0]) and np.isnan(fit_law.bigram_gaps('none', ['x'], 9, {})).all()


def test_mistakes_are_told_in_one_line(tmp_path, fails, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fit_law, 'DRAWS', 4)
    rows = make_rows('additive', top=3)
    few = rows[(rows['k'] > 1) | rows['token_budget'].isin([84_000, 42_000])]
    other = rows.assign(setting=rows['setting'] + np.where(rows['k'] == 2, ' n_layer=2', ''))
    for name, table in (('x', rows), ('few', few), ('one', rows[rows['k'] == 1]),
                        ('two', other), ('plus', rows.replace({'components': {'a+b': 'a+b+c'}})),
                        ('again', rows.assign(xe=rows['xe'] + 1)),
                        ('wide', rows.assign(run='wide', setting_hash='b'))):
        write_rows(table, f'{name}.csv')

    def law_of(name, **settings):
        for key, value in settings.items():
            monkeypatch.setattr(fit_law, key, value)
        cells, dataset, _ = fit_law.read_results(f'{name}.csv', '')
        fit = fit_law.fit_rates(cells, fit_law.mixture_budget(cells))
        fit_law.print_forecast(fit, fit_law.fit_ways(fit, cells, dataset, {})[0])

    for name, settings, words in [
            ('few', {}, '--components=a --token_budget=28000; python train.py'),
            ('one', {}, 'has no pairs'), ('two', {}, "choose one by --setting='n_layer=2'"),
            ('none', {}, 'no such file'), ('plus', {}, 'has a + in it'),
            ('[xa]*', {}, 'two values of XE'), ('[xw]*', {}, 'several settings'),
            ('x', {'forecast': 'a,z'}, 'z has no specialists here; there are a, b, c, d, e'),
            ('x', {'forecast': 'a'}, 'two components'),
            ('x', {'forecast': 'a,b,c', 'budget': 500_000}, 'outside')]:
        with pytest.raises(SystemExit) as e:
            law_of(name, **settings)
        lines = capsys.readouterr().err.splitlines()
        assert e.value.code == 2 and len(lines) == 1 and words in lines[0], (words, lines)
    law_of('x', budget=60_000)  # within the curves
    assert 'missing' not in fails('fit_law.py', '--results=one.csv')
    assert 'there are additive, redundant, revised' in fails('fit_law.py', '--law=none')


def test_tokens_outside_the_curves_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_law, 'DRAWS', 4)
    rows = make_rows('additive', top=2)
    for component, xe in (('a', 2.5), ('b', 8.0)):
        rows.loc[(rows['components'] == 'a+b') & (rows['component'] == component), 'xe'] = xe
    write_rows(rows, tmp_path / 'x.csv')
    cells, *_ = fit_law.read_results(str(tmp_path / 'x.csv'), '')
    fit = fit_law.fit_rates(cells, B)
    tokens = fit_law.token_rows(fit, cells).set_index(['components', 'component'])
    assert list(tokens['outside']['a+b']) == ['above', 'below']
    assert tokens['tokens']['a+b'].isna().all() and tokens['tokens'].isna().sum() == 2
    assert np.isnan(fit_law.LAWS['additive'](fit, [0, 1, 2], 0)).all()
    assert fit_law.LAWS['one eta'](fit, [0, 1, 2], 0)[0] > 0  # the others tell its rate


def change(rows, path, where=0, **columns):
    """Writes rows with other values in one of them, a row number, or in all that a mask has."""
    rows = rows.astype(object)
    for column, value in columns.items():
        rows.loc[where, column] = value
    write_rows(rows, path)


@pytest.mark.parametrize('columns, says', [
    ({'tag': 'WAHR'}, 'line 2: tag is WAHR, not True or False'),
    ({'unfinished': 1}, 'line 2: unfinished is 1, not True or False'),
    ({'shuffle_components': ''}, 'line 2: shuffle_components is empty, not True'),
    ({'xe': '3,7'}, 'line 2: xe is 3,7, not a number'), ({'xe': ''}, 'line 2: xe is empty'),
    ({'xe': np.inf}, 'line 2: xe is inf, not a number'),
    ({'delta_ci_low': '0,1'}, 'line 2: delta_ci_low is 0,1, not a number'),
    ({'token_budget': 'x'}, 'line 2: token_budget is x, not a number')])
def test_a_field_that_a_spreadsheet_changed_is_named(tmp_path, monkeypatch, fails, columns, says):
    monkeypatch.chdir(tmp_path)
    change(make_rows('additive', top=2), 'x.csv', **columns)
    assert f'x.csv, {says}' in fails('fit_law.py', '--results=x.csv')


@pytest.mark.parametrize('column', ['xe', 'setting', 'tag', 'delta_ci_high', 'mix_seed'])
def test_a_missing_column_is_named(tmp_path, monkeypatch, fails, column):
    monkeypatch.chdir(tmp_path)
    write_rows(make_rows('additive', top=2), 'x.csv')
    pd.read_csv('x.csv').drop(columns=column).to_csv('x.csv', index=False)
    line = fails('fit_law.py', '--results=x.csv')
    assert 'x.csv cannot be read (' in line and f"not found: ['{column}']" in line


def test_one_run_under_two_names_counts_once(tmp_path, fails):
    """A run is known by its settings' hash, components and seeds."""
    rows = make_rows('additive', seeds=2, top=2, sd=0.01)
    write_rows(rows, tmp_path / 'x.csv')
    write_rows(rows.assign(run='copy of ' + rows['run']), tmp_path / 'y.csv')
    once, *_ = fit_law.read_results(str(tmp_path / 'x.csv'))
    twice, *_ = fit_law.read_results(str(tmp_path / '?.csv'))
    assert once.keys() == twice.keys()
    assert all(np.array_equal(once[key][0], twice[key][0]) for key in once)
    write_rows(rows.assign(run='other', xe=rows['xe'] + 1), tmp_path / 'y.csv')
    assert 'two values of XE' in fails('fit_law.py', f'--results={tmp_path}/?.csv')


def test_a_budget_that_nothing_is_forecast_for_is_refused(tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    write_rows(make_rows('additive', top=3), 'x.csv')
    assert '85,000 tokens' in fails('fit_law.py', '--results=x.csv', '--forecast=a,b,c',
                                    '--budget=85000')
    assert '--budget=60000: mixtures have 84,000 tokens' in fails(
        'fit_law.py', '--results=x.csv', '--budget=60000')


def test_bigrams_of_other_data_are_refused(tmp_path, monkeypatch, fails):
    """Bytes a token tell another tokenizer; a component that is gone is named; no data, no (c)."""
    monkeypatch.chdir(tmp_path)
    rows, rng = make_rows('additive', top=3), np.random.default_rng(0)
    write_rows(rows.assign(bits_per_byte=rows['xe'] / np.log(2) / 4.0), 'x.csv')
    for c in NAMES:
        os.makedirs(f'data/made/{c}')
        for split in ('train', 'test'):
            rng.integers(0, 50, 2000).astype('<u2').tofile(f'data/made/{c}/{split}.bin')

    def write_meta(bytes):
        facts = {'test': {'bytes': bytes, 'tokens': 1000}}
        with open('data/made/meta.json', 'w') as f:
            json.dump({'vocab_size': 50, 'components': dict.fromkeys(NAMES, facts)}, f)
    write_meta(3000)
    line = fails('fit_law.py', '--results=x.csv', '--results_dir=law')
    assert 'data/made is of other data than x.csv' in line and '3.00 bytes a token' in line
    write_meta(4010)  # a few documents more
    monkeypatch.setattr(fit_law, 'DRAWS', 4)
    cells, dataset, measured = fit_law.read_results('x.csv')
    fit = fit_law.fit_rates(cells, B)
    assert 'c' in fit_law.fit_ways(fit, cells, dataset, measured)[0]
    os.remove('data/made/b/test.bin')
    assert 'data/made/b/test.bin' in fails('fit_law.py', '--results=x.csv', '--results_dir=law')
    for text in ('{', '[]', '{"vocab_size": "x"}'):
        with open('data/made/meta.json', 'w') as f:
            f.write(text)
        assert 'c' not in fit_law.fit_ways(fit, cells, dataset, measured)[0]
