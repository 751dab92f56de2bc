# Components whose exact XE is known: eight sparse Markov chains of 16 symbols. A chain's symbols
# are uniform, so without context the XE is ln 16 = 2.773 nats. For a model that knows the chain,
# one symbol of context brings it to 1.75 ln 2 = 1.213. Not knowing which of K chains it is costs at
# most ln K more, summed over a window.
#
# 34,816 windows of 32 tokens an epoch (1.1 million tokens) at every K; 4 epochs of 64 windows a
# step are 2,176 steps. Short windows and a third layer bring it nearer to the optimum (LOG.md).
dataset = 'demo'
source = 'synthetic'
processes = 'markov:8'
markov_vocab = 16
documents_per_process = 400
document_length = 4096

candidates = ''
token_budget = 34_816 * 32
block_size = 32

n_layer = 3
n_head = 4
n_embd = 64
dropout = 0.0

epochs = 4
batch_size = 64
learning_rate = 5e-3
min_lr = 1e-4
weight_decay = 0.0
warmup_iters = 50

eval_interval = 160
val_windows_per_component = 128
