# make known-answer: eight mess3 processes (a = .85), hidden chains that differ in how often they move.
# 20,480 windows of 64 tokens an epoch at every K, 4 epochs of 64 windows a step: 1,280 steps, 5.2 million tokens.
dataset = 'known-mess3'
source = 'synthetic'
processes = 'mess3:8'
documents_per_process = 400
document_length = 4096

candidates = ''
token_budget = 20_480 * 64
block_size = 64

n_layer = 2
n_head = 2
n_embd = 64
dropout = 0.0

epochs = 4
batch_size = 64
learning_rate = 2e-3
min_lr = 2e-5
warmup_iters = 100

eval_interval = 160
val_windows_per_component = 128
compile = False
