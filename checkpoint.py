"""Checkpoints: ckpt.pt is a run, in one file that is whole or not there, its plain part under a
seal. No run goes on from the folder's other files, which are for people and other tools.
"""
import difflib
import errno
import glob
import json
import os
import pathlib
import platform
import subprocess
import sys

import numpy as np
import torch

import configurator
from configurator import (code_of, fail, is_sealed, looked_in, read_settings, refusal,
                          replace_file, safe_name, say, sealed, train_defaults)
from model import GPT

# Keys of train.py that move none of a run's numbers (epochs does through max_iters, which is
# recorded), those that --init_from=resume may change besides, and those in which runs of one
# setting differ. Every other key is part of a run's setting: a key that you add to train.py counts.
NOT_PART_OF_A_SETTING = {
    'out_dir', 'init_from', 'overwrite', 'epochs', 'log_interval', 'snapshots', 'verify',
    'wandb_log', 'wandb_project', 'wandb_run_name', 'device', 'compile', 'compile_mode', 'backend',
    'any_code'}
MAY_CHANGE_ON_RESUME = {'max_iters', 'patience'}
VARIES_IN_A_SETTING = {'k', 'components', 'candidates', 'mix_seed', 'seed'}
# What keys of train.py, and jobs, must be: (the rule, whether a value keeps it, keys).
RULES = (
    ('at least 1', lambda x: x >= 1, 'n_layer n_head n_embd batch_size gradient_accumulation_steps'
     ' epochs eval_interval log_interval jobs'),
    ('at least 2', lambda x: x >= 2, 'block_size'),
    ('at least 0', lambda x: x >= 0, 'max_iters token_budget val_windows_per_component seed'
     ' patience learning_rate min_lr weight_decay grad_clip warmup_iters lr_decay_iters'),
    ('at least 0 and below 1', lambda x: 0 <= x < 1, 'dropout beta1 beta2'),
    ('choose scratch, resume or auto', lambda x: x in ('scratch', 'resume', 'auto'), 'init_from'),
    ('a folder, printable, without commas', lambda x: x.isprintable() and ',' not in x, 'out_dir'),
    ('choose float32 or bfloat16', lambda x: x in ('', 'float32', 'bfloat16'), 'dtype'),
    ('choose default, reduce-overhead or max-autotune',
     lambda x: x in ('default', 'reduce-overhead', 'max-autotune'), 'compile_mode'))
CODE = ('machine.py', 'model.py', 'sample_mix.py', 'train.py')  # what decides a run's numbers
WEIGHTS = {'best': 'best', 'last': 'model'}  # of ckpt.pt
OF_A_RUN = ('ckpt.pt', 'best.pt', 'config.json', 'mix.json')  # as they come, and go

def check_ranges(config):
    """Fails where a key of train.py, or jobs, is outside the range that RULES gives it."""
    for rule, holds, keys in RULES:
        for key in keys.split():
            if key in config and not holds(config[key]):
                fail(f'--{key}={config[key]}: {rule}')
    if config['n_embd'] % config['n_head']:
        fail(f'--n_embd={config["n_embd"]} does not divide into --n_head={config["n_head"]} heads')

def count_steps(settings, token_budget):
    """Returns max_iters, or where it is 0 the steps of train.py that its epochs of a budget are.
    They follow from the budget, not from what a K can use of it. Fails where that is none."""
    windows = token_budget // settings['block_size']
    windows_per_step = settings['gradient_accumulation_steps'] * settings['batch_size']
    steps = settings['max_iters'] or settings['epochs'] * windows // windows_per_step
    if steps < 1 or windows < 1:
        fail(f'{settings["epochs"]} epochs of {windows} windows are less than one step of'
             f' {windows_per_step}: lower --batch_size or raise --epochs')
    return steps

def run_name(dataset, k, seed, mix_seed, shuffled=False, constant=False, tag=False, only='',
             shares=''):
    """Returns the name of a run's folder; `only` is name_components where they were named."""
    words = [dataset, f'k{k}', f's{seed}', f'm{mix_seed}' if mix_seed else '',
             'shuffled' if shuffled else '', 'constant' if constant else '', 'tag' if tag else '',
             only, safe_name(f'shares{shares.replace(",", "+")}') if shares else '']
    return '-'.join(word for word in words if word)

