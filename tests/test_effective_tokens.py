"""studies/effective_tokens.py finds again what data were made with, and the first law's numbers."""
import itertools
import json
import os

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, run, write_rows

from studies import effective_tokens as law
from studies.eta_by_setting import read_rates

LOSSES = os.path.join(ROOT, 'studies', 'law')
B, NAMES = 84_000, ['a', 'b', 'c', 'd', 'e']
A, SCALE, ALPHA = [2.0, 2.3, 2.1, 2.4, 2.2], [1.2, 1.6, 1.4, 1.3, 1.5], [.3, .45, .5, .35, .4]
ETA = np.array([[0, .7, .5, .3, .2], [.6, 0, .6, .4, .3], [.5, .5, 0, .7, .4],
                [.3, .5, .6, 0, .6], [.2, .2, .5, .7, 0]])

def f(c, n):
    """The learning curve of component c, a number, at n tokens."""
    return A[c] + SCALE[c] * (n / B)**-ALPHA[c]

def less_overlap(S, c, r, power):
    """The sum of the rates, each less by what the others have in common."""
    rest, total = [j for j in S if j != c], 1
    for j in rest:
        like = np.mean([ETA[j, i] for i in rest if i != j]) if len(rest) > 1 else 0
        total += ETA[c, j] * (1 - r * like * (1 - ETA[c, j])**power)
    return f(c, B / len(S) * total)

