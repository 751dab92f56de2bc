# make known-answer: eight coins, which differ in bias alone. 40,960 windows of 64 tokens at every K, 3 epochs of 64
# windows a step: 1,920 steps, 7.9 million tokens.
dataset = 'known-coins'
source = 'synthetic'
processes = 'coins:8'
documents_per_process = 1000
document_length = 4096

candidates = ''
token_budget = 40_960 * 64
block_size = 64

n_layer = 1
n_head = 1
n_embd = 64
dropout = 0.0

epochs = 3
batch_size = 64
learning_rate = 2e-3
min_lr = 2e-5
warmup_iters = 100

eval_interval = 240
val_windows_per_component = 256
compile = False