def name_components(components, tokens):
    """Returns 'a+b', or for a single component 'a-90000tokens', as a folder's name can have it."""
    joined = safe_name('+'.join(map(safe_name, components)))
    return joined + (f'-{tokens}tokens' if len(components) == 1 else '')

def usual_folder(config, record):
    """Returns the folder of a run of train.py that names none; record is draw_mix's."""
    tells = 'dataset k seed mix_seed shuffle_components constant_per_component tag'.split()
    is_named = config['components'] or record['k'] == 1
    only = name_components(record['components'], record['tokens']) if is_named else ''
    known = config | record
    return os.path.join('out', run_name(*(known[key] for key in tells), only, record['shares']))

def read_code(script='train.py'):
    """Returns {file: text} of what decides a run's numbers, now; script is train.py or a copy."""
    return {name: pathlib.Path(configurator.ROOT, script if name == 'train.py' else name)
            .read_text('utf-8') for name in CODE}

def describe_process():
    """Returns the versions, command and commit that a run is trained with, a dict."""
    try:
        git = ['git', '-C', configurator.ROOT, 'describe', '--always', '--dirty', '--abbrev=40']
        commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git here
        commit = ''
    return {'versions': {'python': platform.python_version(), 'torch': str(torch.__version__),
                         'numpy': np.__version__},
            'command': [os.path.basename(sys.argv[0]), *sys.argv[1:]], 'commit': commit,
            'world_size': int(os.environ.get('WORLD_SIZE', 1))}

def tidy_folder(folder, is_new):
    """Removes what killed processes left in a run's folder, and where it is new the old run."""
    patterns = ['*.[0-9]*.tmp'] + [*OF_A_RUN, 'log.csv', 'step-[0-9]*.pt', 'losses-*.npz',
                                   'xe_windows.npz'] * is_new
    for path in [path for name in patterns for path in glob.glob(name, root_dir=folder)]:
        os.remove(os.path.join(folder, path))

def write_checkpoint(folder, name, state, tensors):
    """Writes a checkpoint: `state`, a dict of plain Python, under a seal, and `tensors` beside it.
    With ckpt.pt go best.pt, config.json and mix.json, for people and other tools. They come before
    it, as a run that is done writes nothing more; but alone they are another's."""
    def content(state, tensors):
        plain = sealed(state)
        return lambda f: torch.save(plain | tensors | {'sealed': [*plain]}, f)
    files = {name: content(state, tensors)}
    if name == 'ckpt.pt':
        of_best = state | {'iter_num': state['best_iter']}, {'model': tensors['best']}
        others = {'config.json': json.dumps(state['config'] | state['metadata'], indent=1),
                  'mix.json': json.dumps(state['mix'], indent=1), 'best.pt': content(*of_best)}
        is_there = os.path.exists(os.path.join(folder, name))
        files = others | files if is_there else files | others
    for file, written in files.items():
        replace_file(os.path.join(folder, file), written)

def read_checkpoint(folder, name='ckpt', mmap=True):
    """Returns a checkpoint of train.py as a dict, or None where there is no such file. With mmap
    its tensors stay on the disk (milliseconds, whatever its size). Fails on what train.py has not
    written just so, code in a file among it: tensors and plain values are all that is read."""
    path = os.path.join(folder, f'{name}.pt')
    if not os.path.exists(path):
        return None
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)
        is_whole = is_sealed({key: checkpoint[key] for key in checkpoint['sealed']})
    except Exception as e:  # torch, pickle and zipfile each raise their own types
        refused = refusal(e)
        if refused and getattr(e, 'errno', 0) != errno.EINVAL:  # which a file cut short gives
            fail(refused)
        is_whole = False
    if not is_whole:
        fail(f'{path} is not a checkpoint of train.py, or one of an older version: delete it, and'
             ' train the run again')
    checkpoint['mix'].setdefault('shares', '')  # which runs of before the key do not have
    return checkpoint

def load_model(folder, which='best'):
    """Returns (the model in evaluation mode on the CPU, its checkpoint) of a run: `which` is best,
    last, or a snapshot such as step-000064. Fails where there is none, or does not fit model.py."""
    checkpoint = read_checkpoint(folder, 'ckpt' if which in WEIGHTS else which, mmap=False)
    if not checkpoint:
        fail(f'{folder} has no {which} checkpoint: train the run first {looked_in(folder)}')
    try:
        model = GPT(**checkpoint['model_args'])
    except TypeError as e:
        fail(f'{folder} does not fit model.py ({e}): train it again')
    load_weights(model, checkpoint[WEIGHTS.get(which, 'model')], folder)
    return model.eval(), checkpoint

