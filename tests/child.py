"""
Runs a script in a process of its own that can be killed. It is forked from one that has imported
torch already, which saves two seconds each time.
"""
import multiprocessing
import os
import resource

from conftest import ROOT

import sweep

server = multiprocessing.get_context('forkserver')
server.set_forkserver_preload(['torch.nn.parallel', 'pandas', 'tokenizers', 'tiktoken', 'child'])


def script(words, folder, output, largest_file=None):
    """What the child does: the script in the folder, no file longer than largest_file bytes."""
    os.chdir(folder)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sweep.run_script(words, {'OMP_NUM_THREADS': '1'}, output, os.getppid())


def start(*words, output='output.txt', **more):
    """
    Starts a script with its arguments in the current folder; returns its Process. What it printed
    lies in the file `output` there.
    """
    # where the server looks
    os.environ['PYTHONPATH'] = os.pathsep.join((os.path.dirname(os.path.abspath(__file__)), ROOT))
    open(output, 'w').close()
    child = server.Process(target=script, args=(words, os.getcwd(), os.path.abspath(output)),
                           kwargs=more)
    child.start()
    return child
