# make known-answer: eight mess3 processes (a = .85), hidden chains that differ in how often they
# move. 128,000 windows of 32 tokens at every K, read once, 64 windows a step: 2,000 steps,
# 4.1 million tokens. In windows of 64 twice as many leave a plateau late at K = 2 (LOG.md).
dataset = 'known-mess3'
source = 'synthetic'
processes = 'mess3:8'
documents_per_process = 1000
document_length = 4096

candidates = ''
token_budget = 128_000 * 32
block_size = 32

n_layer = 2
n_head = 2
n_embd = 64
dropout = 0.0

epochs = 1
batch_size = 64
learning_rate = 3e-3
min_lr = 2e-5
weight_decay = 0.0
warmup_iters = 100

eval_interval = 160
val_windows_per_component = 128
dtype = 'float32'  # known-answer was measured in it
