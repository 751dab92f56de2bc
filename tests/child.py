"""
Runs a script in a process of its own that can be killed. It is forked from one that has imported
torch already, which saves two seconds each time.
"""
import multiprocessing
import os
import resource
import runpy
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
server = multiprocessing.get_context('forkserver')
server.set_forkserver_preload(['torch.nn.parallel', 'tokenizers', 'tiktoken', 'child'])


def script(name, args, folder, output, largest_file=None):
    """
    What the child does: `python name args` in the folder, with stdout and stderr in the file
    `output`, and no file longer than largest_file bytes.
    """
    os.chdir(folder)
    sys.path.insert(0, ROOT)
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), stream)
    import torch
    torch.set_num_threads(1)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.argv = [name, *args]
    runpy.run_path(os.path.join(ROOT, name), run_name='__main__')


def start(name, *args, **more):
    """
    Starts a script in the current folder; returns its Process. What it printed lies in output.txt
    there.
    """
    os.environ['PYTHONPATH'] = os.path.dirname(os.path.abspath(__file__))  # where the server looks
    here = os.getcwd()
    child = server.Process(target=script, kwargs=more,
                           args=(name, args, here, os.path.join(here, 'output.txt')))
    child.start()
    return child
