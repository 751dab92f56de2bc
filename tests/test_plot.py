"""Pictures and table come from the CSV files alone, and no file of a user's is touched."""
import errno
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, write_rows

import plot_xe

T, KS = 16, (1, 2, 4)

def write_results(folder, settings=('',), same_components=False, shuffled=False):
    """Writes the three CSV files that plot_xe.py reads: two runs of each K, all numbers known. What
    tells the settings apart is what they are shown as.
    """
    os.makedirs(folder, exist_ok=True)
    numbers = {'xe': 2.0, 'delta': 0.5, 'excess': 0.2, 'dilution': 0.3, 'transfer': -0.1,
               'ambiguity': 0.3, 'bayes_ambiguity': 0.2, 'bayes': 1.8}
    vs_k, curves, by_component = [], [], []
    for setting in settings:
        for k in KS:
            row = {'dataset': 'd', 'setting': f'{setting} tag=False', 'k': k, 'n_runs': 2,
                   'token_budget': 1000, 'shown_as': setting,
                   'shuffle_components': shuffled, 'unigram_xe': 2.0, 'entropy_rate': 1.0,
                   'icl_score': -0.5, 'bayes_xe': 1.8, 'worst_bin_excess': 0.3}
            for name, x in numbers.items():
                column, ci = {'xe': ('xe', 'ci'), 'delta': ('delta_xe', 'delta_ci')}.get(
                    name, (name, f'{name}_ci'))
                if k > 1 or name in ('xe', 'excess'):
                    row |= {column: x, f'{ci}_low': x - 0.1, f'{ci}_high': x + 0.1}
                curves += [row | {'quantity': name, 'position': t, 'mean': x, 'band_low': x - 0.1,
                                  'band_high': x + 0.1} for t in range(T)]
            vs_k.append(row)
            names = 'abcd' if same_components else 'abcd'[:k]
            by_component += [{
                'run': f'r{k}{seed}', 'dataset': 'd', 'split': 'test', 'k': k, 'seed': seed,
                'mix_seed': seed,
                'components': '+'.join(names), 'component': c, 'xe': 2.0 + 0.01 * seed,
                'delta_xe': 0.5, 'delta_ci_low': 0.4, 'delta_ci_high': 0.6, 'in_training': True,
                'excess': 0.2, 'setting': row['setting']} for seed in (0, 1) for c in names]
    for name, rows in (('xe_vs_k', vs_k), ('curves', curves), ('xe_by_component', by_component)):
        write_rows(pd.DataFrame(rows), f'{folder}/{name}.csv', name)

KINDS = ['xe_by_position', 'xe_vs_k', 'parts']

def test_pictures_are_drawn_without_torch_and_alike_everywhere(tmp_path, all_pictures):
    """In a notebook, with a matplotlibrc, on a terminal that has no Δ."""
    for name in ('results', 'here'):
        write_results(tmp_path / name)
    plot_xe.draw(str(tmp_path / 'here'))
    (tmp_path / 'matplotlibrc').write_text('text.usetex: True\nfont.family: serif\nno.key: 1\n'
                                           'font.size: x\nlines.linewidth: 9\n')
    code = ("import runpy, sys; sys.modules['torch'] = None; sys.argv = ['plot_xe.py'];"
            f" runpy.run_path({os.path.join(ROOT, 'plot_xe.py')!r}, run_name='__main__')")
    env = os.environ | {'PYTHONPATH': ROOT, 'PYTHONIOENCODING': 'cp1252',
                        'MPLBACKEND': 'module://matplotlib_inline.backend_inline'}
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True,
                          text=True, env=env, encoding='cp1252')
    assert done.returncode == 0 and done.stderr == '', done.stderr
    for kind in KINDS:
        drawn = (tmp_path / f'results/{kind}.png').read_bytes()
        assert len(drawn) > 10000 and drawn == (tmp_path / f'here/{kind}.png').read_bytes()
        assert f'results/{kind}.png' in done.stdout
    assert '2.0000 [1.9000, 2.1000]' in done.stdout and '\\u0394XE' in done.stdout

def test_letters_that_no_font_has_are_boxes_without_a_word(tmp_path, capfd, recwarn):
    """Fonts that are not on this machine are named nowhere either."""
    write_results(str(tmp_path))
    frame = plot_xe.read_csv(str(tmp_path), 'xe_by_component')
    frame.replace({'component': {'a': '中文', 'b': 'Ψυχή', 'c': '\U0001f642'}}).to_csv(
        tmp_path / 'xe_by_component.csv', index=False)
    for name in ('xe_vs_k', 'curves'):
        frame = plot_xe.read_csv(str(tmp_path), name)
        frame.assign(dataset='中文').to_csv(tmp_path / f'{name}.csv', index=False)
    frame = plot_xe.read_csv(str(tmp_path), 'xe_by_component')
    frame.assign(dataset='中文').to_csv(tmp_path / 'xe_by_component.csv', index=False)
    plot_xe.warnings.filterwarnings('ignore', 'Glyph')  # pytest has its own list
    assert len(plot_xe.draw(str(tmp_path))) == 1
    assert plot_xe.plt.rcParams['font.family'][0] == 'DejaVu Sans'
    assert capfd.readouterr().err == '' and not recwarn.list