def load_weights(model, weights, folder):
    """Gives a model the weights of a run; fails where it has others, or of other shapes."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as e:
        fail(refusal(e) or f'{folder} does not fit model.py ({str(e)[:200]}): train it again')

def run_state(checkpoint):
    """Returns 'finished', 'stopped early' or 'unfinished', as a run's ckpt.pt says."""
    config, step = checkpoint['config'], checkpoint['iter_num']
    if step >= config['max_iters']:
        return 'finished'
    patience = config.get('patience', 0) * config['eval_interval']
    return 'stopped early' if 0 < patience <= step - checkpoint['best_iter'] else 'unfinished'

def why_other_code(before, name='model.py', code=None):
    """Returns how a file of read_code's, or of today's, differs from its text `before`, or ''."""
    old, new = (code_of(text).splitlines() for text in (before, (code or read_code())[name]))
    if old == new:
        return ''
    lines = [' '.join(line.split()) for line in difflib.ndiff(old, new) if line[0] in '+-']
    return f'was trained with another {name} ({" | ".join(lines[:2])[:200]})'

def why_another(checkpoint, config, components, mix=None, may_change=frozenset(), defaults=None):
    """Returns why a checkpoint is of another run than train.py with all the settings `config` on
    `components` would be: a clause ('was trained with seed=0, not 1'), or ''. `mix` is draw_mix's
    record, uncompared where it is None; `may_change` are keys that may differ besides
    NOT_PART_OF_A_SETTING. A key that the checkpoint does not know had its default."""
    before = (defaults or train_defaults()) | checkpoint['config']
    before['components'], now = checkpoint['mix']['components'], config | {'components': components}
    ignored = NOT_PART_OF_A_SETTING | may_change | {'candidates', 'k'}
    ignored |= {key for key in ('dtype', 'lr_decay_iters') if not now.get(key)}  # then the run's
    changed = [f'{key}={before.get(key)!r}, not {now.get(key)!r}'
               for key in sorted((now.keys() | before.keys()) - ignored)
               if now.get(key) != before.get(key)]
    if changed:
        return f'was trained with {", ".join(changed)}'
    if mix not in (None, checkpoint['mix']):
        return f'was trained on other data than data/{config["dataset"]} holds now'
    return '' if config['any_code'] else why_other_code(checkpoint['code'][-1]['model.py'])

def find_checkpoint(folder, config, components, mix, script):
    """Returns the checkpoint that train.py goes on from, or None where it starts anew. Fails where
    that would replace a run without overwrite, or go on with another one; the program ends where
    there is nothing left to train. config, components and mix are those of why_another."""
    init_from, overwrite = config['init_from'], config['overwrite']
    checkpoint = None if init_from == 'scratch' else read_checkpoint(folder, mmap=False)
    there = [name for name in OF_A_RUN if os.path.exists(os.path.join(folder, name))]
    if init_from == 'resume' and not checkpoint:
        fail(f'--init_from=resume: there is no {folder}/ckpt.pt; start the run anew by'
             ' --init_from=scratch --overwrite=True')
    if there and not (checkpoint or overwrite):
        fail(f'{folder} holds a run already ({there[0]}): go on with it by --init_from=resume,'
             ' replace it by --overwrite=True, or choose another --out_dir')
    if not checkpoint:
        return None
    is_auto = init_from == 'auto'
    defaults = {key: default for key, (default, _) in read_settings(script).items()}
    another = why_another(checkpoint, config, components, mix,
                          frozenset() if is_auto else MAY_CHANGE_ON_RESUME, defaults)
    if another and not (is_auto and overwrite):
        fail(f'--init_from={init_from}: {folder} {another}: set that back, or choose another'
             ' --out_dir, or --init_from=scratch --overwrite=True')
    if another:
        say(f'{folder} {another}: it is replaced')
        return None
    if run_state(checkpoint | {'config': config}) != 'unfinished':
        done = (f'{folder} is done, after {checkpoint["iter_num"]:,} of at most'
                f' {config["max_iters"]:,} steps')
        if not is_auto:
            fail(f'{done}: nothing to resume (raise --epochs, --max_iters or --patience)')
        if configurator.is_master():
            print(done)
        sys.exit(0)
    return checkpoint
