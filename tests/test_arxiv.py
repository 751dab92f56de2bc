"""`make arxiv && python prepare.py config/cpu.py` gives the same bytes on every machine."""
import csv
import hashlib
import json
import lzma
import os
import shutil
import subprocess

import pytest
from conftest import ROOT, run
from test_prepare import everything

from sample_mix import read_meta

CPU = os.path.join(ROOT, 'config/cpu.py')
COLUMNS = ['', 'abstract', 'arxiv_id', 'categories', 'primary_cat', 'title']  # of the archive's

def write_archive(labels):
    """Writes arxiv/<label>.tsv.xz as the archive has them: 60 papers, and others' cross-listed."""
    papers = {label: [[f'{i}', f'We prove "{label}{i}" for $x_{i}$,\n  and more: ``{i}\'\'. ' * 3,
                       f'{label}/{i}', f'{label},math.AG', label, f'On {label},\t{i}']
                      for i in range(60)] for label in [*labels, 'math.AG']}
    os.mkdir('arxiv')
    for label in labels:
        crossed = [row for other in papers if other != label for row in papers[other][::5]]
        with lzma.open(f'arxiv/{label}.tsv.xz', 'wt', encoding='utf-8', newline='') as f:
            csv.writer(f, delimiter='\t', lineterminator='\n').writerows(
                [COLUMNS, *papers[label], *crossed])

def test_a_small_part_has_the_same_bytes_everywhere(tmp_path, monkeypatch):
    """
    If it fails, data sets that readers prepare are no longer those of docs/results.md: only a
    reason that is worth that, and goes into LOG.md with the new sums, may change this one.
    """
    monkeypatch.chdir(tmp_path)
    labels = run('configurator.py')['read_settings'](CPU)['labels'][0].split(',')
    write_archive(labels)
    run('prepare.py', CPU, '--vocab_size=300')
    meta, files = read_meta('arxiv-cpu'), everything('arxiv-cpu')
    assert list(meta['components']) == labels and len(files) == 2 + 6 * len(labels)
    for splits in meta['components'].values():  # once, whatever else the paper is listed in
        assert sum(facts['docs'] for facts in splits.values()) == 60
        assert sum(facts['duplicates'] for facts in splits.values()) == 12 * (len(labels) - 1)
    del files['meta.json']  # its sums are of the others
    digest = hashlib.sha256(b''.join(name.encode() + files[name] for name in sorted(files)))
    assert digest.hexdigest() == (
        '99f463ef3b081c5556193453581cf22ab16e04d15e53f1fcb5376eb441769f9e')

@pytest.fixture
def make(tmp_path):
    """make(): `make arxiv` of two small files; returns its status, output and errors."""
    if not (shutil.which('make') and shutil.which('curl')):
        pytest.skip('needs make and curl')
    os.mkdir(tmp_path / 'there')
    for name in 'abc':
        (tmp_path / f'there/{name}.tsv.xz').write_text(name)
    sums, more = ('\n'.join(f'{hashlib.sha256(name.encode()).hexdigest()} {name}.tsv.xz'
                            for name in names) for names in ('ab', 'c'))
    env = {key: os.environ[key] for key in os.environ if not key.startswith(('MAKE', 'MFLAGS'))}
    env |= {'SUMS': sums, 'SUMS_OF_24_MORE': more, 'ARCHIVE': f'file://{tmp_path}/there'}

    def make(target='arxiv'):
        done = subprocess.run(['make', '-e', '-f', os.path.join(ROOT, 'Makefile'), target],
                              cwd=tmp_path, env=env, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr
    return make

def test_make_arxiv_fetches_what_is_not_there(make, tmp_path):
    assert make()[0] == 0
    os.remove(tmp_path / 'there/a.tsv.xz')  # it is not asked for again
    status, out, err = make()
    assert (status, out, err) == (0, 'arxiv/ has all its files\n', '')
    assert sorted(os.listdir(tmp_path / 'arxiv')) == ['a.tsv.xz', 'b.tsv.xz']
    (tmp_path / 'there/a.tsv.xz').write_text('a')
    assert make('arxiv32')[0] == 0 and len(os.listdir(tmp_path / 'arxiv32')) == 3

def test_make_arxiv_says_what_went_wrong(make, tmp_path):
    os.remove(tmp_path / 'there/b.tsv.xz')  # as without a network
    status, _, err = make()
    assert status and err.count('\n') == 2 and os.listdir(tmp_path / 'arxiv') == ['a.tsv.xz']
    assert err.startswith('make arxiv: b.tsv.xz cannot be fetched: curl: (37)')
    (tmp_path / 'arxiv/a.tsv.xz').write_text('half')
    status, _, err = make()
    assert status and err.count('\n') == 2
    assert err.startswith('make arxiv: arxiv/a.tsv.xz has another sha256: remove it')

def write_snapshot(path, n):
    """Writes n records as in arXiv's own snapshot (Kaggle): a line each, names of categories."""
    names = ['cs.DS math.CO', 'math.CO', 'cs.DS', 'hep-th gr-qc math-ph', 'math.CO cs.DS cs.DM']
    with open(path, 'w') as f:
        for i in range(n):
            text = f'  Paper {i} of words {i * i % 9973} and {i % 89},\n  to the end of it. ' * 12
            f.write(json.dumps({
                'id': f'{i:07.4f}', 'submitter': 'A. B.', 'comments': None, 'title': f'On {i}\n  x',
                'categories': names[i % 5], 'abstract': text,
                'versions': [{'version': 'v1', 'created': 'Mon, 2 Apr 2007 19:18:42 GMT'}],
                'authors_parsed': [['B.', 'A.', '']]}) + '\n')

def test_arxivs_own_snapshot(tmp_path, monkeypatch):
    """Each combination of categories was a component."""
    monkeypatch.chdir(tmp_path)
    write_snapshot('arxiv-metadata-oai-snapshot.json', 500)
    args = ['--source=arxiv-metadata-oai-snapshot.json', '--vocab_size=300', '--first_label=True',
            '--label_column=categories', '--text_column=title,abstract']
    run('prepare.py', '--dataset=some', '--labels=cs.DS,math.CO', *args)
    run('prepare.py', '--dataset=all', *args)
    for dataset, n in (('some', {'cs.DS': 200, 'math.CO': 200}),
                       ('all', {'cs.DS': 200, 'hep-th': 100, 'math.CO': 200})):
        components = read_meta(dataset)['components']
        assert n == {name: sum(facts['docs'] for facts in components[name].values())
                     for name in components}