def test_what_is_there_stays(tmp_path):
    """A user's files, and pictures of settings that are gone: nothing is removed."""
    folder = str(tmp_path)
    mine = ['parts_poster.png', 'xe_vs_k-1.png', 'pictures.json', 'notes.txt']
    for name in mine:
        (tmp_path / name).write_bytes(b'["notes.txt"]')
    write_results(folder, ['dropout=0.0', 'dropout=0.1'])
    drawn = [f'{folder}/xe_vs_k-dropout=0.0.png', f'{folder}/xe_vs_k-dropout=0.1.png']
    assert plot_xe.draw(folder) == drawn
    write_results(folder)
    assert plot_xe.draw(folder) == [f'{folder}/xe_vs_k.png']
    assert all((tmp_path / name).read_bytes() == b'["notes.txt"]' for name in mine)
    assert all(os.path.exists(path) for path in drawn)

@pytest.mark.parametrize('same', [True, False])
def test_xe_of_other_components_is_not_joined(tmp_path, same):
    """The mean over runs is joined by a line over K only where every K has the same components."""
    write_results(str(tmp_path), same_components=same)
    (_, tables), = plot_xe.read_settings_shown(str(tmp_path)).values()
    fig = plot_xe.draw_vs_k('d, test split', tables)
    joined = [any(len(line.get_xdata()) == len(KS) - (i == 1) and line.get_linestyle() == '-'
                  for line in ax.lines) for i, ax in enumerate(fig.axes)]
    assert joined == [same, True, True]
    assert ('XE at different K is of different components' in fig._suptitle.get_text()) is not same

def test_a_title_is_not_cut_off_where_there_is_one_panel(tmp_path, all_pictures):
    write_results(str(tmp_path))
    (_, tables), = plot_xe.read_settings_shown(str(tmp_path)).values()
    tables['xe_vs_k'] = tables['xe_vs_k'].assign(delta_xe=np.nan, excess=np.nan)
    fig = plot_xe.draw_vs_k('arxiv, test split, ' + 'learning_rate = 0.0005, ' * 8, tables)
    assert len(fig.axes) == 1
    fig.canvas.draw()
    box = fig._suptitle.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= fig.bbox.width

@pytest.mark.parametrize('shuffled, low, says', [
    (True, 0.2, 'K = 2: the shuffled control does not hold, so the parts measure training: '),
    (True, -0.1, 'K = 2: the shuffled control holds: ambiguity +0.3000 [-0.1000'),
    (True, np.nan, ''), (False, 0.2, '')])
def test_the_table_says_whether_the_control_holds(tmp_path, shuffled, low, says):
    write_results(str(tmp_path), shuffled=shuffled)
    frame = plot_xe.read_csv(str(tmp_path), 'xe_vs_k').assign(ambiguity_ci_low=low)
    frame.to_csv(tmp_path / 'xe_vs_k.csv', index=False)
    text = '\n'.join(plot_xe.table(str(tmp_path)))
    assert says in text and ('control' in text) is bool(says)
    assert 'icl_score' in text and 'excess' in text and '+0.2000 [+0.1000, +0.3000]' in text

def test_data_sets_stand_apart(tmp_path):
    write_results(str(tmp_path), ['dropout=0.0'])
    for name in ('xe_vs_k', 'curves', 'xe_by_component'):
        frame = plot_xe.read_csv(str(tmp_path), name)
        frame = pd.concat([frame, frame.assign(dataset='demo', shown_as='')])
        frame.to_csv(tmp_path / f'{name}.csv', index=False)
    lines = plot_xe.table(str(tmp_path))
    assert lines.index('==== d ====') < lines.index('==== demo ====')
    assert lines.count('dropout=0.0') == 1
    assert plot_xe.draw(str(tmp_path)) == [f'{tmp_path}/xe_vs_k-d-dropout=0.0.png',
                                           f'{tmp_path}/xe_vs_k-demo.png']

@pytest.mark.parametrize('dataset, names', [('$\\frac$', ('$\\bad$', 'C++', "it's")),
                                            ('2024', ('007', 'nan', '100%'))])
def test_any_label_is_drawn(tmp_path, all_pictures, dataset, names):
    """No formula or number is made of a label; components are counted by K, not by a + in one."""
    write_results(str(tmp_path))
    frame = plot_xe.read_csv(str(tmp_path), 'xe_by_component')
    frame = frame.assign(dataset=dataset).replace({'component': dict(zip('abc', names))})
    frame['components'] = ['+'.join(names[:k]) for k in frame['k']]
    frame.to_csv(tmp_path / 'xe_by_component.csv', index=False)
    for name in ('xe_vs_k', 'curves'):
        frame = plot_xe.read_csv(str(tmp_path), name).assign(dataset=dataset)
        frame.to_csv(tmp_path / f'{name}.csv', index=False)
    assert len(plot_xe.draw(str(tmp_path))) == len(KINDS)
    (key, (_, tables)), = plot_xe.read_settings_shown(str(tmp_path)).items()
    assert key == (dataset, ' tag=False')
    assert set(names) < set(tables['xe_by_component']['component'])
    dots = plot_xe.draw_vs_k('d', tables).axes[0].collections[0]
    assert len(dots.get_offsets()) == 2 * len(KS)