TRUTHS = {
    'additive': lambda S, c: f(c, B / len(S) * (1 + ETA[c, list(S)].sum())),
    'redundant': lambda S, c: less_overlap(S, c, 0.15, 0),
    'revised': lambda S, c: less_overlap(S, c, 0.336, 1),
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

def make_rows(truth, seeds=1, sd=0.0, top=5):
    """Rows of xe_by_component.csv: all mixtures of up to `top` components, and the specialists."""
    rng, rows = np.random.default_rng(1), []

    def add(S, n, c, xe, seed, tag=False):
        rows.append({
            'dataset': 'made', 'split': 'test', 'setting_hash': 'a', 'k': len(S), 'seed': seed,
            'mix_seed': seed, 'components': '+'.join(NAMES[j] for j in S), 'component': NAMES[c],
            'xe': xe + sd * rng.standard_normal(), 'token_budget': n, 'tag': tag,
            'unfinished': False, 'shuffle_components': False, 'constant_per_component': False})
    for seed in range(seeds):
        for c in range(5):
            for part in (1, 2, 3, 4, 6, 8):
                add([c], B // part, c, f(c, B // part), seed)
            for j in {*range(5)} - {c}:
                add([j], B, c, f(c, B) + 2 * (0.9 - ETA[c, j]), seed)
        for K in range(2, top + 1):
            for S in itertools.combinations(range(5), K):
                for c in S:
                    add(S, B, c, 9.0, seed, tag=True)  # a tagged run, which does not count
                    add(S, B, c, TRUTHS[truth](S, c), seed)
    return pd.DataFrame(rows)

@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Forecasts and errors are those of draw 0: only intervals need many."""
    monkeypatch.setattr(law, 'DRAWS', 4)

def test_each_law_finds_its_truth_and_no_other_does():
    # laws that hold a truth too, as a special case
    general = ['additive', 'redundant', 'shares', 'one eta each', 'one eta', 'power', 'one power',
               'ATLAS', 'shared head', 'shared capacity', 'revised']
    also = {'one eta': ['additive', 'one eta each'], 'one eta each': ['additive'],
            'ATLAS': ['power'], 'one power': ['power'], 'dilution': general}
    assert TRUTHS.keys() | {'1.66 a doubling'} == law.LAWS.keys()
    mixtures = [(S, c) for K in (3, 4, 5) for S in itertools.combinations(range(5), K) for c in S]
    mixtures = mixtures[::4]
    alone = {((NAMES[c],), B // part, NAMES[c]): f(c, B // part)
             for c in range(5) for part in (1, 2, 3, 4, 6, 8)}
    for kind, truth in TRUTHS.items():
        pairs = {((NAMES[i], NAMES[j]), B, NAMES[c]): truth((i, j), c)
                 for i, j in itertools.combinations(range(5), 2) for c in (i, j)}
        cells = {key: (np.array([xe]), 0) for key, xe in (alone | pairs).items()}
        fit = law.fit_rates(cells, B)
        assert fit['form'] == 'power' and fit['errors']['power'] < 0.002 < fit['errors']['pchip']
        errors = {name: np.mean([abs(function(fit, list(S), c)[0] - truth(S, c))
                                 for S, c in mixtures]) for name, function in law.LAWS.items()}
        assert errors[kind] < 0.004
        others = [x for name, x in errors.items() if name not in (kind, *also.get(kind, []))]
        assert errors[kind] < 0.5 * min(others), (kind, errors)
        if kind == 'additive':
            assert np.nanmax(abs(fit['eta'][0] - ETA)[~np.eye(5, dtype=bool)]) < 0.01

def test_intervals_hold_new_runs_and_a_line_tells_the_rates_of_a_pair_that_is_missing(
        tmp_path, monkeypatch):
    """Two seeds with noise; the pair {a, e} was not trained."""
    for key, value in (('DRAWS', 400), ('law_error', 0.0), (
            'LAWS', {name: law.LAWS[name] for name in ('additive', 'dilution')})):
        monkeypatch.setattr(law, key, value)
    rows = make_rows('additive', seeds=2, sd=0.012)
    cells, *_ = law.read_results(write_rows(rows[rows['components'] != 'a+e'], tmp_path / 'x.csv'))
    ways = law.fit_ways(law.fit_rates(cells, B), cells, 'no data', {})
    sets = [S for K in (3, 4, 5) for S in itertools.combinations(NAMES, K)]
    forecasts = law.forecast_rows(ways, sets, cells)
    scores = law.score(forecasts[forecasts['component'] != ''])
    of_all = scores[scores['k'] == ''].set_index(['law', 'way'])
    assert of_all['n']['additive', 'b'] == 55 and of_all['no_forecast']['additive', 'a'] > 0
    assert 0.8 < of_all['coverage']['additive', 'b'] <= 1 and of_all['mae']['additive', 'b'] < 0.02
    assert 0.8 < of_all['coverage']['additive', 'a'] < 0.99 > of_all['coverage']['dilution', 'a']
    eta = law.eta_rows(ways).query('way == "a"').dropna(subset=['other', 'eta'])
    truth = np.array([ETA[NAMES.index(c), NAMES.index(j)]
                      for c, j in zip(eta['component'], eta['other'])])
    inside = (eta['eta_low'] <= truth) & (truth <= eta['eta_high'])
    assert len(inside) == 18 and inside.mean() > 0.7

def test_the_script_writes_what_eta_by_setting_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_rows(make_rows('additive', top=3), 'x.csv')
    run('studies/effective_tokens.py', '--results=x.csv', '--results_dir=law',
        '--components=a,b,c')
    assert 'taken: power' in capsys.readouterr().out
    tokens = pd.read_csv('law/effective_tokens.csv').set_index(['components', 'component'])
    assert abs(tokens['share']['a+b', 'a'] - (1 + ETA[0, 1]) / 2) < 0.01
    rates, (mean, low, high) = read_rates('law')
    assert len(rates) == 6 and abs(rates['a', 'b'] - 0.7) < 0.01
    assert low < mean < high and abs(mean - rates.mean()) < 1e-5
    scores = pd.read_csv('law/effective_scores.csv').set_index(['law', 'way', 'k'])
    assert scores['mae']['additive', 'a', 3] < 0.004 < scores['mae']['dilution', 'a', 3]
    assert pd.read_csv('law/effective_forecasts.csv')['error'].notna().any()

def test_mixtures_that_are_tried_enter_no_forecast(tmp_path, monkeypatch):
    """A forecast written down before they were trained is the one that is scored."""
    path = write_rows(make_rows('additive', seeds=2, sd=0.02), tmp_path / 'x.csv')
    after, *_ = law.read_results(path)
    before = {key: x for key, x in after.items() if len(key[0]) <= 2}
    monkeypatch.setattr(law, 'line_from', path)
    monkeypatch.setattr(law, 'LAWS', {name: law.LAWS[name] for name in ('additive', 'power')})
    tables = []
    for cells in (before, after):
        ways = law.fit_ways(law.fit_rates(cells, B), cells, 'no data', {})
        assert np.nanmax(abs(ways['d']['eta'][0] - ETA)) < 0.06
        tables.append(law.forecast_rows(ways, [('a', 'b', 'c')], cells))
    assert set(tables[0]['way']) == {'a', 'b', 'd'} and 'xe' not in tables[0]
    assert tables[0].equals(tables[1][tables[0].columns])

def test_which_runs_count(tmp_path, monkeypatch):
    rows = make_rows('additive', seeds=2, top=3, sd=0.01)
    once, most, *_ = law.read_results(write_rows(rows, tmp_path / 'x.csv'))
    assert most == B and max(len(runs) for runs, _ in once.values()) == 2
    few, *_ = law.read_results(str(tmp_path / 'x.csv'), only='a,b,c')
    assert few.keys() == {key for key in once if {*key[0], key[2]} <= {*'abc'}}
    write_rows(rows, tmp_path / 'y.csv')  # the same runs in another file count once
    twice, *_ = law.read_results(str(tmp_path / '?.csv'))
    assert once.keys() == twice.keys()
    assert all(np.array_equal(once[key][0], twice[key][0]) for key in once)
    monkeypatch.setattr(law, 'tagged', True)  # make_rows has tagged runs with an XE of 9
    of_tagged, *_ = law.read_results(str(tmp_path / 'x.csv'))
    assert all(abs(x.mean() - 9) < 0.1 for (S, _, _), (x, _) in of_tagged.items() if len(S) > 1)
    assert of_tagged.keys() == once.keys()

def test_what_cannot_be_fitted_is_refused_in_one_line(tmp_path, capsys):
    rows = make_rows('additive', top=2)
    write_rows(rows, tmp_path / 'x.csv')
    write_rows(rows.assign(xe=rows['xe'] + 1), tmp_path / 'again.csv')
    write_rows(rows.assign(setting_hash='b'), tmp_path / 'wide.csv')
    write_rows(rows[(rows['k'] > 1) | (rows['token_budget'] > B / 3)], tmp_path / 'few.csv')
    for name, says in (('[xa]*', 'two values of XE'), ('[xw]*', 'one data set and setting'),
                       ('none', 'no such file'), ('few*', 'too few specialists')):
        with pytest.raises(SystemExit) as e:
            law.fit_rates(law.read_results(str(tmp_path / f'{name}.csv'))[0], B)
        lines = capsys.readouterr().err.splitlines()
        assert e.value.code == 2 and len(lines) == 1 and says in lines[0], lines

def test_tokens_outside_the_curves_are_left_out(tmp_path):
    rows = make_rows('additive', top=2)
    for component, xe in (('a', 2.5), ('b', 8.0)):
        rows.loc[(rows['components'] == 'a+b') & (rows['component'] == component), 'xe'] = xe
    cells, *_ = law.read_results(write_rows(rows, tmp_path / 'x.csv'))
    fit = law.fit_rates(cells, B)
    tokens = law.token_rows(fit, cells).set_index(['components', 'component'])
    assert tokens['tokens']['a+b'].isna().all() and tokens['tokens'].isna().sum() == 2
    assert np.isnan(law.LAWS['additive'](fit, [0, 1, 2], 0)).all()
    assert law.LAWS['one eta'](fit, [0, 1, 2], 0)[0] > 0  # the others tell its rate

def test_bigram_gaps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(law, 'data_dir', str(tmp_path))
    for c, (train, test) in {'x': ([0, 1, 0, 1, 0], [0, 1]), 'y': ([1, 1, 1, 0], [1, 1])}.items():
        os.makedirs(tmp_path / 'd' / c)
        for split, tokens in (('train', train), ('test', test)):
            np.array(tokens, '<u2').tofile(tmp_path / 'd' / c / f'{split}.bin')
    facts = {'test': {'bytes': 8, 'tokens': 2}}
    (tmp_path / 'd' / 'meta.json').write_text(
        json.dumps({'vocab_size': 2, 'components': {'x': facts, 'y': facts}}))
    gaps = law.bigram_gaps('d', ['x', 'y'], 99, {'x': 4.0, 'y': 4.01})
    # x reads 0 1: (2 + 2.5 / 6) / (3 + 1) under x, (0 + 3.5 / 5) / (1 + 1) under y
    assert gaps[0, 1] == pytest.approx(np.log((2 + 2.5 / 6) / 4) - np.log(3.5 / 5 / 2))
    assert gaps[1, 0] == pytest.approx(np.log((2 + 3.5 / 5) / 4) - np.log((2.5 / 6) / 3))
    assert np.isnan(gaps[0, 0]) and np.isnan(law.bigram_gaps('none', ['x'], 9, {})).all()
    with pytest.raises(SystemExit):  # bytes a token tell another tokenizer
        law.bigram_gaps('d', ['x', 'y'], 99, {'x': 4.0, 'y': 3.0})
    assert 'is of other data' in capsys.readouterr().err

def losses(names):
    """A pattern of files of studies/law."""
    return ','.join(os.path.join(LOSSES, f'{name}.csv.gz') for name in names.split())

def test_the_registered_forecasts_of_step_13_and_their_score(monkeypatch):
    """LOG.md, 2026-11-28: committed before the mixtures were trained, then scored."""
    monkeypatch.setattr(law, 'line_from', losses('abstracts abstracts-cross'))
    monkeypatch.setattr(law, 'LAWS', {name: law.LAWS[name] for name in ('redundant', 'shares')})
    cells, most, *_ = law.read_results(losses('part1 cross mixtures mixtures-k8'))
    ways = law.fit_ways(law.fit_rates(cells, most), cells, 'no data', {})
    sets = sorted({S for S, _, _ in cells if len(S) > 2}, key=lambda S: (len(S), S))
    forecasts = law.forecast_rows(ways, sets, cells)
    forecasts['component'] = forecasts['component'].replace('', np.nan)
    columns = ['law', 'way', 'components', 'component', 'forecast', 'delta']
    registered = pd.read_csv(os.path.join(LOSSES, 'registered-forecasts.csv.gz'))[columns]
    both = registered.merge(forecasts[columns], on=columns[:4], suffixes=('_then', ''))
    assert len(both) == len(forecasts) == 4 * (137 + 28)  # three ways and one
    assert (both['forecast'] - both['forecast_then']).abs().max() < 6e-5  # their rounding
    assert (both['delta'] - both['delta_then']).abs().max() < 6e-6
    scores = law.score(forecasts[forecasts['component'].notna()])
    whole = scores[scores['k'] == ''].set_index(['law', 'way'])[['n', 'mae', 'bias', 'coverage']]
    assert (whole['n'] == 137).all()
    for key, mae, bias in ((('redundant', 'a'), .022, .003), (('redundant', 'b'), .027, .008),
                           (('redundant', 'd'), .034, .028), (('shares', 'a'), .023, -.005)):
        assert (whole['mae'][key].round(3), whole['bias'][key].round(3)) == (mae, bias)
    k_8 = scores[scores['k'] == 8].set_index(['law', 'way'])['bias']
    assert k_8['redundant', 'a'].round(3) == -.009

def test_the_constant_of_the_revised_law_from_the_mixtures_of_three(monkeypatch):
    """docs/results.md, what speaks against the law: r = .244."""
    monkeypatch.setattr(law, 'fit_k', 3)
    cells, most, *_ = law.read_results(losses('part1 cross mixtures mixtures-k8'))
    assert round(law.fit_rates(cells, most)['overlap'], 3) == .244