def test_settings_of_any_value_are_told_apart(tmp_path):
    values = ['a b', 'a_b', "it's x=1", '[0.9, 0.95]', '', 'x' * 300]
    write_results(str(tmp_path), [f'note={value}, k2=1' for value in values])
    words = [words for words, _ in plot_xe.read_settings_shown(str(tmp_path)).values()]
    assert sorted(words) == sorted(f'note={value}, k2=1' for value in values)
    assert len(set(plot_xe.draw(str(tmp_path)))) == len(values)

def test_a_switch_that_is_off_is_in_no_name(tmp_path):
    """So a sweep's picture is xe_vs_k.png, and its control's has a longer name."""
    write_results(str(tmp_path), [f'shuffle_components={on}' for on in (False, True)])
    assert plot_xe.draw(str(tmp_path)) == [f'{tmp_path}/xe_vs_k.png',
                                           f'{tmp_path}/xe_vs_k-shuffle_components=True.png']
    assert 'shuffle_components=False' in plot_xe.table(str(tmp_path))

def test_a_full_disk_leaves_the_old_pictures(tmp_path, all_pictures, monkeypatch, capsys):
    folder = str(tmp_path)
    write_results(folder)
    before = {path: os.path.getmtime(path) for path in plot_xe.draw(folder)}
    write_results(folder, ['dropout=0.1'], same_components=True)
    savefig, calls = plot_xe.plt.Figure.savefig, []

    def fill_up(fig, f, **keys):
        calls.append(f)
        if len(calls) == 3:
            f.write(b'half of it')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        savefig(fig, f, **keys)
    monkeypatch.setattr(plot_xe.plt.Figure, 'savefig', fill_up)
    with pytest.raises(SystemExit) as e:
        plot_xe.draw(folder)
    err = capsys.readouterr().err
    assert e.value.code == 2 and 'No space left on device' in err and len(err.splitlines()) == 1
    assert all(os.path.getsize(path) > 10000 for path in before)
    assert os.path.getmtime(f'{folder}/{KINDS[2]}.png') == before[f'{folder}/{KINDS[2]}.png']
    assert not [name for name in os.listdir(folder) if name.endswith('.tmp')]

def test_missing_files_are_named_in_one_line(tmp_path, fails, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = fails('plot_xe.py')
    assert 'results/curves.csv cannot be read' in line and 'No such file' in line
    write_results('results')
    open('results/curves.csv', 'w').close()
    assert 'results/curves.csv cannot be read (No columns' in fails('plot_xe.py')
    write_results('results')
    table = pd.read_csv('results/xe_vs_k.csv').astype({'xe': object})
    table.loc[0, 'xe'] = '3,5'  # a spreadsheet's
    table.to_csv('results/xe_vs_k.csv', index=False)
    assert fails('plot_xe.py').startswith('plot_xe.py: results: files of')
    write_results('results')
    write_results('other', ['another'])
    os.replace('other/xe_by_component.csv', 'results/xe_by_component.csv')
    assert 'results: files of several evaluations, or of other code' in fails('plot_xe.py')
    fails('plot_xe.py', '--results_dir=mistyped')
    assert not os.path.exists('mistyped')

def test_a_run_whose_number_is_not_known_of_all_its_components_has_no_dot(tmp_path):
    write_results(str(tmp_path))
    frame = plot_xe.read_csv(str(tmp_path), 'xe_by_component')
    frame.loc[(frame['run'] == 'r41') & (frame['component'] == 'b'), 'delta_xe'] = np.nan
    frame.to_csv(tmp_path / 'xe_by_component.csv', index=False)
    (_, tables), = plot_xe.read_settings_shown(str(tmp_path)).values()
    fig = plot_xe.draw_vs_k('d', tables)
    dots = [[*ax.collections[0].get_offsets()[:, 0]] for ax in fig.axes[:2]]
    assert dots == [[1, 1, 2, 2, 4, 4], [1, 1, 2, 2, 4]]  # of XE, of ΔXE

def test_the_picture_of_a_data_set_is_drawn_without_torch(small, tmp_path):
    code = ("import json, sys; sys.modules['torch'] = None; import plot_xe\n"
            "plot_xe.draw_documents('data/small', json.load(open('data/small/meta.json')), 16)")
    os.remove('data/small/documents.png')
    subprocess.run([sys.executable, '-c', code], check=True, env=os.environ | {'PYTHONPATH': ROOT})
    assert os.path.getsize('data/small/documents.png') > 10000
